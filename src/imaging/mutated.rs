//! Mutated pictures: whatever comes, it is a picture that can be shown and marked, or a bad one, and nothing falls.

use bytes::Bytes;

use super::samples::provenance;
use super::*;
use crate::mutations::{corpus, run};

/// All that is done to a picture. What is accepted stays acceptable, and loses nothing by being marked.
fn read(bytes: &[u8]) -> bool {
    let inspected = match inspect(bytes) {
        Err(BadPicture::CutOff {
            format: Format::Jpeg, ..
        }) => inspect_without_end(bytes),
        inspected => inspected,
    };
    let shared = Bytes::copy_from_slice(bytes);
    let _ = without_text(shared.clone());
    let Ok(inspected) = inspected else { return false };
    let (parts, mark) = mark(&shared, &inspected, &provenance()).unwrap();
    let marked = parts.concat();
    let again = inspect(&marked);
    assert!(
        mark == Mark::ContentCredentials || again == Ok(inspected),
        "{again:?} is not {inspected:?}"
    );
    if let Ok(icon) = icon(bytes, &inspected, Format::Png) {
        inspect(&icon).unwrap();
    }
    true
}

/// Sides that make a small file large: there are enough tests of those.
fn is_large(bytes: &[u8]) -> bool {
    let layout = sniff::format(bytes).and_then(|format| walk(format, bytes));
    layout.is_ok_and(|layout| layout.outline.decoded_bytes > 4 << 20)
}

fn pictures(name: &str, words: &[&[u8]], mend: impl Fn(&mut Vec<u8>)) {
    run(&corpus(name), words, mend, |bytes| {
        !is_large(bytes) && read(bytes)
    });
}

/// Makes the checksums right again.
fn checksums(file: &mut [u8]) {
    let mut at = 8;
    while let Some(&[a, b, c, d]) = file.get(at..at + 4).and_then(|length| length.first_chunk()) {
        let end = at + 8 + u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(covered) = file.get(at + 4..end) else {
            return;
        };
        let checksum = crc32fast::hash(covered).to_be_bytes();
        let Some(place) = file.get_mut(end..end + 4) else {
            return;
        };
        place.copy_from_slice(&checksum);
        at = end + 4;
    }
}

#[test]
fn a_mutated_png_is_a_picture_or_a_bad_one() {
    let words: [&[u8]; 12] = [
        b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"eXIf", b"caBX", b"acTL", b"fdAT", b"sBIT",
        b"gAMA",
    ];
    pictures("png", &words, |file| checksums(file));
}

#[test]
fn a_mutated_jpeg_is_a_picture_or_a_bad_one() {
    let words: [&[u8]; 12] = [
        b"\xff\xd8",
        b"\xff\xd9",
        b"\xff\xda",
        b"\xff\xc0",
        b"\xff\xc2",
        b"\xff\xc4",
        b"\xff\xdb",
        b"\xff\xdd\0\x04\0\x01",
        b"\xff\xe1",
        b"\xff\xee",
        b"\xff\xfe\0\x02",
        b"\xff\xd0",
    ];
    pictures("jpeg", &words, |_| ());
}

#[test]
fn a_mutated_webp_is_a_picture_or_a_bad_one() {
    let words: [&[u8]; 9] = [
        b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"EXIF", b"XMP ", b"ANMF", b"C2PA",
    ];
    // Its length is what else is refused first.
    pictures("webp", &words, |file| {
        let length = u32::try_from(file.len().saturating_sub(8)).unwrap().to_le_bytes();
        if let Some(place) = file.get_mut(4..8) {
            place.copy_from_slice(&length);
        }
    });
}
