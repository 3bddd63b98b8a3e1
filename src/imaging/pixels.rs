//! The pixels of the PNG that nearly every picture is: eight bits in three or four channels, row by row.
//!
//! In six to nine tenths of the time that the general decoder takes. Only that kind, and only where it is in
//! order: everything else is left to the general decoder, and so is saying what is wrong with a picture.

use image::{DynamicImage, RgbImage, RgbaImage};

use super::inflate::inflate;
use super::png::{self, Plain};
use super::unfilter::unfilter;

/// Decodes a PNG that [`super::inspect`] has found to be whole, or nothing. Takes as much memory as the pixels and
/// the file together.
pub(super) fn plain(bytes: &[u8]) -> Option<DynamicImage> {
    let plain = png::plain(bytes)?;
    let (width, height) = (plain.width_px, plain.height_px);
    Some(if plain.has_alpha {
        RgbaImage::from_raw(width, height, rows::<4, 16>(&plain)?)?.into()
    } else {
        RgbImage::from_raw(width, height, rows::<3, 12>(&plain)?)?.into()
    })
}

fn rows<const N: usize, const M: usize>(plain: &Plain<'_>) -> Option<Vec<u8>> {
    let (row_bytes, height) = (plain.width_px as usize * N, plain.height_px as usize);
    let mut pixels = vec![0; height * (row_bytes + 1)];
    inflate(&plain.stream, &mut pixels)?;
    // Each row moves to where it belongs by as many bytes as there were filters before it.
    let mut filtered = vec![0; row_bytes];
    let nothing = vec![0; row_bytes];
    for y in 0..height {
        let at = y * (row_bytes + 1);
        let filter = pixels[at];
        filtered.copy_from_slice(&pixels[at + 1..][..row_bytes]);
        let (before, rest) = pixels.split_at_mut(y * row_bytes);
        let above = before.rchunks_exact(row_bytes).next().unwrap_or(&nothing);
        unfilter::<N, M>(filter, above, &filtered, &mut rest[..row_bytes])?;
    }
    pixels.truncate(height * row_bytes);
    Some(pixels)
}

#[cfg(test)]
mod tests {
    use image::codecs::png::{CompressionType, FilterType, PngEncoder};
    use proptest::prelude::*;

    use super::super::samples::{insert_png_chunk, photo, png};
    use super::*;

    /// Soft with grain, so that an encoder uses each filter for something.
    fn grainy(width: u32, height: u32, seed: u32) -> DynamicImage {
        let mut state = seed;
        let mut picture = photo(width, height).to_rgba8();
        for value in picture.iter_mut() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = value.wrapping_add((state >> 24) as u8 % 32);
        }
        picture.into()
    }

    fn written(picture: &DynamicImage, compression: CompressionType, filter: FilterType) -> Vec<u8> {
        let mut file = Vec::new();
        let encoder = PngEncoder::new_with_quality(&mut file, compression, filter);
        picture.write_with_encoder(encoder).unwrap();
        file
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_pixels_are_those_of_the_general_decoder(
            (width, height) in (1u32..70, 1u32..20),
            seed in any::<u32>(),
            has_alpha in any::<bool>(),
            compression in prop::sample::select(vec![
                CompressionType::Uncompressed, CompressionType::Fast, CompressionType::Level(6),
            ]),
            filter in prop::sample::select(vec![
                FilterType::NoFilter, FilterType::Sub, FilterType::Up, FilterType::Avg, FilterType::Paeth,
                FilterType::Adaptive,
            ]),
        ) {
            let picture = grainy(width, height, seed);
            let picture = if has_alpha { picture } else { picture.to_rgb8().into() };
            let file = written(&picture, compression, filter);
            prop_assert_eq!(plain(&file).unwrap(), picture);
        }

        #[test]
        fn an_altered_byte_never_makes_it_panic(position in any::<prop::sample::Index>(), value in any::<u8>()) {
            for compression in [CompressionType::Fast, CompressionType::Level(6)] {
                let mut file = written(&grainy(20, 13, 1), compression, FilterType::Adaptive);
                let at = position.index(file.len());
                file[at] = value;
                let _ = plain(&file);
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_general_decoder() {
        let file = png(&photo(9, 5));
        assert!(plain(&file).is_some());
        assert!(plain(&png(&photo(9, 5).to_luma8().into())).is_none());
        assert!(plain(&png(&photo(9, 5).to_rgb16().into())).is_none());
        for (kind, content) in [(b"tRNS", &[0; 6][..]), (b"acTL", &[0; 8])] {
            assert!(plain(&insert_png_chunk(&file, kind, content)).is_none());
        }
        let mut interlaced = file;
        interlaced[28] = 1;
        assert!(plain(&interlaced).is_none());
    }
}
