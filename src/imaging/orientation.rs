//! EXIF reduced to the one field that pictures need: which way is up.
//!
//! Self-hosted servers write the prompt into EXIF comments, so a block is never passed on as it came.

use image::metadata::Orientation;

const PREFIX: &[u8] = b"Exif\0\0";

/// A new EXIF block (TIFF, without the `Exif` prefix) that says no more than the orientation of the old one;
/// `None` where pixels are already upright.
///
/// Source: Exif 2.32, §4.6.4, tag 0x0112 `Orientation`.
pub(super) fn keep_orientation(exif: &[u8]) -> Option<Vec<u8>> {
    let tiff = exif.strip_prefix(PREFIX).unwrap_or(exif);
    let orientation = Orientation::from_exif_chunk(tiff)?;
    if orientation == Orientation::NoTransforms {
        return None;
    }
    Some(block(orientation))
}

fn block(orientation: Orientation) -> Vec<u8> {
    // Little endian; one directory at offset 8 with one entry: tag, type SHORT, count 1, value.
    let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    tiff.extend_from_slice(&[orientation.to_exif(), 0, 0, 0]);
    tiff.extend_from_slice(&[0; 4]);
    tiff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::samples::exif;

    #[test]
    fn every_orientation_is_kept_and_nothing_else() {
        assert_eq!(keep_orientation(&exif(1)), None);
        assert_eq!(keep_orientation(b"no exif"), None);
        for orientation in 2..=8 {
            let kept = keep_orientation(&exif(orientation)).unwrap();
            assert_eq!(
                Orientation::from_exif_chunk(&kept).unwrap().to_exif(),
                orientation
            );
            assert!(!kept.windows(6).any(|part| part == b"prompt"));
        }
    }
}
