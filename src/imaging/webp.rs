//! WebP as a RIFF file, without decoding its bitstreams.
//!
//! Source: RFC 9649 "WebP Image Format", §2 (container), §3.4 (VP8L header); RFC 6386 §9.1 (VP8 frame header).

use std::ops::Range;

use super::layout::{Kept, Layout};
use super::orientation::keep_orientation;
use super::{BadPicture, Format, Outline, check_size, manifest, profile};

const RIFF_HEADER_BYTES: usize = 12;
const CHUNK_HEADER_BYTES: usize = 8;

/// What the chunk `VP8X` says of the others. Source: RFC 9649, §2.7 "Extended File Format".
mod flags {
    pub(super) const PROFILE: u8 = 0x20;
    pub(super) const ALPHA: u8 = 0x10;
    pub(super) const EXIF: u8 = 0x08;
    pub(super) const XMP: u8 = 0x04;
}
/// Where the flags stand in a file that begins with `VP8X`.
const FLAGS_AT: usize = RIFF_HEADER_BYTES + CHUNK_HEADER_BYTES;

/// Where the chunks are of which a picture has one at the most.
#[derive(Default)]
struct Found {
    /// Flags and sides.
    canvas: Option<(u8, (u32, u32))>,
    profile: Option<Range<usize>>,
    alpha: Option<Range<usize>>,
    pixels: Option<Pixels>,
    exif: Option<Vec<u8>>,
}

struct Pixels {
    chunk: Range<usize>,
    sides: (u32, u32),
    is_lossless: bool,
    has_alpha: bool,
}

/// Walks through the chunks to the end that the RIFF header promises, and keeps what pixels need, and what is said of
/// colours.
pub(super) fn walk(bytes: &[u8]) -> Result<Layout<'_>, BadPicture> {
    let end = 8 + little_endian(&bytes[4..8]) as usize;
    let mut at = RIFF_HEADER_BYTES;
    let mut kept = Kept::of(Format::WebP, bytes);
    let mut found = Found::default();
    let mut has_content_credentials = false;
    while at < end {
        kept.count()?;
        let header = bytes
            .get(at..at + CHUNK_HEADER_BYTES)
            .ok_or_else(|| cut_off(bytes, end))?;
        let content_bytes = little_endian(&header[4..8]) as usize;
        let content_end = at + CHUNK_HEADER_BYTES + content_bytes;
        let whole = bytes.get(at + CHUNK_HEADER_BYTES..content_end);
        let content = whole.unwrap_or(&bytes[at + CHUNK_HEADER_BYTES..]);
        let chunk = at..content_end;
        match &header[..4] {
            b"VP8X" if found.canvas.is_none() => {
                let sides = checked(canvas_size(content))?;
                found.canvas = Some((content[0], sides));
            }
            b"VP8 " if found.pixels.is_none() => {
                found.pixels = Some(Pixels {
                    chunk,
                    sides: checked(lossy_size(content))?,
                    is_lossless: false,
                    has_alpha: false,
                });
            }
            b"VP8L" if found.pixels.is_none() => {
                found.pixels = Some(Pixels {
                    chunk,
                    sides: checked(lossless_size(content))?,
                    is_lossless: true,
                    // Bit 28 of its header, "alpha_is_used".
                    has_alpha: content[4] & 0x10 != 0,
                });
            }
            b"ANIM" | b"ANMF" => {
                return Err(BadPicture::UnsupportedFormat {
                    found: "an animated WebP picture",
                });
            }
            b"ALPH" if found.alpha.is_none() => found.alpha = Some(chunk),
            b"ICCP" if found.profile.is_none() && profile::is_kept(content) => found.profile = Some(chunk),
            b"EXIF" if found.exif.is_none() => found.exif = keep_orientation(content),
            // Source: C2PA Technical Specification 2.2, A.3.6 "Embedding manifests into RIFF-based assets".
            b"C2PA" => has_content_credentials |= manifest::is_manifest(content),
            _ => {}
        }
        if whole.is_none() {
            return Err(cut_off(bytes, end));
        }
        if content_end > end {
            return Err(corrupt("a chunk is longer than the file"));
        }
        // Chunks begin at even offsets.
        at = content_end + content_bytes % 2;
    }
    if bytes.len() < end {
        return Err(cut_off(bytes, end));
    }
    found.into_layout(kept, has_content_credentials)
}

