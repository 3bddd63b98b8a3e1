//! PNG as a row of chunks, without inflating anything.
//!
//! Source: Portable Network Graphics (PNG) Specification, third edition, §5 "Datastream structure" and §11.

use super::layout::{Kept, Layout};
use super::orientation::keep_orientation;
use super::{BadPicture, Format, Outline, check_size, manifest, profile};

const SIGNATURE_BYTES: usize = 8;

/// The lengths that chunks about colours and sizes have, which is what they are kept by: nothing else fits into them.
const FIXED: &[(&[u8; 4], &[usize])] = &[
    (b"cHRM", &[32]),
    (b"gAMA", &[4]),
    (b"sRGB", &[1]),
    (b"cICP", &[4]),
    (b"mDCV", &[24]),
    (b"cLLI", &[8]),
    (b"sBIT", &[1, 2, 3, 4]),
    (b"bKGD", &[1, 2, 6]),
    (b"pHYs", &[9]),
];

/// Pixels are places in a palette. Source: PNG, §11.2.1 "IHDR", colour types.
const PALETTE: u8 = 3;

/// Walks from the signature to IEND, checks the checksums of what pixels need, and keeps that, and what is said of
/// colours.
pub(super) fn walk(bytes: &[u8]) -> Result<Layout<'_>, BadPicture> {
    let mut kept = Kept::of(Format::Png, bytes);
    let header = Chunk::read(bytes, SIGNATURE_BYTES)?;
    let mut outline = read_header(&header)?;
    header.check()?;
    kept.keep(0..header.end);
    let head = kept.close();
    let colour_type = header.content[9];
    let mut at = header.end;
    let mut has_pixels = false;
    let mut orientation = None;
    let mut has_profile = false;
    loop {
        kept.count()?;
        let chunk = Chunk::read(bytes, at)?;
        at = chunk.end;
        if chunk.may_be_needed() {
            chunk.check()?;
        } else if chunk.kind != b"IEND" && chunk.check().is_err() {
            continue;
        }
        let part = chunk.at..chunk.end;
        match chunk.kind {
            b"IDAT" => {
                has_pixels = true;
                kept.keep(part);
            }
            b"IHDR" => return Err(corrupt("it has a second header")),
            b"IEND" if !has_pixels => return Err(corrupt("it has no pixels")),
            b"IEND" if chunk.check().is_ok() && chunk.content.is_empty() => {
                kept.keep(part);
                break;
            }
            b"IEND" => {
                kept.put(encode(b"IEND", b""));
                break;
            }
            // Source: C2PA Technical Specification 2.2, A.3.3 "Embedding manifests into PNG": chunk `caBX`.
            b"caBX" => outline.has_content_credentials |= manifest::is_manifest(chunk.content),
            // Source: PNG, §11.3.2.6 "eXIf": before or after the pixels.
            b"eXIf" if orientation.is_none() => {
                orientation = keep_orientation(chunk.content).map(|exif| encode(b"eXIf", &exif));
            }
            _ if has_pixels => {}
            b"PLTE" if colour_type == PALETTE && chunk.content.len() <= 768 => kept.keep(part),
            b"tRNS" if matches!(colour_type, 0 | 2 | PALETTE) && chunk.content.len() <= 256 => {
                outline.decoded_bytes = channel_bytes(&header) * (channels(colour_type) + 1);
                kept.keep(part);
            }
            b"iCCP" if !has_profile => {
                has_profile = true;
                kept.put(profile::repacked(chunk.content).map(|profile| encode(b"iCCP", &profile)));
            }
            kind => {
                let has_its_length = |(name, lengths): &(&[u8; 4], &[usize])| {
                    *name == kind && lengths.contains(&chunk.content.len())
                };
                if FIXED.iter().any(has_its_length) {
                    kept.keep(part);
                }
            }
        }
    }
    let mut layout = kept.into_layout(outline, head);
    if let Some(exif) = orientation {
        // Decoders do not look behind the pixels.
        layout.parts.insert(head, exif.into());
    }
    Ok(layout)
}

/// A chunk with its length and checksum.
pub(super) fn encode(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(kind);
    checksum.update(content);
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    let checksum = checksum.finalize().to_be_bytes();
    [&length[..], kind, content, &checksum].concat()
}

/// Judges the size before the checksum: a bomb is called a bomb even when it is damaged as well.
fn read_header(chunk: &Chunk<'_>) -> Result<Outline, BadPicture> {
    if chunk.kind != b"IHDR" || chunk.content.len() != 13 {
        return Err(corrupt("it does not begin with a header"));
    }
    let width_px = big_endian(&chunk.content[0..4]);
    let height_px = big_endian(&chunk.content[4..8]);
    check_size(Format::Png, width_px, height_px)?;
    Ok(Outline {
        width_px,
        height_px,
        has_content_credentials: false,
        lacks_end: false,
        decoded_bytes: channel_bytes(chunk) * channels(chunk.content[9]),
    })
}

