//! What is refused before anything is spent.

use super::*;
use crate::provider::Unsupported;
use crate::work_package::ImageType;

fn checked(size: &str, model: &str) -> Result<CheckedSpec, Unsupported> {
    provider(&nowhere()).check(&suite::asking(model, size, ""))
}

#[test]
fn sizes_become_ratios_and_resolutions() {
    for (size, model, expected) in [
        ("", "", "16:9"),
        ("auto", "", "auto"),
        ("8:1", "", "8:1"),
        ("16:9@4K", "", "16:9@4K"),
        ("1024x1024", "", "1:1@1K"),
        ("512x512", "gemini-3.1-flash-image", "1:1@512"),
        ("2048x1152", "", "16:9@2K"),
        ("1792x1024", "gemini-3-pro-image", "16:9@2K"),
        ("512x512", "gemini-3-pro-image", "1:1@1K"),
        ("1792x1024", "gemini-3.1-flash-lite-image", "16:9"),
    ] {
        assert_eq!(
            checked(size, model).unwrap().size.as_deref(),
            Some(expected),
            "{size}"
        );
    }
    let icon = ImageSpec {
        image_type: ImageType::Icon,
        ..ImageSpec::default()
    };
    let checked = provider(&nowhere()).check(&icon).unwrap();
    assert_eq!(checked.size.as_deref(), Some("1:1"));
}

#[test]
fn what_the_model_cannot_do_is_refused_with_what_would_be_right() {
    for (size, model, message) in [
        (
            "square",
            "gemini-3-pro-image",
            "Unsupported image size for gemini-3-pro-image: square; use auto, 1:1, 2:3, 3:2, 3:4, 4:3, 4:5, 5:4, 9:16, \
             16:9 or 21:9, each with or without a resolution behind it, such as 1:1@1K, 2K or 4K, or WIDTHxHEIGHT in \
             pixels, which becomes the nearest of these",
        ),
        (
            "8:1",
            "gemini-3-pro-image",
            "Unsupported image size for gemini-3-pro-image: 8:1; use ",
        ),
        (
            "1:1@512",
            "gemini-3-pro-image",
            "Unsupported image size for gemini-3-pro-image: 1:1@512; ",
        ),
        (
            "0x0",
            "",
            "Unsupported image size for gemini-nano-banana-2.1: 0x0; use ",
        ),
        (
            "",
            "gemini-3.1-flash-image-preview",
            "Unsupported image model for gemini: gemini-3.1-flash-image-preview; it was shut down on 2026-06-25; use \
             gemini-nano-banana-2.1 instead",
        ),
    ] {
        let refused = checked(size, model).unwrap_err();
        assert!(refused.message.starts_with(message), "{refused}");
    }
    for (seed, is_fine) in [
        (0, true),
        (2_147_483_647, true),
        (2_147_483_648, false),
        (-1, false),
    ] {
        let asked = ImageSpec {
            seed: Some(seed),
            ..ImageSpec::default()
        };
        assert_eq!(provider(&nowhere()).check(&asked).is_ok(), is_fine, "{seed}");
    }
    let asked = ImageSpec {
        quality: Some("low".into()),
        ..ImageSpec::default()
    };
    let refused = provider(&nowhere()).check(&asked).unwrap_err();
    assert!(
        refused
            .message
            .starts_with("Image quality is not supported for gemini")
    );
}
