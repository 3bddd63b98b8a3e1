//! JPEG as a row of segments and scans, without decoding any.
//!
//! Source: ITU-T T.81, Annex B "Compressed data formats".

use super::frame::{Frame, corrupt};
use super::layout::{Kept, Layout};
use super::orientation::keep_orientation;
use super::{BadPicture, Format, Outline, manifest, profile};

pub(super) const SOI_BYTES: usize = 2;
pub(super) const END: &[u8] = &[0xff, END_OF_IMAGE];
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;
const APP0: u8 = 0xe0;
pub(super) const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const APP11: u8 = 0xeb;
const APP14: u8 = 0xee;

const JFIF: &[u8] = b"JFIF\0";
const EXIF: &[u8] = b"Exif\0\0";
/// Followed by its number and how many there are. Source: ICC.1:2022, B.4 "Embedding ICC profiles in JPEG files".
const PROFILE: &[u8] = b"ICC_PROFILE\0\x01\x01";

/// Walks from the start of the image, through every segment and scan, to its end marker, and keeps what pixels need:
/// tables, scans, and what is said of colours. Keeps nothing that stands between segments or behind the end marker.
///
/// A file that ends within a scan gets its end marker: [`Outline::lacks_end`].
pub(super) fn walk(bytes: &[u8]) -> Result<Layout<'_>, BadPicture> {
    let mut kept = Kept::of(Format::Jpeg, bytes);
    kept.keep(0..SOI_BYTES);
    let mut head = kept.close();
    let mut at = SOI_BYTES;
    let mut frame: Option<Frame> = None;
    let (mut has_jfif, mut has_adobe, mut has_profile) = (false, false, false);
    let mut orientation = None;
    let mut has_content_credentials = false;
    let mut lacks_end = false;
    while !lacks_end {
        let marker;
        kept.count()?;
        (marker, at) = next_marker(bytes, at)?;
        match marker {
            END_OF_IMAGE => {
                kept.keep(at - END.len()..at);
                break;
            }
            // Restart markers and TEM stand alone.
            0x01 | 0xd0..=0xd7 => continue,
            0xd8 => return Err(corrupt(format!("a second picture begins at byte {at}"))),
            _ => {}
        }
        let begin = at - 2;
        let content;
        (content, at) = segment(bytes, at)?;
        match (marker, &mut frame) {
            (0xc0..=0xc2, None) => {
                frame = Some(Frame::read(content, marker)?);
                kept.keep(begin..at);
            }
            (0xc0..=0xc2, Some(_)) => return Err(corrupt("it has a second header".to_owned())),
            (0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf, _) => {
                return Err(BadPicture::UnsupportedFormat {
                    found: "a JPEG picture in a coding that browsers do not show",
                });
            }
            (START_OF_SCAN, None) => return Err(corrupt("its pixels begin before its header".to_owned())),
            (START_OF_SCAN, Some(frame)) => {
                frame.scan(content)?;
                let end = end_of_scan(bytes, at);
                at = end.unwrap_or(bytes.len() - usize::from(bytes.ends_with(b"\xff")));
                kept.keep(begin..at);
                if end.is_none() {
                    lacks_end = true;
                    kept.put(END.to_vec());
                }
            }
            (0xc4 | 0xdb, _) => {
                check_tables(marker, content)?;
                kept.keep(begin..at);
            }
            // How often the decoder begins anew.
            (0xdd, _) if content.len() == 2 => kept.keep(begin..at),
            (APP0, _) if !has_jfif && content.starts_with(JFIF) && content.len() >= 14 => {
                has_jfif = true;
                // Without the small picture that may be in it.
                kept.put(encode(APP0, &[&content[..12], &[0, 0]].concat()));
                head = if head == 1 { kept.close() } else { head };
            }
            (APP1, _) if orientation.is_none() && content.starts_with(EXIF) => {
                orientation = keep_orientation(content).map(|exif| encode(APP1, &[EXIF, &exif].concat()));
            }
            (APP2, _) if !has_profile && content.strip_prefix(PROFILE).is_some_and(profile::is_kept) => {
                has_profile = true;
                kept.keep(begin..at);
            }
            // In how many packets a manifest comes does not matter: each has the head of the box.
            // Source: C2PA Technical Specification 2.2, A.3.1 "Embedding manifests into JPEG"; ISO/IEC 19566-5, D.2:
            // `JP`, two bytes,
            // packet number, box.
            (APP11, _) if content.starts_with(b"JP") => {
                has_content_credentials |= content.get(8..).is_some_and(manifest::is_manifest);
            }
            // The transform of colours, without which four channels are read wrongly.
            (APP14, _) if !has_adobe && content.starts_with(b"Adobe") && content.len() >= 12 => {
                has_adobe = true;
                kept.put(encode(APP14, &content[..12]));
            }
            _ => {}
        }
    }
    let frame = frame
        .filter(Frame::has_scan)
        .ok_or_else(|| corrupt("it has no pixels".to_owned()))?;
    if lacks_end && !frame.is_told() {
        return Err(cut_off(bytes));
    }
    let outline = Outline {
        width_px: frame.width_px,
        height_px: frame.height_px,
        has_content_credentials,
        lacks_end,
        decoded_bytes: frame.decoded_bytes(),
    };
    let mut layout = kept.into_layout(outline, head);
    if let Some(exif) = orientation {
        // Exif asks for its segment to be the first.
        layout.parts.insert(layout.head, exif.into());
        layout.head += 1;
    }
    Ok(layout)
}

