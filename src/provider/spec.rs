//! What is asked of a provider, before and after it has agreed.

use serde::Deserialize;

use crate::failure::{ErrorClass, Failure};
use crate::work_package::{ImageOptions, ImageType, OutputFormat, Prompt, Word};

/// What a package asks of a provider. `None` = the provider's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSpec {
    /// What the picture is for; decides default sizes.
    pub image_type: ImageType,
    /// Model id as the provider writes it.
    pub model: Option<String>,
    /// `WIDTHxHEIGHT` in pixels, an aspect ratio such as `16:9`, or a word such as `auto`.
    pub size: Option<String>,
    /// A word such as `low`.
    pub quality: Option<String>,
    /// For providers that have seeds.
    pub seed: Option<i64>,
    /// What is not to be seen. Refused by models that cannot be told.
    pub negative_prompt: Option<Prompt>,
    /// How many pictures it is to be made from. Refused by models that take fewer.
    pub reference_count: usize,
    /// Refused by providers that do not have them.
    pub options: ImageOptions,
}

/// An [`ImageSpec`] that a provider has accepted, with its defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedSpec {
    /// Model id as it goes on the wire.
    pub model: String,
    /// Size as it goes on the wire.
    pub size: Option<String>,
    /// Quality as it goes on the wire.
    pub quality: Option<String>,
    /// Seed, where given and known to the provider.
    pub seed: Option<i64>,
    /// What is not to be seen, where that was said and the model can be told.
    pub negative_prompt: Option<Prompt>,
    /// How many pictures it is to be made from.
    pub reference_count: usize,
    /// What the model takes as such.
    pub references: Option<&'static ReferenceRules>,
    /// What was asked for besides, all of which the provider has.
    pub options: ImageOptions,
}

impl CheckedSpec {
    /// The format to ask the service for: PNG, unless another was asked for.
    #[must_use]
    pub(in crate::provider) fn format(&self) -> &'static str {
        self.options.output_format.unwrap_or(OutputFormat::Png).as_str()
    }

    /// What is not to be seen, where that was said.
    #[must_use]
    pub(in crate::provider) fn negative(&self) -> Option<&str> {
        self.negative_prompt.as_ref().map(Prompt::expose)
    }

    /// The level of moderation to ask for, where one was asked for.
    #[must_use]
    pub(in crate::provider) fn moderation(&self) -> Option<&'static str> {
        self.options.moderation.map(Word::as_str)
    }

    /// The amount of thought to ask for, where one was asked for.
    pub(in crate::provider) fn complexity(&self) -> Option<&'static str> {
        self.options.complexity.map(Word::as_str)
    }

    /// The background to ask for, where one was asked for.
    pub(in crate::provider) fn background(&self) -> Option<&'static str> {
        self.options.background.map(Word::as_str)
    }
}

/// The reference images that a model takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceRules {
    /// So many at the most.
    pub most: usize,
    /// Most bytes of all together.
    #[serde(default = "usual_bytes")]
    pub max_bytes: usize,
    /// Formats that it reads.
    #[serde(default = "usual_formats")]
    pub formats: Vec<OutputFormat>,
    /// Where they stand, for services whose models have different fields.
    #[serde(rename = "in")]
    pub place: Option<ReferencePlace>,
    /// Who takes them, where that is not the model under its own id.
    pub id: Option<String>,
    /// Whether `moderation` cannot be chosen beside them.
    #[serde(default)]
    pub fixes_moderation: bool,
}

/// Where reference images stand in a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferencePlace {
    /// The one that there can be is this field.
    Field(String),
    /// They are this list.
    List(String),
    /// Each is a field of its own: `name`, `name_2`, `name_3`, …
    Fields(String),
}

/// As much as a replica has memory for at once.
fn usual_bytes() -> usize {
    20_000_000
}

fn usual_formats() -> Vec<OutputFormat> {
    vec![OutputFormat::Png, OutputFormat::Jpeg, OutputFormat::Webp]
}

/// A request that a provider refuses before anything is spent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unsupported {
    /// `InvalidRequest`, `ModelGone`, or `Auth` where the provider is not configured. Never retried.
    pub class: ErrorClass,
    /// One sentence for the person: what was found and what would be right.
    pub message: String,
}

impl From<Unsupported> for Failure {
    fn from(unsupported: Unsupported) -> Self {
        Failure::new(unsupported.class, unsupported.message)
    }
}
