//! From a whole picture to the small one that clients show as an icon.

use fast_image_resize::{FilterType, MulDiv, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageEncoder, Rgb, RgbImage, RgbaImage};

use super::{BadPicture, Format, Inspected, check_memory, decoder, pixels, walk};

/// The longest side of an icon, in pixels.
pub const ICON_SIDE_PX: u32 = 400;

/// The most bytes that an icon can have: every pixel of it in four channels, which nothing made smaller, and a colour profile.
pub const MOST_ICON_BYTES: usize = 704 * 1024;

const JPEG_QUALITY: u8 = 90;

/// Up to so many decoded bytes, a picture may be decoded in the faster way, which takes a copy of the file.
const LARGE_BYTES: u64 = 32 * 1024 * 1024;

/// Fits a picture inside 400 × 400 px, in `format`: upright, with its transparency, without its metadata.
///
/// Scaled down by its longer side, never enlarged, cropped or padded; a picture that is small enough keeps its size
/// and is encoded anew. A colour profile other than sRGB's goes along, since the pixels mean something else without
/// it. Takes as much memory as [`Inspected::decoded_bytes`] says, and a copy of the file: callers see to it that
/// there is as much.
///
/// # Errors
/// [`BadPicture::Corrupt`] where the pixels cannot be decoded and [`BadPicture::TooMuchMemory`] where that
/// would take more than 168 MiB; both retried.
pub fn icon(bytes: &[u8], inspected: &Inspected, format: Format) -> Result<Vec<u8>, BadPicture> {
    shrink(bytes, inspected, format, ICON_SIDE_PX)
}

/// The same as a JPEG of at most `side_px`, see-through parts white, to be looked at in a list.
///
/// # Errors
/// As [`icon`].
pub fn thumbnail(bytes: &[u8], inspected: &Inspected, side_px: u32) -> Result<Vec<u8>, BadPicture> {
    shrink(bytes, inspected, Format::Jpeg, side_px)
}

fn shrink(bytes: &[u8], inspected: &Inspected, format: Format, side_px: u32) -> Result<Vec<u8>, BadPicture> {
    let corrupt = |error: &dyn std::fmt::Display| BadPicture::Corrupt {
        format: inspected.format,
        details: error.to_string(),
    };
    check_memory(inspected.decoded_bytes)?;
    let layout = walk(inspected.format, bytes)?;
    let mut decoder = decoder(inspected.format, layout.reader()).map_err(|error| corrupt(&error))?;
    let needed = inspected.decoded_bytes.max(decoder.total_bytes());
    check_memory(needed)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let profile = decoder.icc_profile().ok().flatten();
    // Besides the pixels this takes at most a copy of the file, and only where both are not large.
    let is_plain = inspected.format == Format::Png && needed + bytes.len() as u64 <= LARGE_BYTES;
    let picture = match is_plain.then(|| pixels::plain(bytes)).flatten() {
        Some(picture) => picture,
        None => DynamicImage::from_decoder(decoder).map_err(|error| corrupt(&error))?,
    };

    let mut small = fit(picture, side_px).map_err(|error| corrupt(&error))?;
    // Last, because turning a small picture is cheap and the fit is square.
    small.apply_orientation(orientation);
    encode(small, profile, format).map_err(|error| corrupt(&error))
}

fn fit(mut picture: DynamicImage, side_px: u32) -> Result<DynamicImage, Box<dyn std::error::Error>> {
    let (width, height) = fitted_size(picture.width(), picture.height(), side_px);
    if (width, height) == (picture.width(), picture.height()) {
        return Ok(picture);
    }
    let mut small = DynamicImage::new(width, height, picture.color());
    let has_alpha = picture.color().has_alpha();
    let premultiply = MulDiv::new();
    if has_alpha {
        // In place: leaving it to the resizer would take a second copy of the whole picture.
        premultiply.multiply_alpha_inplace(&mut picture)?;
    }
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .use_alpha(false);
    Resizer::new().resize(&picture, &mut small, &options)?;
    drop(picture);
    if has_alpha {
        premultiply.divide_alpha_inplace(&mut small)?;
    }
    Ok(small)
}

/// The largest size inside a square with the same aspect ratio, at least one pixel each way.
fn fitted_size(width: u32, height: u32, side_px: u32) -> (u32, u32) {
    let longer = width.max(height);
    if longer <= side_px {
        return (width, height);
    }
    let scaled = |side: u32| ((side * side_px + longer / 2) / longer).max(1);
    (scaled(width), scaled(height))
}

