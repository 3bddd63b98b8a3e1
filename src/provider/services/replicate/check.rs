//! What may be asked of the configured model. Known models have their rules in the table of models; of any other
//! an operator is trusted to know that it takes the usual ones.

use super::{MODEL, NAME, catalog};
use crate::provider::catalog::{Model, refused, repeated};
use crate::provider::{CheckedSpec, ImageSpec, Unsupported};
use crate::work_package::ImageType;

/// Stands in the table for all models that are not in it.
pub(super) const ANY_OTHER: &str = "owner/any-other-model";

/// Checks model, size and quality of `spec`, in this order, and fills in the default size.
pub(super) fn check(configured: &str, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
    let given = |option: &Option<String>| option.clone().filter(|text| !text.is_empty());
    if let Some(model) = given(&spec.model).filter(|model| model != configured) {
        return Err(refused(format!(
            "Unsupported image model for {NAME}: {}; use {configured}, which {MODEL} names",
            repeated(&model)
        )));
    }
    let rules = rules(configured);
    let size = match given(&spec.size) {
        Some(size) => match rules.and_then(|rules| rules.sizes.accept(&size)) {
            Some(size) => size,
            None => {
                let right = rules.map(|rules| rules.sizes.to_string()).unwrap_or_default();
                return Err(refused(format!(
                    "Unsupported image size for {NAME}: {}; use {right}",
                    repeated(&size)
                )));
            }
        },
        None => match spec.image_type {
            ImageType::Icon => "1:1".to_owned(),
            ImageType::Collection => "16:9".to_owned(),
        },
    };
    if given(&spec.quality).is_some() {
        return Err(refused(format!(
            "Image quality is not supported for {NAME}; leave it out"
        )));
    }
    let choices = rules.map(Model::choices).unwrap_or_default();
    Ok(CheckedSpec {
        model: configured.to_owned(),
        size: Some(size),
        seed: spec.seed,
        ..catalog::check_options(choices, NAME, configured, spec)?
    })
}

/// The rules of a model, whichever version of it is asked for.
fn rules(configured: &str) -> Option<&'static Model> {
    let name = configured.split(':').next().unwrap_or(configured);
    catalog::find(NAME, name).or_else(|| catalog::find(NAME, ANY_OTHER))
}
