//! WebP as a RIFF file, without decoding its bitstreams.
//!
//! Source: RFC 9649 "WebP Image Format", §2 (container), §3.4 (VP8L header); RFC 6386 §9.1 (VP8 frame header).

use super::{BadPicture, Format, Outline, check_size};

const RIFF_HEADER_BYTES: usize = 12;

/// Walks through the chunks to the end that the RIFF header promises.
pub(super) fn walk(bytes: &[u8]) -> Result<Outline, BadPicture> {
    let end = 8 + little_endian(&bytes[4..8]) as usize;
    let mut at = RIFF_HEADER_BYTES;
    let mut canvas: Option<(u32, u32)> = None;
    let mut frame: Option<(u32, u32)> = None;
    let mut has_content_credentials = false;
    while at < end {
        let header = bytes.get(at..at + 8).ok_or_else(|| cut_off(bytes, end))?;
        let content_bytes = little_endian(&header[4..8]) as usize;
        let content_end = at + 8 + content_bytes;
        let content = bytes.get(at + 8..content_end);
        match (&header[..4], content) {
            (b"VP8X", Some(content)) => canvas = Some(checked(canvas_size(content))?),
            (b"VP8 ", content) => frame = Some(checked(lossy_size(content.unwrap_or(&bytes[at + 8..])))?),
            (b"VP8L", content) => frame = Some(checked(lossless_size(content.unwrap_or(&bytes[at + 8..])))?),
            (b"ANIM" | b"ANMF", Some(_)) => {
                return Err(BadPicture::UnsupportedFormat {
                    found: "an animated WebP picture",
                });
            }
            // Source: C2PA Technical Specification 2.2, A.3.6 "Embedding manifests into RIFF-based assets".
            (b"C2PA", Some(_)) => has_content_credentials = true,
            _ => {}
        }
        if content.is_none() {
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
    let Some((width_px, height_px)) = frame else {
        return Err(corrupt("it has no pixels"));
    };
    if canvas.is_some_and(|canvas| canvas != (width_px, height_px)) {
        return Err(corrupt("its header and its pixels differ in size"));
    }
    Ok(Outline {
        width_px,
        height_px,
        has_content_credentials,
    })
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
    use super::super::samples::{append_webp_chunk, photo, webp};
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
        let signed = append_webp_chunk(&webp(&photo(6, 5)), b"C2PA", b"manifest!");
        assert!(inspect(&signed).unwrap().has_content_credentials);
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
