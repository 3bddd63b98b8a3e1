//! Pictures for the tests of this module, made by the encoders of the image library.

use bytes::Bytes;
use chrono::DateTime;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::{DigitalSource, Provenance};

/// A JUMBF superbox with the description of a C2PA manifest store.
pub(super) const C2PA_BOX: &[u8] =
    b"\x00\x00\x00\x2djumb\x00\x00\x00\x1djumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71\x03c2pa\0";

/// The same as an APP11 segment holds it.
pub(super) fn c2pa_segment() -> Vec<u8> {
    [b"JP\x00\x01\x00\x00\x00\x01", C2PA_BOX].concat()
}

/// Colour runs from left to right and from top to bottom, so that every turn and flip shows.
pub(super) fn photo(width: u32, height: u32) -> DynamicImage {
    let scale = |at: u32, side: u32| (at * 255 / side.max(1)) as u8;
    RgbImage::from_fn(width, height, |x, y| Rgb([scale(x, width), scale(y, height), 90])).into()
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

pub(super) fn png(picture: &DynamicImage) -> Vec<u8> {
    encoded(picture, ImageFormat::Png)
}

pub(super) fn jpeg(picture: &DynamicImage) -> Vec<u8> {
    let mut file = Vec::new();
    picture
        .write_with_encoder(JpegEncoder::new_with_quality(&mut file, 95))
        .unwrap();
    file
}

pub(super) fn webp(picture: &DynamicImage) -> Vec<u8> {
    encoded(picture, ImageFormat::WebP)
}

fn png_chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let covered = [&kind[..], content].concat();
    let length = u32::try_from(content.len()).unwrap();
    [
        &length.to_be_bytes()[..],
        &covered,
        &crc32fast::hash(&covered).to_be_bytes(),
    ]
    .concat()
}

/// The signature and a header for 1-bit grey pixels, and nothing else.
pub(super) fn png_header(width_px: u32, height_px: u32) -> Vec<u8> {
    let sides = [width_px.to_be_bytes(), height_px.to_be_bytes()].concat();
    let header = png_chunk(b"IHDR", &[&sides[..], &[1, 0, 0, 0, 0]].concat());
    [&b"\x89PNG\r\n\x1a\n"[..], &header].concat()
}

/// Puts a chunk behind the header.
pub(super) fn insert_png_chunk(png: &[u8], kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&png[..33], &png_chunk(kind, content), &png[33..]].concat()
}

/// Puts a segment behind the start of the image.
pub(super) fn insert_jpeg_segment(jpeg: &[u8], marker: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, content, &jpeg[2..]].concat()
}

/// Puts a chunk behind the last one.
pub(super) fn append_webp_chunk(webp: &[u8], kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    let padding = &[0][..content.len() % 2];
    let mut longer = [webp, kind, &length, content, padding].concat();
    let riff_bytes = u32::try_from(longer.len() - 8).unwrap();
    longer[4..8].copy_from_slice(&riff_bytes.to_le_bytes());
    longer
}

/// An EXIF block (big endian) with an orientation and a description that gives the prompt away.
pub(super) fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff =
        b"MM\0*\0\0\0\x08\0\x02\x01\x0e\0\x02\0\0\0\x0e\0\0\0\x26\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    tiff.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    tiff.extend_from_slice(b"secret prompt\0");
    tiff
}

pub(super) fn provenance() -> Provenance<'static> {
    Provenance {
        source: DigitalSource::TrainedModel,
        provider: "openai",
        model: "gpt-image-1",
        created_at: DateTime::UNIX_EPOCH,
        job_id: 42,
    }
}

/// The XMP packet that a decoder finds.
pub(super) fn xmp_of(bytes: &Bytes) -> Option<String> {
    use image::{ImageDecoder, ImageReader};
    let reader = ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .unwrap();
    let packet = reader.into_decoder().unwrap().xmp_metadata().unwrap()?;
    Some(String::from_utf8(packet).unwrap())
}
