//! Marks pictures as machine-made, without touching a pixel.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use img_parts::jpeg::{Jpeg, JpegSegment, markers};
use img_parts::png::{Png, PngChunk};
use img_parts::riff::{RiffChunk, RiffContent};
use img_parts::webp::WebP;

use super::{BadPicture, Format, Inspected, orientation, xmp};

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

/// Makes sure that a picture says that it is machine-made, and by whom.
///
/// Bytes with a C2PA manifest come back untouched and uncopied: anything written into them would turn the
/// manifest from valid to tampered. All others get an XMP packet in place of any they had, and lose what
/// could hold the prompt (PNG text, JPEG comments and captions, EXIF but for the orientation). Pixels and
/// colour profiles stay as they are.
///
/// # Errors
/// [`BadPicture::Corrupt`] (retried) where the parts of the file cannot be told apart.
pub fn mark(
    bytes: Bytes,
    inspected: &Inspected,
    provenance: &Provenance<'_>,
) -> Result<(Bytes, Mark), BadPicture> {
    if inspected.has_content_credentials {
        return Ok((bytes, Mark::ContentCredentials));
    }
    let packet = xmp::packet(provenance);
    let marked = match inspected.format {
        Format::Png => mark_png(bytes, &packet),
        Format::Jpeg => mark_jpeg(bytes, &packet),
        Format::WebP => mark_webp(bytes, &packet),
    };
    let marked = marked.map_err(|error| BadPicture::Corrupt {
        format: inspected.format,
        details: format!("its parts cannot be told apart ({error})"),
    })?;
    Ok((marked, Mark::Xmp))
}

/// Source: XMP Specification part 3, §1.1.5 "PNG": an uncompressed iTXt chunk with this keyword.
fn mark_png(bytes: Bytes, packet: &str) -> img_parts::Result<Bytes> {
    const KEYWORD: &[u8] = b"XML:com.adobe.xmp\0";
    // Compression flag and method, then an empty language and an empty translated keyword.
    const UNCOMPRESSED: &[u8] = b"\0\0\0\0";

    let mut png = Png::from_bytes(bytes)?;
    let chunks = png.chunks_mut();
    let orientation = chunks
        .iter()
        .find(|chunk| chunk.kind() == *b"eXIf")
        .and_then(|chunk| orientation::keep_orientation(chunk.contents()));
    chunks.retain(|chunk| !matches!(&chunk.kind(), b"tEXt" | b"zTXt" | b"iTXt" | b"eXIf"));
    let after_header = 1;
    if let Some(exif) = orientation {
        chunks.insert(after_header, PngChunk::new(*b"eXIf", exif.into()));
    }
    let text = [KEYWORD, UNCOMPRESSED, packet.as_bytes()].concat();
    chunks.insert(after_header, PngChunk::new(*b"iTXt", text.into()));
    Ok(png.encoder().bytes())
}

/// Source: XMP Specification part 3, §1.1.3 "JPEG": an APP1 segment with this namespace.
fn mark_jpeg(bytes: Bytes, packet: &str) -> img_parts::Result<Bytes> {
    const NAMESPACE: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
    const EXIF: &[u8] = b"Exif\0\0";

    let mut jpeg = Jpeg::from_bytes(bytes)?;
    let segments = jpeg.segments_mut();
    let orientation = segments
        .iter()
        .find(|segment| segment.marker() == markers::APP1 && segment.contents().starts_with(EXIF))
        .and_then(|segment| orientation::keep_orientation(segment.contents()));
    segments.retain(|segment| match segment.marker() {
        // JFIF density, colour profile, and the colour transform without which CMYK is read wrongly.
        markers::APP0 | markers::APP14 => true,
        markers::APP2 => segment.contents().starts_with(b"ICC_PROFILE\0"),
        markers::APP1..=markers::APP15 | markers::COM => false,
        _ => true,
    });
    let after_jfif = segments
        .iter()
        .take_while(|segment| segment.marker() == markers::APP0)
        .count();
    let packet = [NAMESPACE, packet.as_bytes()].concat();
    segments.insert(
        after_jfif,
        JpegSegment::new_with_contents(markers::APP1, packet.into()),
    );
    if let Some(exif) = orientation {
        // Exif asks for its segment to be the first.
        let exif = [EXIF, &exif].concat();
        segments.insert(
            after_jfif,
            JpegSegment::new_with_contents(markers::APP1, exif.into()),
        );
    }
    Ok(jpeg.encoder().bytes())
}

