//! Limits that are looked at outside the table's own check: resolutions beside a ratio, seeds, lengths of prompts.

use super::Model;
use super::refusal::refused;
use crate::provider::{CheckedSpec, Unsupported};
use crate::work_package::Prompt;

/// How far the pixels asked for may exceed a resolution's, as those of `1K` itself do in some ratios.
const SLACK: f64 = 1.1;

/// Takes `16:9@2K` apart; a size without `@` has no resolution.
#[must_use]
pub fn split_resolution(size: &str) -> (&str, Option<&str>) {
    match size.split_once('@') {
        Some((ratio, resolution)) => (ratio, Some(resolution)),
        None => (size, None),
    }
}

/// The smallest of these resolutions (`512`, `1K`, `2K`, …: the edge of a square) with as many pixels as asked
/// for, or the largest there is.
pub(super) fn resolution_for(resolutions: &[String], width_px: u32, height_px: u32) -> Option<&String> {
    let wanted = f64::from(width_px) * f64::from(height_px);
    let pixels = |resolution: &str| edge_of(resolution).map(|edge| edge * edge);
    resolutions
        .iter()
        .find(|resolution| pixels(resolution).is_some_and(|pixels| wanted <= pixels * SLACK))
        .or(resolutions.last())
}

/// The edge of a square at a resolution, in pixels: `512`, `1K`, `1.5k`; `768sq`.
fn edge_of(resolution: &str) -> Option<f64> {
    match resolution.strip_suffix(['K', 'k']) {
        Some(thousands) => Some(1024.0 * thousands.parse::<f64>().ok()?),
        None => resolution.trim_end_matches("sq").parse().ok(),
    }
}

/// Width and height for a shape such as `16:9@2K`, in multiples of `multiple`: about as many pixels as a square of that
/// resolution has, or of `otherwise` where the shape has none.
pub(in crate::provider) fn pixels_of(size: &str, otherwise: &str, multiple: u32) -> Option<(u32, u32)> {
    let (ratio, resolution) = split_resolution(size);
    let (width, height) = ratio.split_once(':')?;
    let ratio = width.parse::<f64>().ok()? / height.parse::<f64>().ok()?;
    let edge = edge_of(resolution.unwrap_or(otherwise))?;
    let multiple = f64::from(multiple);
    // Within 0 and 65536 for every shape and resolution of the table.
    let rounded = |side: f64| ((side / multiple).round() * multiple) as u32;
    Some((rounded(edge * ratio.sqrt()), rounded(edge / ratio.sqrt())))
}

/// Refuses a seed that the service would refuse.
///
/// # Errors
/// `InvalidRequest`, with the range that is right.
pub fn check_seed(checked: &CheckedSpec, most: i64) -> Result<(), Unsupported> {
    match checked.seed {
        Some(seed) if !(0..=most).contains(&seed) => Err(refused(format!(
            "Unsupported seed for {}: {seed}; use a number from 0 to {most}",
            checked.model
        ))),
        _ => Ok(()),
    }
}

/// Refuses a prompt that is longer than the model takes.
///
/// # Errors
/// For the operator: what is too long, and by how much.
pub fn check_prompt(model: Option<&Model>, prompt: &Prompt) -> Result<(), String> {
    let length = prompt.expose().chars().count();
    match model {
        Some(model) if length > model.prompt_max_chars => Err(format!(
            "not sent: the prompt has {length} characters, {} takes at most {}",
            model.id, model.prompt_max_chars
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_resolution_with_enough_pixels_is_chosen() {
        let resolutions = ["512", "1K", "2K", "4K"].map(str::to_owned);
        for (width, height, expected) in [
            (512, 512, "512"),
            (640, 640, "1K"),
            (1024, 1024, "1K"),
            (1408, 768, "1K"),
            (1920, 1080, "2K"),
            (2816, 1536, "2K"),
            (3840, 2160, "4K"),
            (9999, 9999, "4K"),
        ] {
            let found = resolution_for(&resolutions, width, height).unwrap();
            assert_eq!(found, expected, "{width}x{height}");
        }
        assert_eq!(resolution_for(&[], 512, 512), None);
    }

    #[test]
    fn a_shape_becomes_about_as_many_pixels_as_its_resolution_has() {
        for (size, pixels) in [
            ("1:1", (1024, 1024)),
            ("16:9", (1360, 768)),
            ("9:16@1K", (768, 1360)),
            ("4:3", (1184, 880)),
            ("16:9@2K", (2736, 1536)),
            ("1:1@4K", (4096, 4096)),
        ] {
            assert_eq!(pixels_of(size, "1K", 16), Some(pixels), "{size}");
        }
        for size in ["auto", "1024x1024", "a:b", "1:1@x"] {
            assert_eq!(pixels_of(size, "1K", 16), None, "{size}");
        }
    }
}
