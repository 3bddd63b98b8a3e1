//! Pictures as bytes: recognising, checking, shrinking and marking them.
//!
//! Owns every decision about what a picture is. Pure functions without I/O that keep a core busy: callers run
//! them on blocking threads, at most as many at once as there are cores. Where the bytes come from and where
//! they go is the generators' business.

mod bad_picture;
mod endless;
mod frame;
mod icon;
mod inflate;
mod jpeg;
mod layout;
mod manifest;
mod orientation;
mod pixels;
mod png;
mod profile;
mod provenance;
mod sniff;
mod text;
mod unfilter;
mod webp;
mod xmp;

#[cfg(test)]
mod mutated;
#[cfg(test)]
mod samples;

pub use bad_picture::BadPicture;
pub use endless::inspect_without_end;
pub use icon::{ICON_SIDE_PX, MOST_ICON_BYTES, icon, thumbnail};
pub use provenance::{DigitalSource, Mark, Provenance, mark};
pub use text::without_text;

use image::{ImageDecoder, ImageReader, ImageResult, Limits};
use layout::{Layout, Parts};

/// The largest file that is looked at, in bytes. The largest picture a provider offers (4096 × 4096, PNG) stays below.
pub const MAX_PICTURE_BYTES: usize = 32 * 1024 * 1024;

/// The longest side that is accepted, in pixels.
pub const MAX_SIDE_PX: u32 = 8192;

/// The most pixels that are accepted. More are refused from the header alone, before any of them is decoded.
pub const MAX_PIXELS: u64 = 40_000_000;

/// The most memory that decoding one picture may take, in bytes: enough for [`MAX_PIXELS`] in four 8-bit channels, and for
/// 4096 × 4096 of them in whatever format.
pub const MAX_DECODED_BYTES: u64 = 168 * 1024 * 1024;

/// A file format that is accepted and delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG, baseline or progressive.
    Jpeg,
    /// WebP, lossy or lossless, not animated.
    WebP,
}

impl Format {
    /// What an object key ends with, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }

    /// The media type, for `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
        }
    }

    /// The name that people know.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
        }
    }

    fn for_decoder(self) -> image::ImageFormat {
        match self {
            Self::Png => image::ImageFormat::Png,
            Self::Jpeg => image::ImageFormat::Jpeg,
            Self::WebP => image::ImageFormat::WebP,
        }
    }
}

/// What a look at the bytes, without decoding a pixel, says about a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Found in the bytes, whatever a file name or `Content-Type` says.
    pub format: Format,
    /// Width as stored, before any EXIF orientation is applied.
    pub width_px: u32,
    /// Height as stored, before any EXIF orientation is applied.
    pub height_px: u32,
    /// Whether a C2PA manifest is inside: such bytes have to stay as they are, or the manifest becomes invalid.
    pub has_content_credentials: bool,
    /// What decoding takes besides the bytes themselves, from above.
    pub decoded_bytes: u64,
}

/// Recognises a picture and walks through its structure to the end, without decoding.
///
/// Finds files that were cut off or, in PNG, altered on the way (checksums of what pixels need). A pixel stream that is wrong in
/// itself shows only when it is decoded.
///
/// # Errors
/// [`BadPicture`], naming what was found, for everything but a whole PNG, JPEG or WebP within the limits of bytes,
/// pixels and pieces. Its class is retried: the next answer of a provider may be a picture.
pub fn inspect(bytes: &[u8]) -> Result<Inspected, BadPicture> {
    let format = sniff::format(bytes)?;
    if bytes.len() > MAX_PICTURE_BYTES {
        return Err(BadPicture::TooManyBytes { found: bytes.len() });
    }
    let outline = walk(format, bytes)?.outline;
    if outline.lacks_end {
        return Err(jpeg::cut_off(bytes));
    }
    Ok(inspected(format, outline))
}

fn inspected(format: Format, outline: Outline) -> Inspected {
    Inspected {
        format,
        width_px: outline.width_px,
        height_px: outline.height_px,
        has_content_credentials: outline.has_content_credentials,
        decoded_bytes: outline.decoded_bytes,
    }
}

fn walk(format: Format, bytes: &[u8]) -> Result<Layout<'_>, BadPicture> {
    match format {
        Format::Png => png::walk(bytes),
        Format::Jpeg => jpeg::walk(bytes),
        Format::WebP => webp::walk(bytes),
    }
}

