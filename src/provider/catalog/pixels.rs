//! Sizes for services that draw any `WIDTHxHEIGHT` within bounds: those that people run themselves.

use super::refusal::{refused, repeated};
use crate::provider::Unsupported;
use crate::work_package::ImageType;

/// Shapes and the pixels that models of about a megapixel draw best.
/// Source: Stability AI, "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis", appendix I.
const SHAPES: [(&str, &str); 7] = [
    ("1:1", "1024x1024"),
    ("16:9", "1344x768"),
    ("9:16", "768x1344"),
    ("4:3", "1152x896"),
    ("3:4", "896x1152"),
    ("3:2", "1216x832"),
    ("2:3", "832x1216"),
];
const SMALLEST_SIDE_PX: u32 = 64;
const LARGEST_SIDE_PX: u32 = 2048;

/// What is drawn where nothing is asked for: a square for icons, otherwise 16:9.
pub(in crate::provider) fn default_size(image_type: ImageType) -> String {
    let shape = match image_type {
        ImageType::Icon => "1:1",
        ImageType::Collection => "16:9",
    };
    pixels_of(shape).unwrap_or("1024x1024").to_owned()
}

/// The size as `WIDTHxHEIGHT`. `auto` and absent mean [`default_size`].
///
/// # Errors
/// Says what was found and what would be right; `model` is what the sentence is about.
pub(in crate::provider) fn check_size(
    size: Option<&str>,
    image_type: ImageType,
    multiple_of: u32,
    model: &str,
) -> Result<String, Unsupported> {
    let size = match size {
        None | Some("" | "auto") => return Ok(default_size(image_type)),
        Some(size) => size,
    };
    if let Some(pixels) = pixels_of(size) {
        return Ok(pixels.to_owned());
    }
    let fits =
        |side: u32| (SMALLEST_SIDE_PX..=LARGEST_SIDE_PX).contains(&side) && side.is_multiple_of(multiple_of);
    match sides(size) {
        Some((width, height)) if fits(width) && fits(height) => Ok(format!("{width}x{height}")),
        _ => {
            let shapes: Vec<&str> = SHAPES.iter().map(|(shape, _)| *shape).collect();
            Err(refused(format!(
                "Unsupported image size for {model}: {}; use auto, {} or WIDTHxHEIGHT with both edges multiples of \
                 {multiple_of} from {SMALLEST_SIDE_PX} to {LARGEST_SIDE_PX}",
                repeated(size),
                shapes.join(", ")
            )))
        }
    }
}

fn pixels_of(shape: &str) -> Option<&'static str> {
    let found = SHAPES.iter().find(|(known, _)| *known == shape);
    found.map(|(_, pixels)| *pixels)
}

/// `WIDTHxHEIGHT` in decimal digits and a small x, nothing else.
pub(in crate::provider) fn sides(size: &str) -> Option<(u32, u32)> {
    let (width, height) = size.split_once('x')?;
    // `parse` alone would take a plus sign.
    let side = |digits: &str| {
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_number)
    };
    Some((side(width)?, side(height)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::ErrorClass;

    #[test]
    fn shapes_and_pixels_become_pixels() {
        let check = |size| check_size(size, ImageType::Collection, 8, "m").ok();
        for (size, pixels) in [
            (None, "1344x768"),
            (Some("auto"), "1344x768"),
            (Some(""), "1344x768"),
            (Some("1:1"), "1024x1024"),
            (Some("512x512"), "512x512"),
            (Some("0512x64"), "512x64"),
            (Some("2048x2048"), "2048x2048"),
        ] {
            assert_eq!(check(size).as_deref(), Some(pixels), "{size:?}");
        }
        assert_eq!(check_size(None, ImageType::Icon, 8, "m").unwrap(), "1024x1024");
    }

    #[test]
    fn other_sizes_are_refused_with_what_would_be_right() {
        for size in [
            "513x512",
            "56x64",
            "2056x64",
            "512X512",
            "+512x512",
            "512",
            "21:9",
            "x",
            "99999999999x8",
        ] {
            let refused = check_size(Some(size), ImageType::Icon, 8, "m").unwrap_err();
            assert_eq!(
                (refused.class, refused.message),
                (
                    ErrorClass::InvalidRequest,
                    format!(
                        "Unsupported image size for m: {size}; use auto, 1:1, 16:9, 9:16, 4:3, 3:4, 3:2, 2:3 or WIDTHxHEIGHT \
                         with both edges multiples of 8 from 64 to 2048"
                    )
                )
            );
        }
        let refused = check_size(Some(&"é\n".repeat(9000)), ImageType::Icon, 8, "m").unwrap_err();
        assert!(refused.message.len() < 500 && !refused.message.contains('\n'));
    }
}
