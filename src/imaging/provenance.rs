//! Marks pictures as machine-made, without touching a pixel.

use super::{BadPicture, Inspected, add_xmp, walk, xmp};
use bytes::Bytes;
use chrono::{DateTime, Utc};

/// How the pixels came to be; becomes the picture's IPTC digital source type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigitalSource {
    /// Drawn by a model trained on pictures (`trainedAlgorithmicMedia`).
    TrainedModel,
    /// Drawn by plain code (`algorithmicMedia`).
    Algorithm,
}

/// Who made a picture, when, and for which job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance<'a> {
    /// How the pixels came to be.
    pub source: DigitalSource,
    /// Name of the provider, as packages write it.
    pub provider: &'a str,
    /// Model id, as it went on the wire.
    pub model: &'a str,
    /// When the picture arrived.
    pub created_at: DateTime<Utc>,
    /// The job row that the picture is for.
    pub job_id: i32,
}

/// What says in a stored object that it is machine-made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// The C2PA manifest that the provider signed.
    ContentCredentials,
    /// An XMP packet of ours, with the IPTC digital source type.
    Xmp,
}

impl Mark {
    /// The name in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContentCredentials => "content_credentials",
            Self::Xmp => "xmp",
        }
    }
}

/// Makes sure that a picture says that it is machine-made, and by whom. The file is what the parts make, one after
/// the other; those that stay as they were are not copied.
///
/// Bytes with a C2PA manifest come back untouched: anything written into them would turn the manifest from valid to
/// tampered. All others get an XMP packet in place of any they had, and keep nothing but what pixels need: no text,
/// no chunk or segment of another kind, nothing behind the end. Pixels and orientation stay as they are, and so does
/// a colour profile of up to 16 KiB.
///
/// # Errors
/// As [`super::inspect`].
pub fn mark(
    bytes: &Bytes,
    inspected: &Inspected,
    provenance: &Provenance<'_>,
) -> Result<(Vec<Bytes>, Mark), BadPicture> {
    if inspected.has_content_credentials {
        return Ok((vec![bytes.clone()], Mark::ContentCredentials));
    }
    let mut layout = walk(inspected.format, bytes)?;
    add_xmp(&mut layout, inspected.format, &xmp::packet(provenance));
    Ok((layout.into_parts(bytes), Mark::Xmp))
}

#[cfg(test)]
mod tests {
    use image::DynamicImage;

    use super::super::samples::*;
    use super::super::{Format, icon, inspect};
    use super::*;

    fn marked(bytes: Vec<u8>) -> Bytes {
        let inspected = inspect(&bytes).unwrap();
        let (marked, mark) = mark(&bytes.into(), &inspected, &provenance()).unwrap();
        assert_eq!(mark, Mark::Xmp);
        let marked = Bytes::from(marked.concat());
        assert_eq!(
            inspect(&marked).unwrap(),
            inspected,
            "the mark changes nothing else"
        );
        marked
    }

    fn pixels(bytes: &[u8]) -> DynamicImage {
        image::load_from_memory(bytes).unwrap()
    }

    #[test]
    fn every_format_says_afterwards_who_made_it_with_the_same_pixels() {
        let opaque = photo(33, 20);
        let mut see_through = opaque.to_rgba8();
        see_through.pixels_mut().for_each(|pixel| pixel.0[3] = pixel.0[0]);
        for picture in [opaque, see_through.into()] {
            for bytes in [png(&picture), webp(&picture), jpeg(&picture.to_rgb8().into())] {
                let marked = marked(bytes.clone());
                assert_eq!(pixels(&marked), pixels(&bytes));
                let packet = xmp_of(&marked).unwrap();
                assert_eq!(packet, xmp::packet(&provenance()));
            }
        }
    }

    #[test]
    fn a_second_mark_replaces_the_first() {
        for bytes in [png(&photo(9, 9)), jpeg(&photo(9, 9)), webp(&photo(9, 9))] {
            let once = marked(bytes);
            let twice = marked(once.to_vec());
            assert_eq!(once, twice);
        }
    }

    #[test]
    fn bytes_with_content_credentials_come_back_untouched_and_uncopied() {
        let signed = [
            insert_png_chunk(&png(&photo(9, 9)), b"caBX", C2PA_BOX),
            insert_jpeg_segment(&jpeg(&photo(9, 9)), 0xeb, &c2pa_segment()),
            append_webp_chunk(&webp(&photo(9, 9)), b"C2PA", C2PA_BOX),
        ];
        for bytes in signed.map(Bytes::from) {
            let inspected = inspect(&bytes).unwrap();
            let (after, mark) = mark(&bytes, &inspected, &provenance()).unwrap();
            assert_eq!(mark, Mark::ContentCredentials);
            assert_eq!(after, [&bytes[..]]);
            assert_eq!(after[0].as_ptr(), bytes.as_ptr());
        }
    }

    #[test]
    fn what_could_hold_the_prompt_is_dropped() {
        let exif_segment = [b"Exif\0\0", &exif(6)[..]].concat();
        let mut in_png = png(&photo(9, 5));
        for (kind, content) in [
            (b"tEXt", &b"parameters\0secret prompt"[..]),
            (b"zTXt", b"prompt\0\0secret prompt"),
            (b"iTXt", b"workflow\0\0\0\0\0secret prompt"),
            (b"eXIf", &exif(6)),
            (b"prVt", b"secret prompt"),
            (b"caBX", b"\0\0\0\x20jumbsecret prompt"),
            (b"sPLT", b"secret prompt\0\x08"),
        ] {
            in_png = insert_png_chunk(&in_png, kind, content);
        }
        let mut in_jpeg = jpeg(&photo(9, 5));
        for (marker, content) in [
            (0xfe, &b"secret prompt"[..]),
            (0xed, b"Photoshop 3.0\0secret prompt"),
            (0xe1, b"http://ns.adobe.com/xap/1.0/\0<x>secret prompt</x>"),
            (0xe1, &exif_segment),
        ] {
            in_jpeg = insert_jpeg_segment(&in_jpeg, marker, content);
        }
        let in_webp = append_webp_chunk(&webp(&photo(9, 5)), b"EXIF", &exif(6));
        let in_webp = append_webp_chunk(&in_webp, b"XMP ", b"<x>secret prompt</x>");
        let in_webp = append_webp_chunk(&in_webp, b"note", b"secret prompt");
        for bytes in [in_png, in_jpeg, in_webp].map(|bytes| [&bytes[..], b"secret prompt"].concat()) {
            let marked = marked(bytes);
            assert!(!marked.windows(13).any(|part| part == b"secret prompt"));
            // The picture still lies on its side: shown upright it is 5 wide and 9 high.
            let upright = pixels(&icon(&marked, &inspect(&marked).unwrap(), Format::Png).unwrap());
            assert_eq!((upright.width(), upright.height()), (5, 9));
        }
    }

    #[test]
    fn a_webp_without_its_last_padding_byte_is_marked_too() {
        let mut unpadded = append_webp_chunk(&webp(&photo(9, 5)), b"JUNK", b"odd");
        unpadded.pop();
        let riff_bytes = u32::try_from(unpadded.len() - 8).unwrap();
        unpadded[4..8].copy_from_slice(&riff_bytes.to_le_bytes());
        assert!(xmp_of(&marked(unpadded)).is_some());
    }
}
