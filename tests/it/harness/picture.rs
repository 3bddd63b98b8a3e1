//! Pictures as a provider may send them, and what can be read from stored ones.

use std::io::Cursor;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Rgb, RgbImage,
};

/// Red grows to the right and green downwards, so that turns and flips show.
pub(crate) fn photo(width: u32, height: u32) -> DynamicImage {
    let scale = |at: u32, side: u32| u8::try_from(at * 255 / side).unwrap();
    RgbImage::from_fn(width, height, |x, y| Rgb([scale(x, width), scale(y, height), 90])).into()
}

pub(crate) fn png(picture: &DynamicImage) -> Vec<u8> {
    encoded(picture, ImageFormat::Png)
}

pub(crate) fn webp(picture: &DynamicImage) -> Vec<u8> {
    encoded(picture, ImageFormat::WebP)
}

pub(crate) fn jpeg(picture: &DynamicImage) -> Vec<u8> {
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, 95);
    picture.write_with_encoder(encoder).unwrap();
    file
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A whole PNG of black pixels that needs four bytes of memory for each of them and almost none on the wire.
pub(crate) fn bomb(width: u32, height: u32) -> Vec<u8> {
    let pixels = vec![0; width as usize * height as usize * 4];
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(&pixels, width, height, ExtendedColorType::Rgba8)
        .unwrap();
    file
}

/// Puts a chunk behind the header.
pub(crate) fn with_png_chunk(png: &[u8], kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let covered = [&kind[..], content].concat();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let checksum = crc32fast::hash(&covered).to_be_bytes();
    [&png[..33], &length, &covered, &checksum, &png[33..]].concat()
}

/// Puts an EXIF segment with this orientation (1 to 8) behind the start of a JPEG.
pub(crate) fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], b"\xff\xe1", &length, &exif, &jpeg[2..]].concat()
}

/// The XMP packet that a decoder finds.
pub(crate) fn xmp_of(bytes: &[u8]) -> Option<String> {
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .unwrap();
    let packet = reader.into_decoder().unwrap().xmp_metadata().unwrap()?;
    Some(String::from_utf8(packet).unwrap())
}

/// A small picture for tests that want any.
pub(crate) fn any_picture() -> Bytes {
    png(&photo(64, 48)).into()
}
