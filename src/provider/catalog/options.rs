//! What is asked for besides model, size, quality and seed, against what a model offers. What it does not offer is refused
//! and never left out in silence.

use super::references;
use super::refusal::{refused, repeated};
use crate::provider::{CheckedSpec, ImageSpec, ReferenceRules, Unsupported};
use crate::work_package::{Background, Complexity, Moderation, OutputFormat, Prompt, Word, any_of};

/// What can be asked of a model besides size and quality.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices<'a> {
    /// `None` where it cannot be told what is not to be seen.
    pub negative_prompt_max_chars: Option<usize>,
    /// `None` where it takes no pictures.
    pub references: Option<&'static ReferenceRules>,
    /// None where the model chooses.
    pub backgrounds: &'a [Background],
    /// None where the service has one level alone.
    pub moderations: &'a [Moderation],
    /// None where the service has no such choice.
    pub complexities: &'a [Complexity],
    /// None where the service chooses.
    pub formats: &'a [OutputFormat],
}

/// Checks all of it, in the order of the manual, and returns it as it was accepted, without model, size, quality and seed.
///
/// # Errors
/// `InvalidRequest`, with what was found and what would be right.
pub fn check_options(
    choices: Choices<'_>,
    provider: &str,
    model: &str,
    spec: &ImageSpec,
) -> Result<CheckedSpec, Unsupported> {
    let options = spec.options;
    let at = (provider, model);
    check_negative(
        spec.negative_prompt.as_ref(),
        choices.negative_prompt_max_chars,
        at,
    )?;
    references::check(spec.reference_count, choices.references, &options, at)?;
    check_one("background", options.background, choices.backgrounds, at)?;
    check_one("moderation", options.moderation, choices.moderations, at)?;
    check_one("complexity", options.complexity, choices.complexities, at)?;
    check_one("output format", options.output_format, choices.formats, at)?;
    Ok(CheckedSpec {
        negative_prompt: spec.negative_prompt.clone(),
        reference_count: spec.reference_count,
        references: choices.references.filter(|_| spec.reference_count > 0),
        options,
        ..CheckedSpec::default()
    })
}

fn check_negative(
    asked: Option<&Prompt>,
    most: Option<usize>,
    (provider, model): (&str, &str),
) -> Result<(), Unsupported> {
    let Some(length) = asked.map(|asked| asked.expose().chars().count()) else {
        return Ok(());
    };
    match most {
        Some(most) if length <= most => Ok(()),
        Some(most) => Err(refused(format!(
            "Unsupported negative prompt for {}: it has {length} characters; use at most {most}, or leave it out",
            repeated(model)
        ))),
        None => Err(refused(format!(
            "A negative prompt is not supported for {provider}'s {}; leave it out",
            repeated(model)
        ))),
    }
}

fn check_one<W: Word>(
    what: &str,
    asked: Option<W>,
    offered: &[W],
    (provider, model): (&str, &str),
) -> Result<(), Unsupported> {
    let Some(asked) = asked.filter(|asked| !offered.contains(asked)) else {
        return Ok(());
    };
    let message = if offered.is_empty() {
        format!("Image {what} is not supported for {provider}; leave it out")
    } else {
        let right: Vec<&str> = offered.iter().map(|word| word.as_str()).collect();
        format!(
            "Unsupported image {what} for {}: {}; use {}, or leave it out",
            repeated(model),
            asked.as_str(),
            any_of(&right)
        )
    };
    Err(refused(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::ErrorClass;
    use crate::work_package::ImageOptions;

    fn refusal(model: &str, options: ImageOptions) -> Option<String> {
        let spec = ImageSpec {
            options,
            ..ImageSpec::default()
        };
        refusal_of("openai", model, &spec)
    }

    fn refusal_of(provider: &str, model: &str, spec: &ImageSpec) -> Option<String> {
        let found = crate::provider::catalog::find(provider, model).unwrap();
        let refused = check_options(found.choices(), provider, model, spec).err()?;
        assert_eq!(refused.class, ErrorClass::InvalidRequest);
        Some(refused.message)
    }

    #[test]
    fn what_a_model_does_not_offer_is_refused_with_what_it_does() {
        let see_through = ImageOptions {
            background: Some(Background::Transparent),
            ..ImageOptions::default()
        };
        assert_eq!(refusal("gpt-image-2.5-flare", see_through), None);
        assert_eq!(
            refusal("gpt-image-2", see_through).unwrap(),
            "Unsupported image background for gpt-image-2: transparent; use opaque, or leave it out"
        );
        assert_eq!(
            refusal("dall-e-3", see_through).unwrap(),
            "Image background is not supported for openai; leave it out"
        );
        let webp = ImageOptions {
            output_format: Some(OutputFormat::Webp),
            ..ImageOptions::default()
        };
        assert_eq!(refusal("gpt-image-2", webp), None);
        assert_eq!(
            refusal("dall-e-3", webp).unwrap(),
            "Unsupported image output format for dall-e-3: webp; use png, or leave it out"
        );
    }

    #[test]
    fn what_is_not_to_be_seen_is_told_models_that_can_be_told_and_refused_otherwise() {
        let without = |text: &str| ImageSpec {
            negative_prompt: Some(Prompt::new(text.to_owned())),
            ..ImageSpec::default()
        };
        assert_eq!(
            refusal_of("qwen", "qwen-image-3.0", &without("text, letters")),
            None
        );
        assert_eq!(
            refusal_of("qwen", "qwen-image-3.0", &without(&"é".repeat(501))).unwrap(),
            "Unsupported negative prompt for qwen-image-3.0: it has 501 characters; use at most 500, or leave it out"
        );
        assert_eq!(
            refusal_of("openai", "gpt-image-2", &without("text")).unwrap(),
            "A negative prompt is not supported for openai's gpt-image-2; leave it out"
        );
    }

    #[test]
    fn no_more_pictures_are_taken_than_a_model_takes_and_nothing_that_excludes_them() {
        let from = |reference_count: usize| ImageSpec {
            reference_count,
            ..ImageSpec::default()
        };
        assert_eq!(refusal_of("xai", "grok-imagine-image", &from(3)), None);
        assert_eq!(
            refusal_of("xai", "grok-imagine-image", &from(4)).unwrap(),
            "Too many reference images for grok-imagine-image: 4; use at most 3"
        );
        assert_eq!(
            refusal_of("qwen", "qwen-image-3.0", &from(1)).unwrap(),
            "Reference images are not supported for qwen's qwen-image-3.0; leave them out"
        );
        let mut lenient = from(1);
        lenient.options.moderation = Some(Moderation::Low);
        assert_eq!(
            refusal_of("openai", "gpt-image-2", &lenient).unwrap(),
            "Image moderation is not supported for openai's gpt-image-2 with reference images; leave it out"
        );
        lenient.reference_count = 0;
        assert_eq!(refusal_of("openai", "gpt-image-2", &lenient), None);
    }
}