/// A segment with its marker and length. `content` has at most 65,533 bytes.
pub(super) fn encode(marker: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).unwrap_or(u16::MAX).to_be_bytes();
    [&[0xff, marker], &length[..], content].concat()
}

/// Whether tables fill their segment, so that nothing else is in it.
///
/// Source: ITU-T T.81, B.2.4.1 (quantization: 64 values of 8 or 16 bits) and B.2.4.2 (codes: 16 counts, then values).
fn check_tables(marker: u8, content: &[u8]) -> Result<(), BadPicture> {
    let mut rest = content;
    while let Some((&kind, after)) = rest.split_first() {
        let length = match marker {
            0xdb => 64 << (kind >> 4).min(1),
            _ => {
                after
                    .iter()
                    .take(16)
                    .map(|&count| usize::from(count))
                    .sum::<usize>()
                    + 16
            }
        };
        rest = after
            .get(length..)
            .ok_or_else(|| corrupt("a table in it is shorter or longer than it says".to_owned()))?;
    }
    Ok(())
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

/// Where the marker after a scan's pixels begins, if there is one. Inside, 0xff is followed by 0 or a restart marker.
fn end_of_scan(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        match bytes.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Some(at),
        }
    }
}

pub(super) fn cut_off(bytes: &[u8]) -> BadPicture {
    BadPicture::CutOff {
        format: Format::Jpeg,
        details: format!("it ends after {} bytes without an end marker", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspect;
    use super::super::samples::{c2pa_segment, insert_jpeg_segment, jpeg, photo};
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
        let signed = insert_jpeg_segment(&plain, APP11, &c2pa_segment());
        assert!(inspect(&signed).unwrap().has_content_credentials);
        let panorama = [&c2pa_segment()[..16], b"\0\0\0\x1djumd360 degrees by c2pa"].concat();
        let other = insert_jpeg_segment(&plain, APP11, &panorama);
        assert!(!inspect(&other).unwrap().has_content_credentials);
    }

    #[test]
    fn nothing_is_kept_that_stands_elsewhere() {
        let secret = b"secret prompt";
        let whole = jpeg(&photo(20, 10));
        let begin = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        let (tables, scan) = (&whole[..begin], &whole[begin..whole.len() - 2]);
        let jfif = [&b"JFIF\0\x01\x01\0\0\x01\0\x01\x05\x01"[..], secret].concat();
        let file = [
            &insert_jpeg_segment(tables, APP0, &jfif)[..],
            // Between segments, in a comment, in segments of other kinds, and all of it once more behind the pixels.
            secret,
            &encode(0xfe, secret),
            &encode(0xe5, secret),
            &encode(APP2, secret),
            &encode(APP11, &[b"JP\0\x01\0\0\0\x01", &secret[..]].concat()),
            &encode(APP14, &[b"Adobe\0\x64\0\0\0\0\x01", &secret[..]].concat()),
            scan,
            &encode(0xfe, secret),
            &encode(0xdc, secret),
            END,
            secret,
        ]
        .concat();
        let plain = walk(&file).unwrap().parts.concat();
        assert!(
            !plain.windows(6).any(|part| part == b"prompt"),
            "{}",
            plain.escape_ascii()
        );
        assert_eq!(
            image::load_from_memory(&plain).unwrap(),
            image::load_from_memory(&whole).unwrap()
        );
        let table = encode(0xdb, &[&[0; 65], &secret[..]].concat());
        assert!(matches!(
            walk(&[tables, &table, scan, END].concat()),
            Err(BadPicture::Corrupt { .. })
        ));
    }

    #[test]
    fn segments_and_scans_are_counted() {
        let whole = jpeg(&photo(20, 10));
        for marker in [0xe5, 0xfe] {
            let many = encode(marker, b"").repeat(10_000);
            let refused = inspect(&[&whole[..2], &many, &whole[2..]].concat()).unwrap_err();
            assert!(
                matches!(refused, BadPicture::TooMany { most: 10_000, .. }),
                "{refused}"
            );
        }
        let begin = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        let scan = &whole[begin..whole.len() - 2];
        let refused = inspect(&[&whole[..begin], &scan.repeat(101), END].concat()).unwrap_err();
        assert!(
            matches!(refused, BadPicture::TooMany { what: "scans", .. }),
            "{refused}"
        );
        assert!(inspect(&[&whole[..begin], &scan.repeat(100), END].concat()).is_ok());
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