fn encode(picture: DynamicImage, profile: Option<Vec<u8>>, format: Format) -> image::ImageResult<Vec<u8>> {
    let see_through = picture
        .color()
        .has_alpha()
        .then(|| picture.to_rgba8())
        .filter(|rgba| rgba.pixels().any(|pixel| pixel.0[3] != u8::MAX));
    let small = match see_through {
        Some(rgba) if format == Format::Jpeg => DynamicImage::ImageRgb8(on_white(&rgba)),
        Some(rgba) => DynamicImage::ImageRgba8(rgba),
        None => DynamicImage::ImageRgb8(picture.into_rgb8()),
    };
    // Grey and CMYK pixels are RGB by now, so that their profiles no longer apply.
    let fitting = |profile: &Vec<u8>| profile.get(16..20) == Some(b"RGB ");
    let profile = profile.filter(fitting);
    let mut file = Vec::new();
    match format {
        Format::Png => write(
            PngEncoder::new_with_quality(&mut file, CompressionType::Fast, PngFilter::Paeth),
            &small,
            profile,
        ),
        Format::Jpeg => write(
            JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY),
            &small,
            profile,
        ),
        Format::WebP => write(WebPEncoder::new_lossless(&mut file), &small, profile),
    }?;
    Ok(file)
}

fn write(
    mut encoder: impl ImageEncoder,
    picture: &DynamicImage,
    profile: Option<Vec<u8>>,
) -> image::ImageResult<()> {
    if let Some(profile) = profile {
        encoder
            .set_icc_profile(profile)
            .map_err(image::ImageError::Unsupported)?;
    }
    picture.write_with_encoder(encoder)
}

