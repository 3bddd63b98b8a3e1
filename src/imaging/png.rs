//! PNG as a row of chunks, without inflating anything.
//!
//! Source: Portable Network Graphics (PNG) Specification, third edition, §5 "Datastream structure" and §11.

use super::{BadPicture, Format, Outline, check_size};

const SIGNATURE_BYTES: usize = 8;

/// Walks from the signature to IEND and checks every chunk's checksum.
pub(super) fn walk(bytes: &[u8]) -> Result<Outline, BadPicture> {
    let mut at = SIGNATURE_BYTES;
    let mut outline: Option<Outline> = None;
    let mut has_pixels = false;
    loop {
        let chunk = Chunk::read(bytes, at)?;
        let Some(outline) = outline.as_mut() else {
            outline = Some(read_header(&chunk)?);
            chunk.check()?;
            at = chunk.end;
            continue;
        };
        chunk.check()?;
        match chunk.kind {
            b"IDAT" => has_pixels = true,
            // Source: C2PA Technical Specification 2.2, A.3.3 "Embedding manifests into PNG": chunk `caBX`.
            b"caBX" => outline.has_content_credentials = true,
            b"IHDR" => return Err(corrupt("it has a second header")),
            b"IEND" if has_pixels => return Ok(*outline),
            b"IEND" => return Err(corrupt("it has no pixels")),
            _ => {}
        }
        at = chunk.end;
    }
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
    })
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
    use super::super::samples::{insert_png_chunk, photo, png, png_header};
    use super::super::{Inspected, MAX_PIXELS, inspect};
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
        for at in SIGNATURE_BYTES..whole.len() {
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
        let with_manifest = insert_png_chunk(&png(&photo(6, 5)), b"caBX", b"\0\0\0\x08jumb");
        assert!(matches!(
            inspect(&with_manifest).unwrap(),
            Inspected {
                has_content_credentials: true,
                ..
            }
        ));
    }
}
