//! Takes out what programs write beside the pixels: prompts, settings, whole workflows.

use bytes::Bytes;
use img_parts::jpeg::{Jpeg, markers};
use img_parts::png::Png;
use img_parts::riff::{RiffChunk, RiffContent};
use img_parts::webp::WebP;

use super::provenance::padded;
use super::{BadPicture, Format, sniff};

/// The picture without text chunks, comments, EXIF and XMP. Pixels and colour profiles stay as they are, and so do
/// bytes that are no picture of an accepted format.
///
/// Source: AUTOMATIC1111 wiki, "Features", "PNG info": the prompt is in a `tEXt` chunk `parameters`, or in EXIF;
/// ComfyUI documentation, "Workflow": the whole workflow is in the picture.
///
/// # Errors
/// [`BadPicture::Corrupt`] (retried) where the parts of the file cannot be told apart.
pub fn without_text(bytes: Bytes) -> Result<Bytes, BadPicture> {
    let Ok(format) = sniff::format(&bytes) else {
        return Ok(bytes);
    };
    let plain = match format {
        Format::Png => plain_png(bytes),
        Format::Jpeg => plain_jpeg(bytes),
        Format::WebP => plain_webp(bytes),
    };
    plain.map_err(|error| BadPicture::Corrupt {
        format,
        details: format!("its parts cannot be told apart ({error})"),
    })
}

fn plain_png(bytes: Bytes) -> img_parts::Result<Bytes> {
    let mut png = Png::from_bytes(bytes)?;
    png.chunks_mut()
        .retain(|chunk| !matches!(&chunk.kind(), b"tEXt" | b"zTXt" | b"iTXt" | b"eXIf"));
    Ok(png.encoder().bytes())
}

fn plain_jpeg(bytes: Bytes) -> img_parts::Result<Bytes> {
    let mut jpeg = Jpeg::from_bytes(bytes)?;
    jpeg.segments_mut()
        .retain(|segment| !matches!(segment.marker(), markers::APP1 | markers::APP13 | markers::COM));
    Ok(jpeg.encoder().bytes())
}

/// Source: RFC 9649, §2.7 "Extended File Format": the header says which chunks follow.
fn plain_webp(bytes: Bytes) -> img_parts::Result<Bytes> {
    const EXIF_AND_XMP_FLAGS: u8 = 0x08 | 0x04;

    let mut webp = WebP::from_bytes(padded(bytes))?;
    let chunks = webp.chunks_mut();
    chunks.retain(|chunk| !matches!(&chunk.id(), b"EXIF" | b"XMP "));
    for chunk in chunks.iter_mut().filter(|chunk| chunk.id() == *b"VP8X") {
        let Some(header) = chunk.content().data() else {
            continue;
        };
        let mut header = header.to_vec();
        if let Some(flags) = header.first_mut() {
            *flags &= !EXIF_AND_XMP_FLAGS;
        }
        *chunk = RiffChunk::new(*b"VP8X", RiffContent::Data(header.into()));
    }
    Ok(webp.encoder().bytes())
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::super::samples::{insert_png_chunk, jpeg, photo, png, webp};
    use super::super::{DigitalSource, Provenance, inspect, mark};
    use super::*;

    /// The picture with an XMP packet that tells of a model.
    fn told(bytes: Vec<u8>) -> Bytes {
        let provenance = Provenance {
            source: DigitalSource::TrainedModel,
            provider: "scripted",
            model: "a secret prompt",
            created_at: Utc::now(),
            job_id: 1,
        };
        let inspected = inspect(&bytes).unwrap();
        mark(bytes.into(), &inspected, &provenance).unwrap().0
    }

    #[test]
    fn nothing_but_pixels_is_left() {
        let picture = photo(40, 30);
        let with_chunk = insert_png_chunk(&png(&picture), b"tEXt", b"parameters\0a secret prompt");
        for bytes in [
            told(png(&picture)),
            with_chunk.into(),
            told(jpeg(&picture)),
            told(webp(&picture)),
        ] {
            assert!(String::from_utf8_lossy(&bytes).contains("secret prompt"));
            let plain = without_text(bytes.clone()).unwrap();
            assert!(!String::from_utf8_lossy(&plain).contains("secret prompt"));
            assert!(inspect(&plain).is_ok());
            assert_eq!(
                image::load_from_memory(&plain).unwrap(),
                image::load_from_memory(&bytes).unwrap()
            );
        }
    }

    #[test]
    fn what_is_no_picture_stays_as_it_is_and_a_broken_one_is_refused() {
        for bytes in [&b""[..], b"<html>", b"GIF89a"] {
            assert_eq!(without_text(Bytes::from_static(bytes)).unwrap(), bytes);
        }
        let whole = png(&photo(40, 30));
        assert!(without_text(Bytes::copy_from_slice(&whole[..whole.len() / 2])).is_err());
    }
}
