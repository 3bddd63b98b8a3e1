//! Mutated input for every reader of foreign bytes: a corpus in the repository, changed by rules that a seed chooses.
//!
//! A few thousand in the ordinary tests; `make mutations` runs as many as it is told to. Needs no other compiler and
//! no other tool. A panic of this crate's own code, or memory beyond [`MOST_KIB`], ends a run with the seed that
//! repeats it. A panic of a decoder of others is counted: the worker makes a bad picture of it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::Path;

/// How many inputs a reader gets, if nobody says otherwise.
const INPUTS: u64 = 4000;
/// What the process may take at the most. A picture may take as much by itself, and inputs here are small.
const MOST_KIB: u64 = 256 * 1024;
const LONGEST: usize = 64 * 1024;

/// What stands in the source of somebody else's code, as cargo keeps it.
const NOT_OURS: [&str; 2] = ["/registry/src/", "/rustc/"];

thread_local! {
    static IS_OURS: Cell<bool> = const { Cell::new(true) };
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is asked of the tests, not of the worker"
)]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The files of the corpus below `tests/corpus`, in the order of their names.
pub(crate) fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let files = std::fs::read_dir(&directory).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds nothing", directory.display());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// The lines of a file of the corpus, each a text by itself.
pub(crate) fn lines(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.as_bytes().to_vec()).collect()
}

/// Gives `read` mutations of `corpus`, one after the other; it says whether it has accepted one. `words` are put in where a format has some that mean
/// something;
/// `mend` makes a mutation right again that would be refused before anything is read.
pub(crate) fn run(
    corpus: &[Vec<u8>],
    words: &[&[u8]],
    mend: impl Fn(&mut Vec<u8>),
    read: impl Fn(&[u8]) -> bool,
) {
    let inputs = number("MUTATIONS").unwrap_or(INPUTS);
    let seed = number("MUTATION_SEED").unwrap_or_else(rand::random);
    set_hook(Box::new(|panic| {
        let file = panic.location().map_or("", |location| location.file());
        let is_ours = !NOT_OURS.iter().any(|part| file.contains(part));
        IS_OURS.set(is_ours);
        if is_ours {
            eprintln!("{panic}");
        }
    }));
    let (mut accepted, mut others) = (0_u64, 0_u64);
    for number in 0..inputs {
        let mut mutator = Mutator {
            state: seed.wrapping_add(number),
            corpus,
            words,
        };
        let mut input = mutator.input();
        if !mutator.one_in(4) {
            mend(&mut input);
        }
        let ended = catch_unwind(AssertUnwindSafe(|| read(&input)));
        let again = format!(
            "MUTATIONS=1 MUTATION_SEED={} repeats it",
            seed.wrapping_add(number)
        );
        match ended {
            Err(_) if IS_OURS.get() => panic!(
                "input {number} of {inputs} panics; {again}:\n{}",
                input.escape_ascii()
            ),
            Err(_) => others += 1,
            Ok(is_accepted) => accepted += u64::from(is_accepted),
        }
        // Looking costs more than reading a small input.
        if number % 64 == 0 || number + 1 == inputs {
            let peak = peak_kib();
            assert!(
                peak < MOST_KIB,
                "{peak} KiB after input {number}, or one of 64 before; {again}"
            );
        }
    }
    println!(
        "{inputs} inputs from seed {seed}: {accepted} accepted, {others} panics of decoders, {} MiB at the most",
        peak_kib() / 1024
    );
}

/// The most memory that this process has had (Linux).
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

struct Mutator<'a> {
    state: u64,
    corpus: &'a [Vec<u8>],
    words: &'a [&'a [u8]],
}

impl Mutator<'_> {
    /// SplitMix64, so that neighbouring seeds have nothing in common. Source: Steele, Lea and Flood, "Fast splittable
    /// pseudorandom number generators", 2014.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random() % end.max(1) as u64).unwrap_or_default()
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn input(&mut self) -> Vec<u8> {
        let mut input = self.corpus[self.below(self.corpus.len())].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let most = if self.one_in(4) { 64 } else { 8 };
        let length = 1 + self.below(most);
        let end = (at + length).min(input.len());
        match self.below(10) {
            0 | 1 if at < input.len() => input[at] ^= 1 << self.below(8),
            2 if at < input.len() => input[at] = self.random() as u8,
            3 | 4 => {
                let number = [
                    0,
                    1,
                    2,
                    0x7f,
                    0x80,
                    0xff,
                    0x100,
                    0x7fff,
                    0x8000,
                    0xffff,
                    0x7fff_ffff,
                    u32::MAX,
                ];
                let number = number[self.below(number.len())];
                let bytes = if self.one_in(2) {
                    number.to_be_bytes()
                } else {
                    number.to_le_bytes()
                };
                let width = [1, 2, 3, 4][self.below(4)];
                let bytes = if self.one_in(2) {
                    &bytes[..width]
                } else {
                    &bytes[4 - width..]
                };
                let end = (at + width).min(input.len());
                input[at..end].copy_from_slice(&bytes[..end - at]);
            }
            5 => drop(input.drain(at..end)),
            6 => {
                let part = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, part);
            }
            7 => {
                let part: Vec<u8> = (0..length).map(|_| self.random() as u8).collect();
                input.splice(at..at, part);
            }
            8 if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                let end = if self.one_in(2) { at } else { end };
                input.splice(at..end, word.iter().copied());
            }
            8 | 9 => {
                let other = &self.corpus[self.below(self.corpus.len())];
                let from = self.below(other.len() + 1);
                let part = &other[from..(from + length * 8).min(other.len())];
                let end = if self.one_in(2) {
                    at
                } else {
                    (at + part.len()).min(input.len())
                };
                input.splice(at..end, part.iter().copied());
            }
            _ => input.truncate(at),
        }
    }
}
