//! A request against what the workflow takes.

use super::ACCESS;
use super::workflow::Workflow;
use crate::provider::catalog::pixels::check_size;
use crate::provider::catalog::{Choices, check_options, refused, repeated};
use crate::provider::{CheckedSpec, ImageSpec, Unsupported};
use crate::work_package::{MAX_PROMPT_CHARS, Moderation};

const SIDES_MULTIPLE_OF: u32 = 8;
const LONGEST_CHECKPOINT: usize = 200;

/// Fills in what the package leaves out, and refuses what the workflow cannot do.
pub(super) fn check(
    spec: &ImageSpec,
    workflow: &Workflow,
    checkpoint: &str,
) -> Result<CheckedSpec, Unsupported> {
    let name = ACCESS.name;
    fn given(option: &Option<String>) -> Option<&str> {
        option.as_deref().filter(|text| !text.is_empty())
    }
    let takes_checkpoint = workflow.takes("checkpoint");
    let model = match given(&spec.model) {
        Some(model) if !takes_checkpoint && model != workflow.title => {
            return Err(refused(format!(
                "Unsupported image model for {name}: {}; its workflow has a checkpoint of its own: leave imageModel out",
                repeated(model)
            )));
        }
        Some(model) if model.chars().count() > LONGEST_CHECKPOINT || model.chars().any(char::is_control) => {
            return Err(refused(format!(
                "Unsupported image model for {name}: {}; use the name of a checkpoint of that server",
                repeated(model)
            )));
        }
        Some(model) => model,
        None if takes_checkpoint => checkpoint,
        None => &workflow.title,
    };
    let size = given(&spec.size);
    let takes_size = workflow.takes("width") && workflow.takes("height");
    let size = match size.filter(|size| *size != "auto") {
        Some(size) if !takes_size => {
            return Err(refused(format!(
                "Unsupported image size for {name}: {}; its workflow has a size of its own: leave imageSize out",
                repeated(size)
            )));
        }
        _ if !takes_size => None,
        size => Some(check_size(
            size,
            spec.image_type,
            SIDES_MULTIPLE_OF,
            &repeated(model),
        )?),
    };
    if given(&spec.quality).is_some() {
        return Err(refused(format!(
            "Image quality is not supported for {name}; leave it out"
        )));
    }
    if let Some(seed) = spec.seed.filter(|seed| *seed < 0) {
        return Err(refused(format!(
            "Unsupported seed for {name}: {seed}; use 0 or more, or leave it out"
        )));
    }
    // It refuses no prompt, and the workflow alone chooses background and format.
    let choices = Choices {
        moderations: &[Moderation::Low],
        negative_prompt_max_chars: workflow.takes("negative").then_some(MAX_PROMPT_CHARS),
        ..Choices::default()
    };
    Ok(CheckedSpec {
        model: model.to_owned(),
        size,
        seed: spec.seed.filter(|_| workflow.takes("seed")),
        ..check_options(choices, name, model, spec)?
    })
}
