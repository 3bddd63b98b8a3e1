//! Names what bytes are from how they begin.

use super::{BadPicture, Format};

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// How much of a text is searched for what it is.
const TEXT_PREFIX_BYTES: usize = 1024;

/// Other picture formats and files, by their first bytes: offset, magic, name, whether it is a picture.
const KNOWN: &[(usize, &[u8], &str, bool)] = &[
    (0, b"GIF8", "a GIF picture", true),
    (0, b"II*\0", "a TIFF picture", true),
    (0, b"MM\0*", "a TIFF picture", true),
    (4, b"ftypavif", "an AVIF picture", true),
    (4, b"ftypavis", "an AVIF picture", true),
    (4, b"ftyphei", "a HEIC picture", true),
    (4, b"ftypmif1", "a HEIC picture", true),
    (0, b"\xff\x0a", "a JPEG XL picture", true),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture", true),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", true),
    (0, b"\0\0\x01\0", "a Windows icon", true),
    (0, b"BM", "a BMP picture", true),
    (0, b"%PDF", "a PDF document", false),
    (0, b"PK\x03\x04", "a ZIP archive", false),
    (0, b"\x1f\x8b", "a gzip archive", false),
    (4, b"ftyp", "a video", false),
    (0, b"\x1a\x45\xdf\xa3", "a video", false),
];

/// The accepted format that `bytes` begin like.
pub(super) fn format(bytes: &[u8]) -> Result<Format, BadPicture> {
    if bytes.is_empty() {
        return Err(BadPicture::NotAPicture {
            found: "nothing (0 bytes)",
        });
    }
    if bytes.starts_with(PNG_SIGNATURE) {
        return Ok(Format::Png);
    }
    if bytes.starts_with(b"\xff\xd8\xff") {
        return Ok(Format::Jpeg);
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Ok(Format::WebP);
    }
    for (whole, format) in [
        (PNG_SIGNATURE, Format::Png),
        (b"\xff\xd8\xff", Format::Jpeg),
        (b"RIFF", Format::WebP),
    ] {
        if whole.starts_with(bytes)
            || (format == Format::WebP && bytes.len() < 12 && bytes.starts_with(whole))
        {
            let details = format!("it ends after {} bytes", bytes.len());
            return Err(BadPicture::CutOff { format, details });
        }
    }
    Err(foreign(bytes))
}

fn foreign(bytes: &[u8]) -> BadPicture {
    for &(offset, magic, found, is_picture) in KNOWN {
        if bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic)) {
            return if is_picture {
                BadPicture::UnsupportedFormat { found }
            } else {
                BadPicture::NotAPicture { found }
            };
        }
    }
    text(bytes).unwrap_or(BadPicture::UnsupportedFormat {
        found: "bytes of an unknown format",
    })
}

/// Tells kinds of text apart. `None` where the bytes are no text.
fn text(bytes: &[u8]) -> Option<BadPicture> {
    let prefix = &bytes[..bytes.len().min(TEXT_PREFIX_BYTES)];
    if prefix
        .iter()
        .any(|&byte| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c))
    {
        return None;
    }
    let text = String::from_utf8_lossy(prefix).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let found = if text.is_empty() {
        "blank text"
    } else if text.starts_with('<') {
        if text.contains("<!doctype html")
            || text.contains("<html")
            || text.contains("<head")
            || text.contains("<body")
        {
            "an HTML page"
        } else if text.contains("<svg") {
            return Some(BadPicture::UnsupportedFormat {
                found: "an SVG drawing",
            });
        } else if text.starts_with("<?xml") {
            "an XML document"
        } else {
            "an HTML page"
        }
    } else if text.starts_with('{') || text.starts_with('[') {
        "a JSON document"
    } else if text.starts_with("data:image/") {
        "a data: URL"
    } else if text.contains('\u{fffd}') {
        return None;
    } else {
        "plain text"
    };
    Some(BadPicture::NotAPicture { found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::ErrorClass::{self, BadImage, BadOutput};

    #[test]
    fn what_is_no_picture_is_named() {
        let cases: &[(&[u8], ErrorClass, &str)] = &[
            (b"", BadOutput, "nothing (0 bytes)"),
            (b"  \n", BadOutput, "blank text"),
            (b"<!DOCTYPE html><title>502</title>", BadOutput, "an HTML page"),
            (
                b"\xef\xbb\xbf\n <HTML><body><svg></svg>",
                BadOutput,
                "an HTML page",
            ),
            (b"<center>nginx</center>", BadOutput, "an HTML page"),
            (
                b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>",
                BadOutput,
                "an XML document",
            ),
            (
                b"<?xml version='1.0'?>\n<!-- x --><svg xmlns='http://www.w3.org/2000/svg'/>",
                BadImage,
                "an SVG drawing",
            ),
            (b"<svg onload='alert(1)'>", BadImage, "an SVG drawing"),
            (b" {\"error\":{}}", BadOutput, "a JSON document"),
            (b"[1]", BadOutput, "a JSON document"),
            (b"data:image/png;base64,iVBORw0KGgo=", BadOutput, "a data: URL"),
            (b"upstream connect error", BadOutput, "plain text"),
            (b"GIF89a\x01\0\x01\0", BadImage, "a GIF picture"),
            (b"\0\0\0\x1cftypavif\0\0\0\0", BadImage, "an AVIF picture"),
            (b"%PDF-1.7", BadOutput, "a PDF document"),
            (b"\x01\x02\x03\x04\x05", BadImage, "bytes of an unknown format"),
            (b"RIFF\x04\0\0\0WAVEfmt ", BadImage, "bytes of an unknown format"),
        ];
        for (bytes, class, found) in cases {
            let refused = format(bytes).unwrap_err();
            assert_eq!(refused.class(), *class, "{refused}");
            assert!(
                refused.to_string().contains(found),
                "{refused} should name {found}"
            );
        }
    }

    #[test]
    fn a_few_bytes_of_a_picture_are_called_cut_off() {
        for (bytes, format) in [
            (&b"\x89PN"[..], Format::Png),
            (b"\xff\xd8", Format::Jpeg),
            (b"RIFF\x10\0", Format::WebP),
        ] {
            let refused = super::format(bytes).unwrap_err();
            let details = format!("it ends after {} bytes", bytes.len());
            assert_eq!(refused, BadPicture::CutOff { format, details });
        }
    }
}