/// Puts a packet of XMP into a file.
///
/// Source: XMP Specification part 3, §1.1.3 "JPEG" (a segment APP1 with a namespace) and §1.1.5 "PNG" (an uncompressed chunk
/// iTXt with a keyword: compression flag and method, then an empty language and an empty translated keyword).
fn add_xmp(layout: &mut Layout<'_>, format: Format, packet: &str) {
    const KEYWORD: &[u8] = b"XML:com.adobe.xmp\0\0\0\0\0";
    const NAMESPACE: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

    let part = match format {
        Format::Png => png::encode(b"iTXt", &[KEYWORD, packet.as_bytes()].concat()),
        Format::Jpeg => jpeg::encode(jpeg::APP1, &[NAMESPACE, packet.as_bytes()].concat()),
        Format::WebP => return webp::add_xmp(layout, packet),
    };
    layout.parts.insert(layout.head, part.into());
}

/// What decodes a file, within the limits.
fn decoder<'a>(format: Format, file: Parts<'a>) -> ImageResult<impl ImageDecoder + 'a> {
    let mut reader = ImageReader::with_format(file, format.for_decoder());
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PX);
    limits.max_image_height = Some(MAX_SIDE_PX);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    reader.into_decoder()
}

fn check_memory(needed: u64) -> Result<(), BadPicture> {
    match needed > MAX_DECODED_BYTES {
        true => Err(BadPicture::TooMuchMemory { needed }),
        false => Ok(()),
    }
}

/// What a walk through a file's structure finds.
#[derive(Clone, Copy)]
struct Outline {
    width_px: u32,
    height_px: u32,
    has_content_credentials: bool,
    /// Whether the file ends within the pixels: perhaps nothing but its end marker is missing.
    lacks_end: bool,
    decoded_bytes: u64,
}

/// Refuses sizes that no step after this one is prepared for. Called as soon as a header is read.
fn check_size(format: Format, width_px: u32, height_px: u32) -> Result<(), BadPicture> {
    if width_px == 0 || height_px == 0 {
        return Err(BadPicture::Corrupt {
            format,
            details: format!("its header says {width_px} × {height_px} pixels"),
        });
    }
    let pixels = u64::from(width_px) * u64::from(height_px);
    if width_px > MAX_SIDE_PX || height_px > MAX_SIDE_PX || pixels > MAX_PIXELS {
        return Err(BadPicture::TooManyPixels { width_px, height_px });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::samples::{jpeg, photo, png, webp};
    use super::*;
    use crate::failure::ErrorClass;

    #[test]
    fn each_format_is_recognised_by_its_bytes() {
        let picture = photo(31, 17);
        for (bytes, format) in [
            (png(&picture), Format::Png),
            (jpeg(&picture), Format::Jpeg),
            (webp(&picture), Format::WebP),
        ] {
            let expected = Inspected {
                format,
                width_px: 31,
                height_px: 17,
                has_content_credentials: false,
                decoded_bytes: 31 * 17 * if format == Format::WebP { 7 } else { 3 },
            };
            assert_eq!(inspect(&bytes).unwrap(), expected);
        }
    }

    #[test]
    fn too_many_bytes_are_refused_before_they_are_walked() {
        let mut bytes = png(&photo(4, 4));
        bytes.resize(MAX_PICTURE_BYTES + 1, 0);
        let refused = inspect(&bytes).unwrap_err();
        assert_eq!(refused.class(), ErrorClass::BadImage);
        assert!(refused.to_string().contains("32.0 MiB"), "{refused}");
    }

    proptest! {
        #[test]
        fn a_picture_cut_at_any_byte_is_refused(
            (width, height) in (1u32..40, 1u32..40),
            position in any::<prop::sample::Index>(),
        ) {
            let picture = photo(width, height);
            for bytes in [png(&picture), jpeg(&picture), webp(&picture)] {
                prop_assert!(inspect(&bytes).is_ok());
                prop_assert!(inspect(&bytes[..position.index(bytes.len())]).is_err());
            }
        }

        #[test]
        fn no_bytes_make_the_inspection_panic(
            magic in prop::sample::select(vec![&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], b"\xff\xd8\xff", b"RIFF\x20\0\0\0WEBP", b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0", b""]),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [magic, &rest].concat();
            let _ = inspect(&bytes);
        }

        #[test]
        fn an_altered_byte_never_makes_a_step_panic(
            position in any::<prop::sample::Index>(), value in any::<u8>(),
        ) {
            let picture = photo(20, 13);
            for mut bytes in [png(&picture), jpeg(&picture), webp(&picture)] {
                let at = position.index(bytes.len());
                bytes[at] = value;
                if let Ok(inspected) = inspect(&bytes) {
                    let _ = icon(&bytes, &inspected, Format::Png);
                    let _ = mark(&bytes.into(), &inspected, &samples::provenance());
                }
            }
        }
    }
}
