//! Options of a few words each, against what a model offers. What it does not offer is refused and never left out
//! in silence.

use super::check::repeated;
use crate::failure::ErrorClass;
use crate::provider::Unsupported;
use crate::work_package::{Background, Complexity, ImageOptions, Moderation, OutputFormat, Word, any_of};

/// What can be asked of a model besides size and quality.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices<'a> {
    /// None where the model chooses.
    pub backgrounds: &'a [Background],
    /// None where the service has one level alone.
    pub moderations: &'a [Moderation],
    /// None where the service has no such choice.
    pub complexities: &'a [Complexity],
    /// None where the service chooses.
    pub formats: &'a [OutputFormat],
}

/// Checks background, moderation, complexity and output format, in this order.
///
/// # Errors
/// `InvalidRequest`, with what was found and what would be right.
pub fn check_options(
    choices: Choices<'_>,
    provider: &str,
    model: &str,
    options: &ImageOptions,
) -> Result<(), Unsupported> {
    check_one(
        "background",
        options.background,
        choices.backgrounds,
        provider,
        model,
    )?;
    check_one(
        "moderation",
        options.moderation,
        choices.moderations,
        provider,
        model,
    )?;
    check_one(
        "complexity",
        options.complexity,
        choices.complexities,
        provider,
        model,
    )?;
    check_one(
        "output format",
        options.output_format,
        choices.formats,
        provider,
        model,
    )
}

fn check_one<W: Word>(
    what: &str,
    asked: Option<W>,
    offered: &[W],
    provider: &str,
    model: &str,
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
    Err(Unsupported {
        class: ErrorClass::InvalidRequest,
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(model: &str, options: ImageOptions) -> Option<String> {
        let provider = "openai";
        let found = crate::provider::catalog::find(provider, model).unwrap();
        let refused = check_options(found.choices(), provider, model, &options).err()?;
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
}