/// One channel of a picture with this header, decoded: bits become bytes.
fn channel_bytes(header: &Chunk<'_>) -> u64 {
    let pixels = u64::from(big_endian(&header.content[0..4])) * u64::from(big_endian(&header.content[4..8]));
    pixels * u64::from(header.content[8].div_ceil(8))
}

/// How many channels there are, decoded: a palette becomes colours.
fn channels(colour_type: u8) -> u64 {
    match colour_type {
        0 => 1,
        2 | PALETTE => 3,
        4 => 2,
        _ => 4,
    }
}

/// A picture of eight bits in three or four channels, not interlaced, and nothing said of its pixels elsewhere.
pub(super) struct Plain<'a> {
    pub(super) width_px: u32,
    pub(super) height_px: u32,
    pub(super) has_alpha: bool,
    /// The zlib stream of filtered rows, in the parts that it comes in.
    pub(super) stream: Vec<&'a [u8]>,
}

/// Nothing for any other picture. For one that [`walk`] has accepted: no checksum is computed a second time.
pub(super) fn plain(bytes: &[u8]) -> Option<Plain<'_>> {
    let header = Chunk::read(bytes, SIGNATURE_BYTES).ok()?;
    let outline = read_header(&header).ok()?;
    let has_alpha = match header.content[8..] {
        [8, 2, 0, 0, 0] => false,
        [8, 6, 0, 0, 0] => true,
        _ => return None,
    };
    let mut stream = Vec::new();
    let mut at = header.end;
    loop {
        let chunk = Chunk::read(bytes, at).ok()?;
        match chunk.kind {
            b"IDAT" => stream.push(chunk.content),
            _ if !stream.is_empty() => break,
            // One colour is transparent, or the pixels are one picture of several.
            b"tRNS" | b"acTL" => return None,
            // Something without which a picture cannot be read: the first letter is a capital.
            [b'A'..=b'Z', ..] => return None,
            _ => {}
        }
        at = chunk.end;
    }
    Some(Plain {
        width_px: outline.width_px,
        height_px: outline.height_px,
        has_alpha,
        stream,
    })
}

struct Chunk<'a> {
    at: usize,
    kind: &'a [u8],
    content: &'a [u8],
    /// Kind and content, which the checksum covers.
    covered: &'a [u8],
    checksum: u32,
    end: usize,
}

impl<'a> Chunk<'a> {
    fn read(bytes: &'a [u8], at: usize) -> Result<Self, BadPicture> {
        let cut = || BadPicture::CutOff {
            format: Format::Png,
            details: format!(
                "it ends after {} bytes inside the chunk that begins at byte {at}",
                bytes.len()
            ),
        };
        let content_bytes = big_endian(bytes.get(at..at + 4).ok_or_else(cut)?) as usize;
        let covered_end = (at + 8).checked_add(content_bytes).ok_or_else(cut)?;
        let covered = bytes.get(at + 4..covered_end).ok_or_else(cut)?;
        let checksum = big_endian(bytes.get(covered_end..covered_end + 4).ok_or_else(cut)?);
        let (kind, content) = covered.split_at(4);
        Ok(Self {
            at,
            kind,
            content,
            covered,
            checksum,
            end: covered_end + 4,
        })
    }

    /// Whether pixels are another without it. A name that no chunk has may be that of one that was damaged.
    fn may_be_needed(&self) -> bool {
        let is_optional = self.kind[0].is_ascii_lowercase() && self.kind.is_ascii();
        !is_optional && self.kind != b"IEND"
            || self.kind == b"tRNS"
            || self.kind.eq_ignore_ascii_case(b"IDAT")
    }

    fn check(&self) -> Result<(), BadPicture> {
        if crc32fast::hash(self.covered) == self.checksum {
            return Ok(());
        }
        Err(BadPicture::Corrupt {
            format: Format::Png,
            details: format!(
                "the checksum of the chunk {} at byte {} is wrong",
                self.kind.escape_ascii(),
                self.at
            ),
        })
    }
}