/// Source: RFC 9649, §2.7 "Extended File Format": a `VP8X` chunk announces what follows; `EXIF` and `XMP ` are last.
fn mark_webp(bytes: Bytes, packet: &str) -> img_parts::Result<Bytes> {
    const EXIF_FLAG: u8 = 0x08;
    const XMP_FLAG: u8 = 0x04;

    let mut webp = WebP::from_bytes(padded(bytes))?;
    let header = extended_header(&webp)?;
    let chunks = webp.chunks_mut();
    let orientation = chunks
        .iter()
        .find(|chunk| chunk.id() == *b"EXIF")
        .and_then(|chunk| orientation::keep_orientation(chunk.content().data()?));
    chunks.retain(|chunk| !matches!(&chunk.id(), b"VP8X" | b"EXIF" | b"XMP "));

    let mut header = header;
    header[0] = header[0] & !EXIF_FLAG | XMP_FLAG;
    if let Some(exif) = orientation {
        header[0] |= EXIF_FLAG;
        chunks.push(RiffChunk::new(*b"EXIF", RiffContent::Data(exif.into())));
    }
    let packet = Bytes::copy_from_slice(packet.as_bytes());
    chunks.push(RiffChunk::new(*b"XMP ", RiffContent::Data(packet)));
    chunks.insert(
        0,
        RiffChunk::new(*b"VP8X", RiffContent::Data(Bytes::copy_from_slice(&header))),
    );
    Ok(webp.encoder().bytes())
}

/// The picture's own `VP8X` content, or a new one from its bitstream's header.
fn extended_header(webp: &WebP) -> img_parts::Result<[u8; 10]> {
    const ALPHA_FLAG: u8 = 0x10;

    if let Some(own) = webp
        .chunk_by_id(*b"VP8X")
        .and_then(|chunk| chunk.content().data())
    {
        return own
            .get(..10)
            .and_then(|own| own.try_into().ok())
            .ok_or(img_parts::Error::Truncated);
    }
    let (width, height) = webp.dimensions().ok_or(img_parts::Error::Truncated)?;
    // Only the lossless bitstream has transparency of its own: bit 28 of its header, "alpha_is_used".
    let has_alpha = webp
        .chunk_by_id(*b"VP8L")
        .and_then(|chunk| chunk.content().data()?.get(4))
        .is_some_and(|byte| byte & 0x10 != 0);
    let mut header = [0; 10];
    header[0] = if has_alpha { ALPHA_FLAG } else { 0 };
    header[4..7].copy_from_slice(&(width - 1).to_le_bytes()[..3]);
    header[7..10].copy_from_slice(&(height - 1).to_le_bytes()[..3]);
    Ok(header)
}

/// Adds the padding byte that some encoders leave out after a last chunk of odd length.
pub(super) fn padded(bytes: Bytes) -> Bytes {
    let Some(riff_bytes) = bytes
        .get(4..8)
        .and_then(|four| four.try_into().ok())
        .map(u32::from_le_bytes)
    else {
        return bytes;
    };
    if riff_bytes % 2 == 0 {
        return bytes;
    }
    let end = bytes.len().min(riff_bytes as usize + 8);
    let mut even = bytes[..end].to_vec();
    even.push(0);
    even[4..8].copy_from_slice(&(riff_bytes + 1).to_le_bytes());
    even.into()
}

#[cfg(test)]
mod tests {
    use image::DynamicImage;

    use super::super::samples::*;
    use super::super::{icon, inspect};
    use super::*;

    fn marked(bytes: Vec<u8>) -> Bytes {
        let inspected = inspect(&bytes).unwrap();
        let (marked, mark) = mark(bytes.into(), &inspected, &provenance()).unwrap();
        assert_eq!(mark, Mark::Xmp);
        let after = inspect(&marked).unwrap();
        assert_eq!(after, inspected, "the mark changes nothing else");
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
            insert_png_chunk(&png(&photo(9, 9)), b"caBX", b"manifest"),
            insert_jpeg_segment(&jpeg(&photo(9, 9)), 0xeb, C2PA_JUMBF),
            append_webp_chunk(&webp(&photo(9, 9)), b"C2PA", b"manifest"),
        ];
        for bytes in signed.map(Bytes::from) {
            let inspected = inspect(&bytes).unwrap();
            let (after, mark) = mark(bytes.clone(), &inspected, &provenance()).unwrap();
            assert_eq!(mark, Mark::ContentCredentials);
            assert_eq!(after, bytes);
            assert_eq!(after.as_ptr(), bytes.as_ptr());
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
        for bytes in [in_png, in_jpeg, in_webp] {
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