/// JPEG has no transparency, and what is behind it would come out black.
fn on_white(picture: &RgbaImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    RgbImage::from_fn(width, height, |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0.map(u16::from);
        let over = |channel: u16| ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        Rgb([over(red), over(green), over(blue)])
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{GenericImageView, ImageBuffer, Luma, Rgba, RgbaImage};
    use proptest::prelude::*;

    use super::super::samples::*;
    use super::super::{MAX_PIXELS, inspect};
    use super::*;

    fn icon_of(bytes: &[u8]) -> DynamicImage {
        let made = icon(bytes, &inspect(bytes).unwrap(), Format::Png).unwrap();
        assert_eq!(inspect(&made).unwrap().format, Format::Png);
        image::load_from_memory(&made).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn an_icon_keeps_the_aspect_ratio_inside_the_square((width, height) in (1u32..1200, 1u32..1200)) {
            let small = icon_of(&jpeg(&photo(width, height)));
            let longer = f64::from(width.max(height));
            let scale = (f64::from(ICON_SIDE_PX) / longer).min(1.0);
            for (is, was) in [(small.width(), width), (small.height(), height)] {
                let exact = (f64::from(was) * scale).max(1.0);
                prop_assert!((f64::from(is) - exact).abs() <= 0.5, "{width}×{height} became {small:?}");
                prop_assert!(is <= ICON_SIDE_PX);
            }
        }
    }

    #[test]
    fn a_small_picture_is_not_enlarged_and_loses_its_metadata() {
        let with_text = insert_png_chunk(&png(&photo(30, 20)), b"tEXt", b"parameters\0secret prompt");
        let made = icon(&with_text, &inspect(&with_text).unwrap(), Format::Png).unwrap();
        assert!(!made.windows(13).any(|part| part == b"secret prompt"));
        assert_eq!(image::load_from_memory(&made).unwrap(), photo(30, 20));
    }

    #[test]
    fn an_icon_comes_in_the_format_that_is_asked_for() {
        let half = RgbaImage::from_fn(500, 500, |x, _| Rgba([200, 0, 0, if x < 250 { 0 } else { 255 }]));
        let half = DynamicImage::ImageRgba8(half);
        for source in [png(&half), webp(&half)] {
            for format in [Format::Png, Format::WebP, Format::Jpeg] {
                let made = icon(&source, &inspect(&source).unwrap(), format).unwrap();
                assert_eq!(inspect(&made).unwrap().format, format);
                let made = image::load_from_memory(&made).unwrap();
                assert_eq!((made.width(), made.height()), (400, 400));
                assert_eq!(made.color().has_alpha(), format != Format::Jpeg);
                let [red, green, _, alpha] = made.get_pixel(20, 20).0;
                match format {
                    Format::Jpeg => assert!(red > 250 && green > 250, "what is behind is white"),
                    _ => assert_eq!(alpha, 0, "{format:?}"),
                }
                assert!(made.get_pixel(380, 20).0[1] < 10, "{format:?}");
            }
        }
    }

    #[test]
    fn no_icon_has_more_bytes_than_are_set_aside_for_one() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let noise = RgbaImage::from_fn(ICON_SIDE_PX, ICON_SIDE_PX, |_, _| {
            Rgba([random(), random(), random(), random()])
        });
        let mut profile = vec![7; 16 * 1024];
        profile[16..20].copy_from_slice(b"RGB ");
        for format in [Format::Png, Format::WebP, Format::Jpeg] {
            let made = encode(noise.clone().into(), Some(profile.clone()), format).unwrap();
            assert!(made.len() <= MOST_ICON_BYTES, "{format:?}: {}", made.len());
            assert!(made.len() > MOST_ICON_BYTES / 4, "{format:?}: no noise");
        }
    }

    #[test]
    fn transparency_is_kept_without_dark_or_coloured_fringes() {
        // Opaque white beside transparent green: mixed wrongly, the border turns green or grey.
        let picture = RgbaImage::from_fn(1000, 500, |x, _| {
            if x < 503 {
                Rgba([255, 255, 255, 255])
            } else {
                Rgba([0, 200, 0, 0])
            }
        });
        let small = icon_of(&png(&picture.into())).into_rgba8();
        assert_eq!(small.dimensions(), (400, 200));
        assert_eq!(
            (small.get_pixel(10, 10).0[3], small.get_pixel(390, 10).0[3]),
            (255, 0)
        );
        for pixel in small.pixels().filter(|pixel| pixel.0[3] > 8) {
            assert!(pixel.0[..3].iter().all(|&part| part > 235), "{pixel:?}");
        }
    }

    #[test]
    fn an_opaque_alpha_channel_is_left_out() {
        let small = icon_of(&png(&photo(900, 300).to_rgba8().into()));
        assert_eq!(small.color(), image::ColorType::Rgb8);
    }

    #[test]
    fn grey_and_sixteen_bit_pictures_become_eight_bit_colour() {
        let grey = ImageBuffer::from_pixel(800, 10, Luma([0x8080_u16]));
        let small = icon_of(&png(&DynamicImage::ImageLuma16(grey)));
        assert_eq!(
            (small.width(), small.height(), small.color()),
            (400, 5, image::ColorType::Rgb8)
        );
        assert_eq!(small.get_pixel(200, 2).0[..3], [128, 128, 128]);
    }

    #[test]
    fn every_exif_orientation_is_applied() {
        // Where the stored picture's top left corner (dark in red and green) is shown: left or right, top or bottom.
        let shown = [
            (1, false, false, false),
            (2, true, false, false),
            (3, true, true, false),
            (4, false, true, false),
            (5, false, false, true),
            (6, true, false, true),
            (7, true, true, true),
            (8, false, true, true),
        ];
        for (orientation, right, bottom, on_its_side) in shown {
            let segment = [b"Exif\0\0", &exif(orientation)[..]].concat();
            let in_jpeg = insert_jpeg_segment(&jpeg(&photo(800, 400)), 0xe1, &segment);
            let in_png = insert_png_chunk(&png(&photo(800, 400)), b"eXIf", &exif(orientation));
            for bytes in [in_jpeg, in_png] {
                let small = icon_of(&bytes);
                let (width, height) = if on_its_side { (200, 400) } else { (400, 200) };
                assert_eq!(
                    (small.width(), small.height()),
                    (width, height),
                    "orientation {orientation}"
                );
                let corner = small.get_pixel(
                    if right { width - 3 } else { 2 },
                    if bottom { height - 3 } else { 2 },
                );
                assert!(
                    corner.0[0] < 40 && corner.0[1] < 40,
                    "orientation {orientation}: {corner:?}"
                );
            }
        }
    }

    #[test]
    fn a_colour_profile_goes_along_where_it_fits_the_pixels() {
        for (space, kept) in [(b"RGB ", true), (b"GRAY", false)] {
            let mut profile = vec![0; 200];
            profile[16..20].copy_from_slice(space);
            let mut file = Vec::new();
            let mut encoder = PngEncoder::new(&mut file);
            encoder.set_icc_profile(profile.clone()).unwrap();
            photo(500, 500).write_with_encoder(encoder).unwrap();
            let made = icon(&file, &inspect(&file).unwrap(), Format::Png).unwrap();
            let mut decoder = image::codecs::png::PngDecoder::new(Cursor::new(&made)).unwrap();
            assert_eq!(decoder.icc_profile().unwrap(), kept.then_some(profile));
        }
    }

    #[test]
    fn pixels_that_do_not_decode_are_refused() {
        let bomb_within_limits = {
            // A header for 40 megapixels with sixteen bits in four channels, and pixels that are not there.
            let mut bytes = png_header(8000, 5000);
            bytes[24..26].copy_from_slice(&[16, 6]);
            let checksum = crc32fast::hash(&bytes[12..29]).to_be_bytes();
            bytes[29..33].copy_from_slice(&checksum);
            bytes.extend_from_slice(&png(&photo(1, 1))[33..]);
            bytes
        };
        let inspected = inspect(&bomb_within_limits).unwrap();
        let refused = icon(&bomb_within_limits, &inspected, Format::Png).unwrap_err();
        assert!(
            matches!(refused, BadPicture::TooMuchMemory { needed } if needed > MAX_PIXELS * 4),
            "{refused:?}"
        );

        let plain = png(&photo(9, 9));
        for header in [&png_header(9, 9)[..], &plain[..33]] {
            let short_stream = [header, &png(&photo(1, 1))[33..]].concat();
            let refused = icon(&short_stream, &inspect(&short_stream).unwrap(), Format::Png).unwrap_err();
            assert!(matches!(refused, BadPicture::Corrupt { .. }), "{refused:?}");
        }
    }
}
