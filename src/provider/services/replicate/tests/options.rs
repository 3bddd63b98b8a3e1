//! What is refused before anything is spent, and what would be right.

use super::*;
use crate::provider::suite::asking;
use crate::work_package::ImageType;

fn configured(token: Option<&str>, model: Option<&str>) -> Replicate {
    let downloads = Downloads::new(false).unwrap();
    provider_with(&suite::nowhere(), token.unwrap_or_default(), model, &downloads)
}

fn size_of(model: &str, size: &str) -> Result<String, String> {
    let checked = configured(Some(KEY), Some(model)).check(&asking("", size, ""));
    checked
        .map(|checked| checked.size.unwrap())
        .map_err(|unsupported| {
            assert_eq!(unsupported.class, ErrorClass::InvalidRequest);
            unsupported.message
        })
}

#[test]
fn the_configured_model_is_the_only_one() {
    let provider = configured(Some(KEY), Some(OFFICIAL));
    assert_eq!(provider.check(&asking(OFFICIAL, "", "")).unwrap().model, OFFICIAL);
    let refused = provider.check(&asking("acme/other", "", "")).unwrap_err();
    assert_eq!(
        refused.message,
        "Unsupported image model for flux: acme/other; use black-forest-labs/flux-1.1-pro, which \
         FLUX_PRO_MODEL_NAME names"
    );
    assert_eq!(refused.class, ErrorClass::InvalidRequest);
}

#[test]
fn what_is_not_configured_is_said_before_anything_is_sent() {
    for (token, model, said, variable) in [
        (
            Some(KEY),
            None,
            "No image model is configured for provider: flux",
            MODEL,
        ),
        (
            None,
            None,
            "No image model is configured for provider: flux",
            MODEL,
        ),
        (
            None,
            Some(OFFICIAL),
            "Flux image generator is not configured.",
            TOKEN,
        ),
        (
            Some("  "),
            Some(OFFICIAL),
            "Flux image generator is not configured.",
            TOKEN,
        ),
    ] {
        let refused = configured(token, model).check(&asking("", "", "")).unwrap_err();
        assert_eq!(refused.class, ErrorClass::Auth);
        assert!(refused.message.starts_with(said), "{refused}");
        assert!(refused.message.contains(variable), "{refused}");
    }
}

#[test]
fn a_size_becomes_a_ratio_that_the_model_has() {
    for (size, ratio) in [
        ("1:1", "1:1"),
        ("16:9", "16:9"),
        ("5:4", "5:4"),
        ("1024x1024", "1:1"),
        ("1792x1024", "16:9"),
        ("1024x1792", "9:16"),
        ("816x816", "1:1"),
        ("1536x1024", "3:2"),
        ("3000x1000", "16:9"),
    ] {
        assert_eq!(size_of(OFFICIAL, size).as_deref(), Ok(ratio), "{size}");
    }
    assert_eq!(
        size_of("black-forest-labs/flux-schnell", "3000x1000").as_deref(),
        Ok("21:9")
    );
    assert_eq!(size_of("acme/some-flux", "21:9").as_deref(), Ok("21:9"));
    assert_eq!(
        size_of("deployments/acme/some-flux", "9:21").as_deref(),
        Ok("9:21")
    );
    // A version of a known model is that model.
    let version = format!("{OFFICIAL}:abc");
    assert!(size_of(&version, "21:9").is_err());
}

#[test]
fn a_size_that_the_model_does_not_draw_is_refused_with_those_that_it_does() {
    for size in [
        "square",
        "0x0",
        "0x100",
        "21:9",
        "7:4",
        "1024X1024",
        "-1x5",
        "auto",
    ] {
        let message = size_of(OFFICIAL, size).unwrap_err();
        assert_eq!(
            message,
            format!(
                "Unsupported image size for flux: {size}; use 1:1, 16:9, 9:16, 4:3, 3:4, 3:2, 2:3, 4:5 or 5:4, or \
                 WIDTHxHEIGHT in pixels, which becomes the nearest of these"
            )
        );
    }
}

#[test]
fn without_a_size_an_icon_is_square_and_all_else_is_wide() {
    let provider = configured(Some(KEY), Some(OFFICIAL));
    for (image_type, ratio) in [(ImageType::Icon, "1:1"), (ImageType::Collection, "16:9")] {
        let spec = ImageSpec {
            image_type,
            seed: Some(7),
            ..ImageSpec::default()
        };
        let checked = provider.check(&spec).unwrap();
        assert_eq!((checked.size.as_deref(), checked.seed), (Some(ratio), Some(7)));
    }
}

#[test]
fn no_quality_can_be_chosen() {
    let provider = configured(Some(KEY), Some(OFFICIAL));
    let refused = provider.check(&asking("", "16:9", "low")).unwrap_err();
    assert_eq!(
        refused.message,
        "Image quality is not supported for flux; leave it out"
    );
}

#[test]
fn the_prompt_is_sent_as_it_is() {
    let provider = configured(Some(KEY), Some(OFFICIAL));
    let sent = provider.prompt_for(&prompt(), "Draw well.");
    assert_eq!(sent.expose(), PROMPT);
}

#[test]
fn settings_that_cannot_be_used_are_told_without_secrets() {
    let variables = [
        (TOKEN, "hunter2\nhunter3"),
        ("REPLICATE_BASE_URL", "https://x.invalid/?a=hunter3"),
        (MODEL, "flux"),
    ];
    let faults = suite::read(&ACCESS, &variables).unwrap_err();
    assert_eq!(faults.len(), 3, "{faults:?}");
    for (fault, variable) in faults.iter().zip([MODEL, TOKEN, "REPLICATE_BASE_URL"]) {
        assert!(fault.starts_with(variable), "{fault}");
        assert!(!fault.contains("hunter"), "{fault}");
    }
    for model in [
        "",
        "a/b/c",
        "a/../c",
        "a b/c",
        "owner/name:",
        "https://x/y",
        "owner/na?me",
        "deployments/a",
    ] {
        let is_refused = Target::parse(model).is_err();
        // A deployment without its owner reads like a model of an owner called so.
        assert_eq!(is_refused, model != "deployments/a", "{model}");
    }
}