impl Found {
    fn into_layout(
        self,
        mut kept: Kept<'_>,
        has_content_credentials: bool,
    ) -> Result<Layout<'_>, BadPicture> {
        let Some(pixels) = self.pixels else {
            return Err(corrupt("it has no pixels"));
        };
        if self.canvas.is_some_and(|(_, sides)| sides != pixels.sides) {
            return Err(corrupt("its header and its pixels differ in size"));
        }
        let said = self.canvas.map(|(flags, _)| flags & flags::ALPHA != 0);
        let alpha = self.alpha.filter(|_| said == Some(true) && !pixels.is_lossless);
        let has_alpha = alpha.is_some() || pixels.is_lossless && said.unwrap_or(pixels.has_alpha);
        let exif = self.exif.map(|exif| encode(b"EXIF", &exif));
        let flags = [
            (has_alpha, flags::ALPHA),
            (self.profile.is_some(), flags::PROFILE),
            (exif.is_some(), flags::EXIF),
        ];
        let flags = flags
            .iter()
            .filter(|(is_set, _)| *is_set)
            .map(|(_, flag)| flag)
            .sum();
        // Pixels, where they are not packed; with what an alpha channel takes until it is among them.
        let bytes_of_two_pixels = match (pixels.is_lossless, alpha.is_some()) {
            (true, _) => 14,
            (false, true) => 21,
            (false, false) => 10,
        };
        let (width_px, height_px) = pixels.sides;
        let chunks: Vec<_> = self
            .profile
            .into_iter()
            .chain(alpha)
            .chain([pixels.chunk])
            .collect();
        let even = |bytes: usize| bytes + bytes % 2;
        let rest = chunks.iter().map(|chunk| even(chunk.len())).sum::<usize>();
        kept.put(head(
            flags,
            pixels.sides,
            rest + exif.as_ref().map_or(0, Vec::len),
        ));
        for chunk in chunks {
            let padding = (chunk.len() % 2 == 1).then(|| vec![0]);
            kept.keep(chunk);
            kept.put(padding);
        }
        kept.put(exif);
        let outline = Outline {
            width_px,
            height_px,
            has_content_credentials,
            lacks_end: false,
            decoded_bytes: u64::from(width_px) * u64::from(height_px) * bytes_of_two_pixels / 2,
        };
        Ok(kept.into_layout(outline, 1))
    }
}

/// The head of a file, with `VP8X` where there are flags; `rest` is the length of what follows it.
fn head(flags: u8, (width_px, height_px): (u32, u32), rest: usize) -> Vec<u8> {
    let mut canvas = Vec::new();
    if flags != 0 {
        let sides = [(width_px - 1).to_le_bytes(), (height_px - 1).to_le_bytes()];
        canvas = encode(
            b"VP8X",
            &[&[flags, 0, 0, 0], &sides[0][..3], &sides[1][..3]].concat(),
        );
    }
    let riff_bytes = u32::try_from(b"WEBP".len() + canvas.len() + rest).unwrap_or(u32::MAX);
    [b"RIFF", &riff_bytes.to_le_bytes()[..], b"WEBP", &canvas].concat()
}

/// Puts a packet of XMP behind all else.
pub(super) fn add_xmp(layout: &mut Layout<'_>, packet: &str) {
    let xmp = encode(b"XMP ", packet.as_bytes());
    let flags = layout.parts[0].get(FLAGS_AT).copied().unwrap_or_default() | flags::XMP;
    let rest = layout.parts[1..].iter().map(|part| part.len()).sum::<usize>() + xmp.len();
    let sides = (layout.outline.width_px, layout.outline.height_px);
    layout.parts[0] = head(flags, sides, rest).into();
    layout.parts.push(xmp.into());
}

/// A chunk with its length, and padded to an even one.
fn encode(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&kind[..], &length, content, &[0][..content.len() % 2]].concat()
}