fn big_endian(four: &[u8]) -> u32 {
    four.iter().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn corrupt(details: &str) -> BadPicture {
    BadPicture::Corrupt {
        format: Format::Png,
        details: details.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::MAX_PARTS;
    use super::super::samples::{C2PA_BOX, insert_png_chunk, photo, png, png_header};
    use super::super::{MAX_PIXELS, inspect};
    use super::*;

    #[test]
    fn a_bomb_is_refused_from_its_header() {
        for (width_px, height_px) in [
            (30_000, 30_000),
            (8193, 1),
            (1, 8193),
            (8000, 5001),
            (u32::MAX, u32::MAX),
        ] {
            // Nothing follows the header: what is said about the size was not learned from pixels.
            let refused = inspect(&png_header(width_px, height_px)).unwrap_err();
            assert_eq!(refused, BadPicture::TooManyPixels { width_px, height_px });
        }
        let largest = inspect(&png_header(8000, 5000)).unwrap_err();
        assert!(
            matches!(largest, BadPicture::CutOff { .. }),
            "{MAX_PIXELS} pixels are accepted: {largest}"
        );
    }

    #[test]
    fn an_empty_side_is_refused() {
        assert!(matches!(
            inspect(&png_header(0, 5)).unwrap_err(),
            BadPicture::Corrupt { .. }
        ));
    }

    #[test]
    fn any_flipped_bit_is_found_by_the_checksums() {
        let whole = png(&photo(6, 5));
        // No pixel needs the checksum of the end.
        for at in SIGNATURE_BYTES..whole.len() - 4 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert!(
                inspect(&damaged).is_err(),
                "the change of byte {at} went unnoticed"
            );
        }
    }

    #[test]
    fn a_c2pa_manifest_is_noticed() {
        for (content, is_manifest) in [(C2PA_BOX, true), (&C2PA_BOX[8..], false), (b"a prompt", false)] {
            let file = insert_png_chunk(&png(&photo(6, 5)), b"caBX", content);
            assert_eq!(inspect(&file).unwrap().has_content_credentials, is_manifest);
        }
    }

    #[test]
    fn a_checksum_matters_where_pixels_need_the_chunk() {
        let whole = png(&photo(6, 5));
        for (kind, is_needed) in [
            (b"tEXt", false),
            (b"gAMA", false),
            (b"iCCP", false),
            (b"eXIf", false),
            (b"prVt", false),
            (b"tRNS", true),
            (b"PLTE", true),
            // What a damaged chunk of pixels may be called.
            (b"iDAT", true),
            (b"YDAT", true),
        ] {
            let mut file = insert_png_chunk(&whole, kind, &[0; 4]);
            file[33 + 8 + 4] ^= 1;
            let looked = inspect(&file);
            assert_eq!(looked.is_err(), is_needed, "{}: {looked:?}", kind.escape_ascii());
            if !is_needed {
                assert_eq!(walk(&file).unwrap().parts.concat(), whole, "it is left out");
            }
        }
        let mut file = whole.clone();
        let last = file.len() - 1;
        file[last] ^= 1;
        assert_eq!(walk(&file).unwrap().parts.concat(), whole);
    }

    #[test]
    fn more_chunks_than_any_picture_has_are_refused() {
        let whole = png(&photo(6, 5));
        for (more, is_fine) in [(MAX_PARTS - 2, true), (MAX_PARTS - 1, false)] {
            let chunks = encode(b"tEXt", b"").repeat(more);
            let file = [&whole[..33], &chunks, &whole[33..]].concat();
            let looked = inspect(&file);
            assert_eq!(looked.is_ok(), is_fine, "{more}: {looked:?}");
            if let Err(refused) = looked {
                assert!(
                    refused.to_string().contains("more than 10000 chunks or segments"),
                    "{refused}"
                );
            }
        }
    }

    #[test]
    fn a_colour_profile_is_kept_up_to_its_limit_and_without_its_name() {
        for (bytes, is_kept) in [
            (200, true),
            (16 * 1024, true),
            (16 * 1024 + 1, false),
            (1 << 20, false),
        ] {
            let mut profile = vec![0; bytes];
            profile[16..20].copy_from_slice(b"RGB ");
            let mut packed =
                flate2::write::ZlibEncoder::new(b"secret prompt\0\0".to_vec(), flate2::Compression::best());
            std::io::Write::write_all(&mut packed, &profile).unwrap();
            let file = insert_png_chunk(&png(&photo(6, 5)), b"iCCP", &packed.finish().unwrap());
            let plain = walk(&file).unwrap().parts.concat();
            assert!(!plain.windows(13).any(|part| part == b"secret prompt"));
            let mut decoder = image::codecs::png::PngDecoder::new(std::io::Cursor::new(&plain)).unwrap();
            let found = image::ImageDecoder::icc_profile(&mut decoder).unwrap();
            assert_eq!(found, is_kept.then_some(profile), "{bytes}");
        }
    }
}
