//! A request against the table: the first rule that fails gives the sentence.

use chrono::NaiveDate;

use super::options::check_options;
use super::refusal::{refused, repeated};
use super::{Model, all, find};
use crate::failure::ErrorClass;
use crate::provider::{CheckedSpec, ImageSpec, Unsupported};
use crate::work_package::{ImageType, any_of};

/// Checks model, size, quality and options of `spec`, in this order, and fills in the defaults. Empty means absent.
///
/// `today` (UTC) decides which models have ended.
///
/// # Errors
/// `InvalidRequest`, or `ModelGone` for a model that has ended, whatever else is wrong with the request:
/// the sentence then names the day and the successor.
pub fn check(provider: &str, spec: &ImageSpec, today: NaiveDate) -> Result<CheckedSpec, Unsupported> {
    let model = match given(&spec.model) {
        Some(id) => find(provider, id).ok_or_else(|| unknown_model(provider, id, today))?,
        None => all(provider)
            .find(|model| model.is_default)
            .ok_or_else(|| refused(format!("No image model is configured for provider: {provider}")))?,
    };
    let id = given(&spec.model).unwrap_or(&model.id);
    check_for(model, id, provider, spec, today)
}

/// The same for what is known to be this model, whatever name it goes by.
pub(in crate::provider) fn check_for(
    model: &'static Model,
    id: &str,
    provider: &str,
    spec: &ImageSpec,
    today: NaiveDate,
) -> Result<CheckedSpec, Unsupported> {
    let fault = |what: &str, found: &str, right: String| Unsupported {
        class: match model.has_ended(today) {
            true => ErrorClass::ModelGone,
            false => ErrorClass::InvalidRequest,
        },
        message: format!(
            "Unsupported image {what} for {id}: {}; use {right}{}",
            repeated(found),
            end_of(model, today)
                .map(|end| format!(". The model itself {end}"))
                .unwrap_or_default()
        ),
    };
    let size = match given(&spec.size) {
        Some(size) => model
            .sizes
            .accept(size)
            .ok_or_else(|| fault("size", size, model.sizes.to_string()))?,
        None => match spec.image_type {
            ImageType::Icon => model.default_size.icon.clone(),
            ImageType::Collection => model.default_size.otherwise.clone(),
        },
    };
    let quality = match given(&spec.quality) {
        Some(quality) if model.qualities.iter().any(|known| known == quality) => Some(quality.to_owned()),
        Some(_) if model.qualities.is_empty() => {
            return Err(refused(format!(
                "Image quality is not supported for {provider}; leave it out"
            )));
        }
        Some(quality) => return Err(fault("quality", quality, any_of(&model.qualities))),
        None => model.default_quality.clone(),
    };
    if let Some(end) = end_of(model, today) {
        return Err(Unsupported {
            class: ErrorClass::ModelGone,
            message: format!("Unsupported image model for {provider}: {id}; it {end}"),
        });
    }
    Ok(CheckedSpec {
        model: id.to_owned(),
        size: Some(size),
        quality,
        seed: spec.seed.filter(|_| model.has_seeds),
        ..check_options(model.choices(), provider, id, spec)?
    })
}

fn given(option: &Option<String>) -> Option<&str> {
    option.as_deref().filter(|text| !text.is_empty())
}

fn unknown_model(provider: &str, id: &str, today: NaiveDate) -> Unsupported {
    let living: Vec<&str> = all(provider)
        .filter(|model| !model.has_ended(today))
        .map(|model| model.id.as_str())
        .collect();
    refused(format!(
        "Unsupported image model for {provider}: {}; use {}",
        repeated(id),
        any_of(&living)
    ))
}