fn checked(size: Option<(u32, u32)>) -> Result<(u32, u32), BadPicture> {
    let (width_px, height_px) = size.ok_or_else(|| corrupt("its header is too short or not one"))?;
    check_size(Format::WebP, width_px, height_px)?;
    Ok((width_px, height_px))
}

fn canvas_size(content: &[u8]) -> Option<(u32, u32)> {
    let sides = content.get(4..10)?;
    Some((little_endian(&sides[..3]) + 1, little_endian(&sides[3..]) + 1))
}

fn lossy_size(content: &[u8]) -> Option<(u32, u32)> {
    // The upper two bits of each side are a scale for display.
    let header = content
        .get(..10)
        .filter(|header| header[3..6] == *b"\x9d\x01\x2a")?;
    Some((
        little_endian(&header[6..8]) & 0x3fff,
        little_endian(&header[8..10]) & 0x3fff,
    ))
}

fn lossless_size(content: &[u8]) -> Option<(u32, u32)> {
    let header = content.get(..5).filter(|header| header[0] == 0x2f)?;
    let bits = little_endian(&header[1..5]);
    Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn cut_off(bytes: &[u8], promised: usize) -> BadPicture {
    BadPicture::CutOff {
        format: Format::WebP,
        details: format!("it ends after {} of {promised} bytes", bytes.len()),
    }
}

fn corrupt(details: &str) -> BadPicture {
    BadPicture::Corrupt {
        format: Format::WebP,
        details: details.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspect;
    use super::super::samples::{C2PA_BOX, append_webp_chunk, photo, webp};
    use super::*;

    #[test]
    fn a_bomb_is_refused_from_its_header() {
        let bomb = b"RIFF\xff\xff\xff\0WEBPVP8L\xff\xff\0\0\x2f\xff\xff\xff\xff";
        let refused = inspect(bomb).unwrap_err();
        assert_eq!(
            refused,
            BadPicture::TooManyPixels {
                width_px: 16_384,
                height_px: 16_384
            }
        );
    }

    #[test]
    fn a_small_canvas_does_not_hide_large_pixels() {
        let inner = webp(&photo(30, 20));
        let mut bytes = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x01\0\0\x01\0\0".to_vec();
        bytes.extend_from_slice(&inner[RIFF_HEADER_BYTES..]);
        let riff_bytes = u32::try_from(bytes.len() - 8).unwrap();
        bytes[4..8].copy_from_slice(&riff_bytes.to_le_bytes());
        assert_eq!(
            inspect(&bytes).err(),
            Some(corrupt("its header and its pixels differ in size"))
        );
    }

    #[test]
    fn a_c2pa_manifest_is_noticed() {
        for (content, is_manifest) in [(C2PA_BOX, true), (b"manifest!", false)] {
            let file = append_webp_chunk(&webp(&photo(6, 5)), b"C2PA", content);
            assert_eq!(inspect(&file).unwrap().has_content_credentials, is_manifest);
        }
    }

    #[test]
    fn nothing_is_kept_that_stands_elsewhere() {
        let whole = webp(&photo(6, 5));
        let mut file = whole.clone();
        for kind in [b"JUNK", b"XMP ", b"EXIF", b"ICCP", b"C2PA", b"VP8 ", b"ALPH"] {
            file = append_webp_chunk(&file, kind, b"secret prompt");
        }
        file.extend_from_slice(b"secret prompt behind the end");
        assert_eq!(walk(&file).unwrap().parts.concat(), whole);
        let many = b"junk\0\0\0\0".repeat(10_000);
        let mut file = [whole, many].concat();
        let riff_bytes = u32::try_from(file.len() - 8).unwrap();
        file[4..8].copy_from_slice(&riff_bytes.to_le_bytes());
        assert!(matches!(inspect(&file), Err(BadPicture::TooMany { .. })));
    }

    #[test]
    fn an_animation_is_refused_by_name() {
        let moving = append_webp_chunk(&webp(&photo(6, 5)), b"ANIM", b"\0\0\0\0\0\0");
        let refused = inspect(&moving).unwrap_err();
        assert_eq!(
            refused,
            BadPicture::UnsupportedFormat {
                found: "an animated WebP picture"
            }
        );
    }
}
