//! `:predict`, as Imagen models speak it.
//!
//! Source: Vertex AI, "Imagen API", "Responsible AI and usage guidelines for Imagen".

use serde_json::{Value, json};

use super::NAME;
use crate::failure::ErrorClass;
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::google;
use crate::provider::wire::reading::{Dialect, NoPicture};
use crate::provider::{CheckedSpec, ImageSpec, Unsupported, catalog};
use crate::work_package::Prompt;

/// Models that the table does not know are taken to offer what this one did.
const LIKE: &str = "imagen-4.0-generate-001";

/// Checks a request for a model that the table of models does not know.
pub(super) fn check(spec: &ImageSpec, id: &str) -> Result<CheckedSpec, Unsupported> {
    let like = catalog::find(NAME, LIKE).ok_or_else(|| Unsupported {
        class: ErrorClass::InvalidRequest,
        message: format!("Unsupported image model for {NAME}: {id}"),
    })?;
    // On a day on which that model was there.
    let living = like
        .ends_on
        .and_then(|ends_on| ends_on.pred_opt())
        .unwrap_or_default();
    let as_like = ImageSpec {
        model: Some(LIKE.to_owned()),
        ..spec.clone()
    };
    let checked = catalog::check(NAME, &as_like, living)?;
    Ok(CheckedSpec {
        model: id.to_owned(),
        seed: spec.seed,
        ..checked
    })
}

/// The body of a request for one picture.
pub(super) fn request(prompt: &Prompt, spec: &CheckedSpec) -> Value {
    let (ratio, resolution) = catalog::split_resolution(spec.size.as_deref().unwrap_or("1:1"));
    let mut parameters = json!({"sampleCount": 1, "aspectRatio": ratio,
        "safetySetting": "block_medium_and_above", "includeRaiReason": true});
    if let Some(resolution) = resolution {
        parameters["sampleImageSize"] = resolution.into();
    }
    if let Some(seed) = spec.seed {
        parameters["seed"] = seed.into();
        // Both at once are refused.
        parameters["addWatermark"] = false.into();
    }
    if let Some(format) = spec.options.output_format {
        parameters["outputOptions"] = json!({"mimeType": format.media_type()});
    }
    json!({"instances": [{"prompt": prompt.expose()}], "parameters": parameters})
}

/// What Imagen means by its answers.
pub(super) const DIALECT: Dialect = Dialect {
    nothing,
    ..google::DIALECT
};

/// Why an answer holds no picture. What is filtered is left out, mostly without a word.
fn nothing(answer: &Value) -> Option<NoPicture> {
    let predictions = answer
        .get("predictions")
        .filter(|predictions| !predictions.is_null());
    if predictions.is_some_and(|predictions| !predictions.is_array()) {
        return None;
    }
    let predictions = predictions.and_then(Value::as_array);
    let Some(prediction) = predictions.and_then(|predictions| predictions.first()) else {
        let is_explained = ErrorBody::from_json(answer.clone()).is_error || !answer.is_object();
        let why = "the answer holds no prediction: the picture was filtered";
        return (!is_explained).then(|| NoPicture::new(ErrorClass::Moderation, why, ""));
    };
    let reason = prediction.get("raiFilteredReason").and_then(Value::as_str)?;
    let category = category(reason).map(|category| format!(" ({category})"));
    let why = format!("the picture was filtered{}", category.unwrap_or_default());
    Some(NoPicture::new(ErrorClass::Moderation, why, reason))
}

/// What the first known support code in a reason stands for.
fn category(reason: &str) -> Option<&'static str> {
    reason
        .split(|character: char| !character.is_ascii_digit())
        .find_map(|code| {
            Some(match code {
                "58061214" | "17301594" => "children",
                "29310472" | "15236754" => "celebrities",
                "62263041" => "dangerous content",
                "57734940" | "22137204" => "hate",
                "90789179" | "63429089" | "43188360" => "sexual content",
                "78610348" => "toxic content",
                "61493863" | "56562880" => "violence",
                "92201652" => "personal data",
                "89371032" | "49114662" | "72817394" => "prohibited content",
                "39322892" => "people or faces",
                "42876398" | "29578790" | "74803281" => "other",
                _ => return None,
            })
        })
}