fn end_of(model: &Model, today: NaiveDate) -> Option<String> {
    let ends_on = model.ends_on.filter(|ends_on| *ends_on <= today)?;
    let successor = model
        .successor
        .as_ref()
        .map(|successor| format!("; use {successor} instead"))
        .unwrap_or_default();
    Some(format!("was shut down on {ends_on}{successor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn spec(model: &str, size: &str, quality: &str) -> ImageSpec {
        ImageSpec {
            model: Some(model.into()),
            size: Some(size.into()),
            quality: Some(quality.into()),
            ..ImageSpec::default()
        }
    }

    fn checked(model: &str, size: &str, quality: &str) -> (String, Option<String>, Option<String>) {
        let checked = check("openai", &spec(model, size, quality), day("2026-01-15")).unwrap();
        (checked.model, checked.size, checked.quality)
    }

    #[track_caller]
    fn refused(model: &str, size: &str, quality: &str, today: &str) -> (ErrorClass, String) {
        let unsupported = check("openai", &spec(model, size, quality), day(today)).unwrap_err();
        (unsupported.class, unsupported.message)
    }

    #[test]
    fn a_request_without_options_gets_the_defaults_of_its_type() {
        for (image_type, size) in [
            (ImageType::Icon, "1024x1024"),
            (ImageType::Collection, "2048x1152"),
        ] {
            let spec = ImageSpec {
                image_type,
                seed: Some(7),
                ..ImageSpec::default()
            };
            assert_eq!(
                check("openai", &spec, day("2026-11-22")).unwrap(),
                CheckedSpec {
                    model: "gpt-image-2".into(),
                    size: Some(size.into()),
                    quality: Some("medium".into()),
                    seed: None,
                    ..CheckedSpec::default()
                }
            );
        }
        for (model, size, quality) in [
            ("gpt-image-1.5", "1536x1024", "medium"),
            ("dall-e-3", "1792x1024", "standard"),
        ] {
            let defaults = (model.into(), Some(size.into()), Some(quality.into()));
            assert_eq!(checked(model, "", ""), defaults);
        }
    }

    #[test]
    fn sizes_within_the_free_rule_are_accepted() {
        for size in ["auto", "816x816", "3840x2160", "2160x3840", "3840x1280"] {
            assert_eq!(checked("gpt-image-2", size, "").1.as_deref(), Some(size));
        }
        assert_eq!(
            checked("gpt-image-2", "01024x1024", "").1.as_deref(),
            Some("1024x1024")
        );
    }

    #[test]
    fn sizes_outside_the_rule_are_refused_with_what_would_be_right() {
        for size in [
            "3840x1264",
            "2049x1152",
            "512x512",
            "3840x3840",
            "1024X1024",
            "+1024x1024",
            "1024x",
            "99999999999x1024",
        ] {
            let (class, message) = refused("gpt-image-2", size, "", "2026-11-22");
            assert_eq!(class, ErrorClass::InvalidRequest);
            assert_eq!(
                message,
                format!(
                    "Unsupported image size for gpt-image-2: {size}; use auto or WIDTHxHEIGHT with both edges \
                     multiples of 16, at most 3840 pixels long and at most 3:1 apart, and 655360 to 8294400 \
                     pixels in all"
                )
            );
        }
        assert_eq!(
            refused("gpt-image-1", "2048x1152", "", "2026-01-15").1,
            "Unsupported image size for gpt-image-1: 2048x1152; use auto, 1024x1024, 1536x1024 or 1024x1536"
        );
    }

    #[test]
    fn an_unknown_quality_is_refused_after_the_size() {
        assert_eq!(
            refused("dall-e-3", "1792x1024", "high", "2026-01-15").1,
            "Unsupported image quality for dall-e-3: high; use standard or hd"
        );
        let (_, message) = refused("gpt-image-2", "512x512", "hd", "2026-01-15");
        assert!(
            message.starts_with("Unsupported image size for gpt-image-2: 512x512"),
            "{message}"
        );
        assert_eq!(
            checked("gpt-image-2.5-flare", "", "xhigh").2.as_deref(),
            Some("xhigh")
        );
    }

    #[test]
    fn an_unknown_model_is_refused_with_those_that_live() {
        let (class, message) = refused("not-a-model", "", "", "2026-12-24");
        assert_eq!(class, ErrorClass::InvalidRequest);
        assert_eq!(
            message,
            "Unsupported image model for openai: not-a-model; use gpt-image-2, gpt-image-2.6-sunburst, \
             gpt-image-2.6-flare, gpt-image-2.5-sunburst or gpt-image-2.5-flare"
        );
        let (_, message) = refused(&"é\n".repeat(9000), "", "", "2026-12-24");
        assert!(message.len() < 400 && !message.contains('\n'), "{message}");
    }

    #[test]
    fn a_dead_model_fails_with_its_day_and_its_successor() {
        for (model, size, quality, message) in [
            (
                "gpt-image-1",
                "",
                "low",
                "Unsupported image model for openai: gpt-image-1; it was shut down on 2026-10-23; use gpt-image-2 instead",
            ),
            (
                "dall-e-3",
                "1792x1024",
                "high",
                "Unsupported image quality for dall-e-3: high; use standard or hd. The model itself was shut down on \
                 2026-05-12; use gpt-image-2 instead",
            ),
        ] {
            let refused = refused(model, size, quality, "2026-11-22");
            assert_eq!(refused, (ErrorClass::ModelGone, message.into()));
        }
        let (class, _) = refused("dall-e-2", "", "", "2026-11-22");
        assert_eq!(class, ErrorClass::ModelGone);
    }

    #[test]
    fn a_snapshot_goes_on_the_wire_as_it_was_asked_for() {
        assert_eq!(
            checked("gpt-image-2-2026-04-21", "", "").0,
            "gpt-image-2-2026-04-21"
        );
    }
}
