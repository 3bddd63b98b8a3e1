//! JPEG as a row of segments and scans, without decoding any.
//!
//! Source: ITU-T T.81, Annex B "Compressed data formats".

use super::{BadPicture, Format, Outline, check_size};

const SOI_BYTES: usize = 2;
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;
const APP11: u8 = 0xeb;

/// Walks from the start of the image, through every segment and scan, to its end marker.
pub(super) fn walk(bytes: &[u8]) -> Result<Outline, BadPicture> {
    let mut at = SOI_BYTES;
    let mut size: Option<(u32, u32)> = None;
    let mut has_scan = false;
    let mut has_content_credentials = false;
    loop {
        let marker;
        (marker, at) = next_marker(bytes, at)?;
        match marker {
            END_OF_IMAGE => {
                let (Some((width_px, height_px)), true) = (size, has_scan) else {
                    return Err(corrupt("it has no pixels".to_owned()));
                };
                return Ok(Outline {
                    width_px,
                    height_px,
                    has_content_credentials,
                });
            }
            // Restart markers and TEM stand alone.
            0x01 | 0xd0..=0xd7 => continue,
            0xd8 => return Err(corrupt(format!("a second picture begins at byte {at}"))),
            _ => {}
        }
        let content;
        (content, at) = segment(bytes, at)?;
        match marker {
            0xc0..=0xc2 if size.is_none() => size = Some(frame_size(content)?),
            0xc0..=0xc2 => return Err(corrupt("it has a second header".to_owned())),
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Err(BadPicture::UnsupportedFormat {
                    found: "a JPEG picture in a coding that browsers do not show",
                });
            }
            START_OF_SCAN if size.is_none() => {
                return Err(corrupt("its pixels begin before its header".to_owned()));
            }
            START_OF_SCAN => {
                has_scan = true;
                at = end_of_scan(bytes, at)?;
            }
            APP11 => has_content_credentials |= is_c2pa(content),
            _ => {}
        }
    }
}

/// The next marker from `at` on, and where its segment goes on.
///
/// Like every decoder, passes over bytes between segments: fill bytes are allowed there and some encoders pad.
fn next_marker(bytes: &[u8], at: usize) -> Result<(u8, usize), BadPicture> {
    let rest = bytes.get(at..).unwrap_or_default();
    let marker = rest
        .windows(2)
        .position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))
        .ok_or_else(|| cut_off(bytes))?;
    Ok((rest[marker + 1], at + marker + 2))
}

fn segment(bytes: &[u8], at: usize) -> Result<(&[u8], usize), BadPicture> {
    let length = bytes.get(at..at + 2).ok_or_else(|| cut_off(bytes))?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length < 2 {
        return Err(corrupt(format!(
            "the segment at byte {at} is shorter than its own length"
        )));
    }
    let content = bytes.get(at + 2..at + length).ok_or_else(|| cut_off(bytes))?;
    Ok((content, at + length))
}

fn frame_size(content: &[u8]) -> Result<(u32, u32), BadPicture> {
    let &[_, height_high, height_low, width_high, width_low, ..] = content else {
        return Err(corrupt("its header is too short".to_owned()));
    };
    let width_px = u32::from(u16::from_be_bytes([width_high, width_low]));
    let height_px = u32::from(u16::from_be_bytes([height_high, height_low]));
    check_size(Format::Jpeg, width_px, height_px)?;
    Ok((width_px, height_px))
}

/// Where the marker after a scan's pixels begins. Inside, 0xff is followed by 0 or a restart marker.
fn end_of_scan(bytes: &[u8], mut at: usize) -> Result<usize, BadPicture> {
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|&byte| byte == 0xff))
    {
        at += found;
        match bytes.get(at + 1) {
            Some(0x00 | 0xd0..=0xd7) => at += 2,
            Some(0xff) => at += 1,
            Some(_) => return Ok(at),
            None => break,
        }
    }
    Err(cut_off(bytes))
}

/// Whether decoding has to keep all coefficients in memory until the last scan.
pub(super) fn is_progressive(bytes: &[u8]) -> bool {
    let mut at = SOI_BYTES;
    while let Ok((marker, after)) = next_marker(bytes, at) {
        match marker {
            0xc2 => return true,
            START_OF_SCAN => return false,
            0x01 | 0xd0..=0xd9 => at = after,
            _ => match segment(bytes, after) {
                Ok((_, end)) => at = end,
                Err(_) => return false,
            },
        }
    }
    false
}

/// Whether an APP11 segment begins a C2PA manifest store. JPEG 360 and others keep JUMBF boxes there too.
///
/// Source: C2PA Technical Specification 2.2, A.3.1 "Embedding manifests into JPEG"; ISO/IEC 19566-5 (JUMBF):
/// `JP`, box instance, packet number, then the superbox `jumb` whose description box has the type `c2pa`.
fn is_c2pa(content: &[u8]) -> bool {
    content.starts_with(b"JP")
        && content.get(12..16) == Some(b"jumb")
        && content[16..].windows(4).take(48).any(|four| four == b"c2pa")
}

fn cut_off(bytes: &[u8]) -> BadPicture {
    BadPicture::CutOff {
        format: Format::Jpeg,
        details: format!("it ends after {} bytes without an end marker", bytes.len()),
    }
}

fn corrupt(details: String) -> BadPicture {
    BadPicture::Corrupt {
        format: Format::Jpeg,
        details,
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspect;
    use super::super::samples::{C2PA_JUMBF, insert_jpeg_segment, jpeg, photo};
    use super::*;

    #[test]
    fn a_bomb_is_refused_from_its_header() {
        let bomb = b"\xff\xd8\xff\xc0\0\x0b\x08\x27\x10\x27\x10\x01\x01\x11\0";
        let refused = inspect(bomb).unwrap_err();
        assert_eq!(
            refused,
            BadPicture::TooManyPixels {
                width_px: 10_000,
                height_px: 10_000
            }
        );
    }

    #[test]
    fn only_a_c2pa_manifest_counts_as_content_credentials() {
        let plain = jpeg(&photo(20, 10));
        let signed = insert_jpeg_segment(&plain, APP11, C2PA_JUMBF);
        assert!(inspect(&signed).unwrap().has_content_credentials);
        let other = [&C2PA_JUMBF[..16], b"\0\0\0\x1djumd360 degrees"].concat();
        let panorama = insert_jpeg_segment(&plain, APP11, &other);
        assert!(!inspect(&panorama).unwrap().has_content_credentials);
    }

    #[test]
    fn an_end_marker_inside_a_thumbnail_does_not_end_the_picture() {
        let whole = insert_jpeg_segment(&jpeg(&photo(20, 10)), 0xe1, b"Exif\0\0\xff\xd8\xff\xd9");
        assert!(inspect(&whole).is_ok());
        assert!(matches!(
            inspect(&whole[..whole.len() - 2]).unwrap_err(),
            BadPicture::CutOff { .. }
        ));
    }
}
