//! Counting what came of a fault, and the table of it in `docs/guarantees.md`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::harness::stack::Stack;

/// How often every fault is planted. `make chaos` asks for many rounds; one is part of every test run.
pub(crate) fn rounds() -> u64 {
    asked("CHAOS_ROUNDS").unwrap_or(1)
}

/// How much `make chaos` asks for.
#[expect(
    clippy::disallowed_methods,
    reason = "it is asked of the tests, not of the worker"
)]
pub(super) fn asked(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {value}")),
    )
}

/// What became of the packages of one row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) row: String,
    pub(super) fault: String,
    pub(super) rounds: u64,
    pub(super) packages: usize,
    pub(super) ended: usize,
    pub(super) images: usize,
    pub(super) bills: usize,
    /// Jobs that had to be paid, once each.
    pub(super) due: usize,
    pub(super) recovery_ms: Vec<u64>,
}

impl Tally {
    pub(super) fn of(row: &str, fault: &str) -> Self {
        Self {
            row: row.to_owned(),
            fault: fault.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn recovered_in(&mut self, time: Duration) {
        self.recovery_ms
            .push(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    pub(super) fn lost(&self) -> usize {
        self.packages - self.ended
    }

    /// Pictures that were paid for beyond one for each job.
    pub(super) fn double_bills(&self) -> usize {
        self.bills.saturating_sub(self.due)
    }

    /// Counts how the jobs ended; each has one end and at most one image row.
    pub(super) async fn count(&mut self, stack: &Stack, jobs: &[i32]) {
        self.rounds += 1;
        self.packages += jobs.len();
        let ended = "SELECT count(*) FROM ac_background_jobs
            WHERE id = ANY($1) AND ((progress = 100 AND error IS NULL) <> (error IS NOT NULL AND data = '{}'))";
        self.ended += count(stack, ended, jobs).await;
        let images = "SELECT count(*) FROM images AS image JOIN ac_background_jobs AS job
            ON image.formats = jsonb_build_array(job.data->>'imageUrl')::text WHERE job.id = ANY($1)";
        self.images += count(stack, images, jobs).await;
    }

    /// Keeps the counts for the report.
    pub(super) fn keep(&self) {
        let path = directory().join(format!("{}.json", self.row));
        std::fs::create_dir_all(directory()).unwrap();
        std::fs::write(path, serde_json::to_vec(self).unwrap()).unwrap();
    }
}

async fn count(stack: &Stack, query: &str, jobs: &[i32]) -> usize {
    let count: i64 = stack.sql(query, &[&jobs]).await[0].get(0);
    usize::try_from(count).unwrap()
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("chaos")
}

/// The counts in `docs/guarantees.md` are those of a run that lost nothing. `make chaos` writes them after all other
/// tests and lets them be checked like this.
#[test]
fn report() {
    if asked("CHAOS_REPORT").is_some() {
        write_report();
    }
    let text = std::fs::read_to_string(GUARANTEES).unwrap();
    let (_, rest) = text.split_once("<!-- counts -->\n").unwrap();
    let (counts, _) = rest.split_once("<!-- end of counts -->").unwrap();
    let rows: Vec<Vec<&str>> = counts
        .lines()
        .skip(2)
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() >= 28, "every row has counts: {}", rows.len());
    for row in rows {
        let (packages, ended, lost) = (row[4], row[5], row[6]);
        assert_eq!((ended, lost), (packages, "0"), "{row:?}");
    }
}

const GUARANTEES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guarantees.md");

fn write_report() {
    let mut rows = BTreeMap::new();
    for entry in directory().read_dir().unwrap() {
        let tally: Tally = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        rows.insert(tally.row.clone(), tally);
    }
    let mut table = String::from(
        "| row | fault | rounds | packages | ended | lost | images | bills | double bills | recovery p50, p99 |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for tally in rows.values() {
        let mut recovery = tally.recovery_ms.clone();
        recovery.sort_unstable();
        let quantile = |share: f64| {
            let last = recovery.len().saturating_sub(1);
            let seconds = recovery
                .get((last as f64 * share).round() as usize)
                .map(|ms| *ms as f64 / 1000.0);
            seconds.map_or("–".to_owned(), |seconds| format!("{seconds:.1} s"))
        };
        table.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {}, {} |\n",
            tally.row,
            tally.fault,
            tally.rounds,
            tally.packages,
            tally.ended,
            tally.lost(),
            tally.images,
            tally.bills,
            tally.double_bills(),
            quantile(0.5),
            quantile(0.99)
        ));
    }
    println!("{table}");
    let text = std::fs::read_to_string(GUARANTEES).unwrap();
    let (before, rest) = text
        .split_once("<!-- counts -->\n")
        .expect("docs/guarantees.md has a place for the counts");
    let (_, after) = rest.split_once("<!-- end of counts -->").unwrap();
    let text = format!("{before}<!-- counts -->\n{table}<!-- end of counts -->{after}");
    std::fs::write(GUARANTEES, text).unwrap();
}
