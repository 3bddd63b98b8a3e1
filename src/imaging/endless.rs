//! A JPEG that lacks nothing but its end marker: it was paid for, and all of its pixels are there.

use image::DynamicImage;

use super::jpeg::{self, END, cut_off};
use super::{BadPicture, Format, Inspected, check_memory, decoder, inspect, inspected};

/// What may follow where a scan breaks off, instead of what is missing.
const TAILS: [&[u8]; 3] = [&[], &[0; 512], &[0x55; 512]];

/// Looks at bytes that [`inspect`] has called cut off, and accepts a JPEG of which no pixel depends on what is missing.
///
/// Decodes it, which takes the memory that [`MAX_DECODED_BYTES`](super::MAX_DECODED_BYTES) says and more time than
/// anything else here.
///
/// # Errors
/// As [`inspect`], and where decoding takes more memory than may be used.
pub fn inspect_without_end(bytes: &[u8]) -> Result<Inspected, BadPicture> {
    let cut = match inspect(bytes) {
        Err(
            cut @ BadPicture::CutOff {
                format: Format::Jpeg, ..
            },
        ) => cut,
        other => return other,
    };
    let mut layout = jpeg::walk(bytes)?;
    if !layout.outline.lacks_end {
        return Err(cut);
    }
    check_memory(layout.outline.decoded_bytes)?;
    layout.parts.pop();
    let at = layout.parts.len();
    let mut checksums = Vec::new();
    for tail in TAILS {
        layout.parts.truncate(at);
        layout.parts.push([tail, END].concat().into());
        let pixels = decoder(Format::Jpeg, layout.reader())
            .and_then(DynamicImage::from_decoder)
            .map_err(|_| cut_off(bytes))?;
        checksums.push(crc32fast::hash(pixels.as_bytes()));
    }
    match checksums.iter().all(|checksum| *checksum == checksums[0]) {
        true => Ok(inspected(Format::Jpeg, layout.outline)),
        false => Err(cut),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{jpeg, photo, png, provenance};
    use super::super::{icon, mark};
    use super::*;

    /// Made by libjpeg, which ends its scans in another way than the encoder here.
    const FILES: [&[u8]; 5] = [
        include_bytes!("../../tests/corpus/jpeg/progressive.jpg"),
        include_bytes!("../../tests/corpus/jpeg/grey.jpg"),
        include_bytes!("../../tests/corpus/jpeg/restarts.jpg"),
        include_bytes!("../../tests/corpus/jpeg/halved.jpg"),
        include_bytes!("../../tests/corpus/jpeg/cmyk.jpg"),
    ];

    #[test]
    fn a_jpeg_that_lacks_only_its_end_is_whole_and_one_that_lacks_pixels_is_not() {
        let own = jpeg(&photo(64, 48));
        for file in FILES.into_iter().chain([&own[..]]) {
            let whole = inspect(file).unwrap();
            for missing in [1, 2] {
                let cut = &file[..file.len() - missing];
                assert!(matches!(inspect(cut), Err(BadPicture::CutOff { .. })));
                assert_eq!(inspect_without_end(cut), Ok(whole), "{missing}");
                let made = icon(cut, &whole, Format::Png).unwrap();
                assert_eq!(made, icon(file, &whole, Format::Png).unwrap());
                let cut = bytes::Bytes::copy_from_slice(cut);
                let (parts, _) = mark(&cut, &whole, &provenance()).unwrap();
                let marked = parts.concat();
                assert_eq!(inspect(&marked), Ok(whole));
                assert_eq!(
                    image::load_from_memory(&marked).unwrap(),
                    image::load_from_memory(file).unwrap()
                );
            }
            let scan = file.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
            // The last bytes may be of no pixel's.
            for end in (scan + 2..file.len() - 6).step_by(7) {
                let cut = inspect_without_end(&file[..end]);
                assert!(cut.is_err(), "{end} of {} bytes", file.len());
            }
        }
        let png = png(&photo(64, 48));
        assert!(inspect_without_end(&png[..png.len() - 5]).is_err());
    }
}
