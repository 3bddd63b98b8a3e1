//! Takes out what programs write beside the pixels: prompts, settings, whole workflows.

use super::{BadPicture, sniff, walk};
use bytes::Bytes;

/// The picture with nothing but what pixels need: orientation and a colour profile of up to 16 KiB stay, and nothing
/// that could hold a prompt does. Bytes that are no picture of an accepted format stay as they are.
///
/// Source: AUTOMATIC1111 wiki, "Features", "PNG info": the prompt is in a `tEXt` chunk `parameters`, or in EXIF;
/// ComfyUI documentation, "Workflow": the whole workflow is in the picture.
///
/// # Errors
/// As [`super::inspect`].
pub fn without_text(bytes: Bytes) -> Result<Bytes, BadPicture> {
    let Ok(format) = sniff::format(&bytes) else {
        return Ok(bytes);
    };
    let mut layout = walk(format, &bytes)?;
    if layout.outline.lacks_end {
        // That its end is missing stays to be seen.
        layout.parts.pop();
    }
    if layout.is_all(&bytes) {
        return Ok(bytes);
    }
    // A copy takes as much memory as it, and is counted with it.
    let plain = layout.parts.concat();
    Ok(Bytes::from_owner(Counted { plain, _with: bytes }))
}

/// A copy that is as long in memory as what it was made of, and so takes its place where memory is counted.
struct Counted {
    plain: Vec<u8>,
    _with: Bytes,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.plain
    }
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
        mark(&bytes.into(), &inspected, &provenance)
            .unwrap()
            .0
            .concat()
            .into()
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
