//! Unpacks a zlib stream of which the size is known, with the faster of two libraries.
//!
//! `fdeflate` takes two bytes out of one look at its table where their codes are short, as in a stream that
//! libpng has asked for after it has filtered the rows; there libdeflate takes up to 1.7 times as long. Other
//! encoders, and libpng at its fast levels, find copies of three to five bytes all over the noise of a photo, or
//! have long codes; there `fdeflate` takes up to 1.8 times as long.

use std::borrow::Cow;

/// Fills `bytes` from a stream that comes in parts. Says nothing about why it could not.
///
/// The stream's own checksum is not looked at: those of the chunks that it comes from are.
pub(super) fn inflate(parts: &[&[u8]], bytes: &mut [u8]) -> Option<()> {
    if pairs(parts).is_some_and(|share| share > MANY_PAIRS) {
        by_fdeflate(parts, bytes)
    } else {
        by_libdeflate(parts, bytes)
    }
}

/// Above this `fdeflate` is faster, below it libdeflate. Measured on two photos in thirty files of four encoders:
/// so it was for each.
const MANY_PAIRS: f32 = 0.75;

/// What one look at `fdeflate`'s table covers.
const TABLE_BITS: usize = 12;

fn by_fdeflate(parts: &[&[u8]], bytes: &mut [u8]) -> Option<()> {
    let mut decompressor = fdeflate::Decompressor::new();
    decompressor.ignore_adler32();
    let mut filled = 0;
    for mut part in parts.iter().copied() {
        while !part.is_empty() && filled < bytes.len() {
            let (taken, written) = decompressor.read(part, bytes, filled, false).ok()?;
            if taken == 0 && written == 0 {
                return None;
            }
            part = &part[taken..];
            filled += written;
        }
    }
    (filled == bytes.len()).then_some(())
}

fn by_libdeflate(parts: &[&[u8]], bytes: &mut [u8]) -> Option<()> {
    let stream = match parts {
        [only] => Cow::Borrowed(*only),
        _ => Cow::Owned(parts.concat()),
    };
    let (header, deflated) = stream.split_first_chunk::<ZLIB_HEADER_BYTES>()?;
    // Source: RFC 1950, §2.2: deflate, a window of at most 32 KiB, no dictionary, and a check of these two bytes.
    let is_usual = header[0] & 0x8f == 8 && header[1] & 0x20 == 0;
    if !is_usual || u16::from_be_bytes(*header) % 31 != 0 {
        return None;
    }
    // Given the header, the library would check the checksum too, which takes a twentieth of the time.
    let written = libdeflater::Decompressor::new()
        .deflate_decompress(deflated, bytes)
        .ok()?;
    (written == bytes.len()).then_some(())
}

const ZLIB_HEADER_BYTES: usize = 2;

/// How likely two symbols in a row are single bytes that one look at the table finds together, going by the code
/// of the first block. Nothing for a block that does not come with a code of its own.
///
/// Source: RFC 1951, §3.2.7 "Compression with dynamic Huffman codes".
fn pairs(parts: &[&[u8]]) -> Option<f32> {
    let bytes = parts.iter().flat_map(|part| part.iter()).skip(ZLIB_HEADER_BYTES);
    let mut bits = bytes.flat_map(|byte| (0..8).map(move |at| usize::from(byte >> at & 1)));
    let mut take = |count: usize| (0..count).try_fold(0, |value, at| Some(value | bits.next()? << at));
    let (_is_last, kind) = (take(1)?, take(2)?);
    if kind != 2 {
        return None;
    }
    let (_literals, _distances, lengths) = (take(5)?, take(5)?, take(4)? + 4);
    let mut code = [0; 19];
    for &length in &ORDER_OF_LENGTHS[..lengths] {
        code[length] = take(3)?;
    }
    let (mut shares, mut literal, mut last) = ([0.0; 16], 0, 0);
    while literal < 256 {
        let (length, times) = match symbol(&code, || take(1))? {
            16 => (last, take(2)? + 3),
            17 => (0, take(3)? + 3),
            18 => (0, take(7)? + 11),
            length => (length, 1),
        };
        let times = times.min(256 - literal);
        if length > 0 {
            shares[length] += times as f32 / (1 << length) as f32;
        }
        literal += times;
        last = length;
    }
    let at_most = |bits: usize| shares[..=bits].iter().sum::<f32>();
    Some(
        (1..TABLE_BITS)
            .map(|first| shares[first] * at_most(TABLE_BITS - first))
            .sum(),
    )
}

