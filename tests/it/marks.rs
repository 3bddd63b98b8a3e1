//! What is stored is pixels and our mark: no text of anybody else's, wherever in a file it stands, and no picture is
//! thrown away for what no pixel needs.

use bytes::Bytes;
use serde_json::Value;

use crate::harness::files_below;
use crate::harness::hostile::{Scans, flat_jpeg};
use crate::harness::openai::Reply;
use crate::harness::picture::{jpeg, photo, png, webp, with_png_chunk};
use crate::harness::stack::{icon, logo};
use crate::pictures::{draw, ledger, studio};

const TEXT: &[u8] = b"a paper boat that nobody is to read of";

fn is_told(file: &[u8]) -> bool {
    file.windows(TEXT.len()).any(|part| part == TEXT)
}

/// Puts bytes in before the marker that comes at `nth` place.
fn before_marker(jpeg: &[u8], marker: u8, nth: usize, bytes: &[u8]) -> Vec<u8> {
    let mut places = jpeg
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| *pair == [0xff, marker]);
    let (at, _) = places.nth(nth).unwrap();
    [&jpeg[..at], bytes, &jpeg[at..]].concat()
}

fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
    [&[0xff, marker], &length[..], content].concat()
}

fn with_webp_chunk(webp: &[u8], kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    let mut file = [webp, kind, &length, content, &[0][..content.len() % 2]].concat();
    let riff_bytes = u32::try_from(file.len() - 8).unwrap();
    file[4..8].copy_from_slice(&riff_bytes.to_le_bytes());
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_stored_nowhere_in_a_picture() {
    let (stack, openai, _replica) = studio(&[]).await;
    let picture = photo(90, 60);
    let behind = |file: Vec<u8>| [&file[..], TEXT].concat();
    let scans = flat_jpeg(90, 60, 3, Scans::One);
    let mut files = vec![
        ("behind the end of a PNG", behind(png(&picture))),
        ("behind the end of a JPEG", behind(jpeg(&picture))),
        ("behind the end of a WebP", behind(webp(&picture))),
        (
            "in a comment between scans",
            before_marker(&scans, 0xda, 1, &segment(0xfe, TEXT)),
        ),
        ("between segments", before_marker(&scans, 0xda, 0, TEXT)),
        (
            "in a comment behind the pixels",
            before_marker(&scans, 0xd9, 0, &segment(0xfe, TEXT)),
        ),
        (
            "in a chunk of WebP",
            with_webp_chunk(&webp(&picture), b"note", TEXT),
        ),
        ("in a C2PA chunk", with_webp_chunk(&webp(&picture), b"C2PA", TEXT)),
    ];
    for marker in 0xe0..=0xef {
        files.push((
            "in a segment",
            before_marker(&scans, 0xda, 0, &segment(marker, TEXT)),
        ));
    }
    for kind in [
        b"tEXt", b"prVt", b"caBX", b"iCCP", b"sPLT", b"eXIf", b"PLTE", b"tIME",
    ] {
        files.push(("in a chunk of PNG", with_png_chunk(&png(&picture), kind, TEXT)));
    }
    for (name, file) in files {
        assert!(is_told(&file), "{name}");
        let pixels = image::load_from_memory(&file);
        let (job_id, job) = draw(&stack, &openai, logo, Reply::Picture(file.into())).await;
        assert_eq!(job.error, None, "{name}");
        let (mark, keys) = ledger(&stack, job_id).await;
        assert_eq!(mark, "xmp", "{name}");
        let stored = &files_below(stack.pictures.path())[&keys[0]];
        assert!(!is_told(stored), "{name}");
        let shown = image::load_from_memory(stored).unwrap();
        assert!(
            pixels.is_err() || shown == pixels.unwrap(),
            "{name}: the pixels are the same"
        );
    }
}

/// A superbox with the description of a manifest store. Source: C2PA Technical Specification 2.2, §11.1.4.2.
fn manifest() -> Vec<u8> {
    let description = b"\0\0\0\x1ejumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71\x03c2pa\0";
    let length = u32::try_from(description.len() + 8).unwrap().to_be_bytes();
    [&length[..], b"jumb", description].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_manifest_counts_as_one() {
    let (stack, openai, _replica) = studio(&[]).await;
    let picture = photo(90, 60);
    let mut other = manifest();
    other[16..20].copy_from_slice(b"exif");
    let in_jpeg = |content: &[u8]| {
        let content = [b"JP\0\x01\0\0\0\x01", content].concat();
        before_marker(&jpeg(&picture), 0xdb, 0, &segment(0xeb, &content))
    };
    for (content, expected) in [
        (&manifest()[..], "content_credentials"),
        (&other, "xmp"),
        (&manifest()[8..], "xmp"),
        (b"c2pa c2pa c2pa c2pa c2pa c2pa c2pa", "xmp"),
    ] {
        for file in [
            with_png_chunk(&png(&picture), b"caBX", content),
            with_webp_chunk(&webp(&picture), b"C2PA", content),
            in_jpeg(content),
        ] {
            let (job_id, job) = draw(&stack, &openai, logo, Reply::Picture(file.clone().into())).await;
            assert_eq!(job.error, None);
            let (mark, keys) = ledger(&stack, job_id).await;
            assert_eq!(mark, expected, "{}", content.escape_ascii());
            let stored = &files_below(stack.pictures.path())[&keys[0]];
            assert_eq!(*stored == file, expected == "content_credentials");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_picture_is_not_thrown_away_for_what_no_pixel_needs() {
    let (stack, openai, _replica) = studio(&[]).await;
    let picture = photo(90, 60);
    let mut damaged = with_png_chunk(&png(&picture), b"tEXt", b"Title\0boat");
    damaged[41] ^= 1;
    let mut end = png(&picture);
    *end.last_mut().unwrap() ^= 1;
    let endless = |file: Vec<u8>, missing: usize| file[..file.len() - missing].to_vec();
    let progressive = include_bytes!("../corpus/jpeg/progressive.jpg").to_vec();
    let cases: [(&str, Vec<u8>); 5] = [
        ("a checksum of a text", damaged),
        ("the checksum of the end", end),
        ("an end marker", endless(jpeg(&picture), 2)),
        ("half an end marker", endless(jpeg(&picture), 1)),
        ("the end marker of a progressive one", endless(progressive, 2)),
    ];
    let mut calls = 0;
    for (name, file) in cases {
        for package in [logo as fn(i32) -> Value, icon] {
            let reply = Reply::Picture(Bytes::copy_from_slice(&file));
            let (job_id, job) = draw(&stack, &openai, package, reply).await;
            assert_eq!(job.error, None, "{name}");
            let (_, keys) = ledger(&stack, job_id).await;
            let stored = &files_below(stack.pictures.path())[&keys[0]];
            assert!(
                generative_ai_worker::imaging::inspect(stored).is_ok(),
                "{name}: it is whole now"
            );
            assert!(image::load_from_memory(stored).is_ok(), "{name}");
            calls += 1;
        }
    }
    let cut = jpeg(&picture);
    let cut = cut[..cut.len() * 3 / 4].to_vec();
    let (_, job) = draw(&stack, &openai, logo, Reply::Picture(cut.into())).await;
    assert!(job.error.unwrap().contains("is cut off"), "pixels are missing");
    assert_eq!(openai.calls().len(), calls + 1, "each was bought once");
}
