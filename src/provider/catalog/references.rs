//! Reference images: how many a model takes, how large and in which formats, and where in a request they stand.

use serde::Deserialize;

use super::check::repeated;
use super::pixels::refused;
use crate::provider::Unsupported;
use crate::work_package::{ImageOptions, OutputFormat};

/// Most bytes of one reference image, whichever model it is for.
pub const MAX_REFERENCE_BYTES: usize = 10_000_000;

/// The reference images that a model takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct References {
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
    pub place: Option<Place>,
    /// Who takes them, where that is not the model under its own id.
    pub id: Option<String>,
    /// Whether `moderation` cannot be chosen beside them.
    #[serde(default)]
    pub fixes_moderation: bool,
}

/// Where reference images stand in a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
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

/// Refuses more than a model takes, and what cannot be chosen beside them.
pub(super) fn check(
    count: usize,
    taken: Option<&References>,
    options: &ImageOptions,
    (provider, model): (&str, &str),
) -> Result<(), Unsupported> {
    let model = repeated(model);
    match taken {
        _ if count == 0 => Ok(()),
        None => Err(refused(format!(
            "Reference images are not supported for {provider}'s {model}; leave them out"
        ))),
        Some(taken) if count > taken.most => Err(refused(format!(
            "Too many reference images for {model}: {count}; use at most {}",
            taken.most
        ))),
        Some(taken) if taken.fixes_moderation && options.moderation.is_some() => Err(refused(format!(
            "Image moderation is not supported for {provider}'s {model} with reference images; leave it out"
        ))),
        Some(_) => Ok(()),
    }
}