const ORDER_OF_LENGTHS: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Reads one symbol of the code that these lengths of its symbols' codes make.
fn symbol(lengths: &[usize; 19], mut bit: impl FnMut() -> Option<usize>) -> Option<usize> {
    let (mut code, mut first) = (0, 0);
    for length in 1..=7 {
        code = code << 1 | bit()?;
        first <<= 1;
        let mut symbols = (0..19).filter(|&symbol| lengths[symbol] == length);
        if let Some(symbol) = code.checked_sub(first).and_then(|nth| symbols.clone().nth(nth)) {
            return Some(symbol);
        }
        first += symbols.by_ref().count();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both write a stream of the same bytes, so that each takes one of the two ways.
    fn streams(bytes: &[u8]) -> [Vec<u8>; 2] {
        let mut short = fdeflate::Compressor::new(Vec::new()).unwrap();
        short.write_data(bytes).unwrap();
        let mut other = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut file = vec![0; other.zlib_compress_bound(bytes.len())];
        let written = other.zlib_compress(bytes, &mut file).unwrap();
        file.truncate(written);
        [short.finish().unwrap(), file]
    }

    #[test]
    fn a_stream_fills_exactly_its_bytes_in_whatever_parts_it_comes() {
        let bytes: Vec<u8> = (0..50_000_u32).map(|at| ((at * at) >> 7) as u8 % 23).collect();
        for stream in streams(&bytes) {
            for size in [1, 2, 3, 1000, stream.len()] {
                let parts: Vec<&[u8]> = stream.chunks(size).collect();
                let mut found = vec![0; bytes.len()];
                inflate(&parts, &mut found).unwrap();
                assert!(found == bytes);
                assert_eq!(inflate(&parts, &mut vec![0; bytes.len() + 1]), None);
            }
        }
    }

    #[test]
    fn a_stream_that_is_cut_fills_nothing() {
        let bytes: Vec<u8> = (0..3_000_u32).map(|at| ((at * at) >> 5) as u8 % 23).collect();
        for stream in streams(&bytes) {
            for end in 0..stream.len() - CHECKSUM_BYTES - 2 {
                assert_eq!(inflate(&[&stream[..end]], &mut vec![0; bytes.len()]), None);
            }
        }
    }

    const CHECKSUM_BYTES: usize = 4;

    #[test]
    fn what_is_no_zlib_stream_fills_nothing() {
        for stream in streams(&[7; 100]) {
            for (at, bit) in (0..ZLIB_HEADER_BYTES).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut other = stream.clone();
                other[at] ^= 1 << bit;
                assert_eq!(inflate(&[&other], &mut [0; 100]), None, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn many_pairs_are_told_from_copies_and_long_codes() {
        let noise = |values: u32| -> Vec<u8> {
            let mut state = 1_u32;
            let mut random = move || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            };
            (0..40_000)
                .map(|_| (u32::from(random()) % values) as u8)
                .collect()
        };
        let [short, _] = streams(&noise(4));
        assert!(pairs(&[&short]).unwrap() > MANY_PAIRS);
        let [_, long] = streams(&noise(200));
        assert!(pairs(&[&long]).unwrap_or(0.0) < MANY_PAIRS);
        let copies: Vec<u8> = noise(200)[..64].repeat(600);
        let [_, copies] = streams(&copies);
        assert!(pairs(&[&copies]).unwrap_or(0.0) < MANY_PAIRS);
    }
}
