//! Reference images, against what a model takes.

use super::refusal::{refused, repeated};
use crate::provider::{ReferenceRules, Unsupported};
use crate::work_package::ImageOptions;

/// Most bytes of one reference image, whichever model it is for.
pub const MAX_REFERENCE_BYTES: usize = 10_000_000;

/// Refuses more than a model takes, and what cannot be chosen beside them.
pub(super) fn check(
    count: usize,
    taken: Option<&ReferenceRules>,
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
