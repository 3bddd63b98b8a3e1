//! A prediction as the service tells of it, and what an answer without one means.

use serde_json::Value;

use crate::failure::ErrorClass;
use crate::provider::wire::errors::{Signs, judge_by_path};
use crate::provider::wire::incident::{Incident, is_plain_id};
use crate::provider::wire::picture::{self, Looked};
use crate::provider::wire::polling::{Look, Ready, progress_in};

/// How deep an output may be wrapped.
const DEPTH: usize = 5;

/// The class of an answer to an order. After a fault of the service the prediction may exist, and there is no way
/// to find it: the service's own clients resend such a request after 429 alone.
pub(super) fn judge_order(signs: &Signs<'_>) -> ErrorClass {
    match judge_by_path(signs) {
        ErrorClass::Overloaded if signs.status >= 500 => ErrorClass::Ambiguous,
        class => class,
    }
}

pub(super) fn id(prediction: &Value) -> Option<String> {
    let id = prediction.get("id")?.as_str()?;
    is_plain_id(id).then(|| id.to_owned())
}

/// What a prediction says of itself.
pub(super) fn look(prediction: &Value, incident: &Incident<'_>) -> Look {
    let fail = |class, why: &str| Look::Failed(incident.error(class, why));
    let status = prediction
        .get("status")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match status {
        "succeeded" => finished(prediction, incident),
        "failed" => {
            let reason = match prediction.get("error") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            let why = format!("the prediction failed: {}", incident.said(&reason));
            fail(class_of_reason(&incident.masked(&reason)), &why)
        }
        // Its time so far may be billed.
        "canceled" | "cancelled" => fail(ErrorClass::BadOutput, "the prediction was cancelled"),
        "aborted" => fail(
            ErrorClass::Overloaded,
            "the prediction was aborted, as its time had run out before it began",
        ),
        _ => Look::Going(
            prediction
                .get("logs")
                .and_then(Value::as_str)
                .and_then(progress_in),
        ),
    }
}

fn finished(prediction: &Value, incident: &Incident<'_>) -> Look {
    if let Some(Ok(picture)) = prediction.get("output").and_then(|output| find(output, DEPTH)) {
        return Look::Ready(Ready {
            picture,
            usage: prediction
                .get("metrics")
                .filter(|metrics| metrics.is_object())
                .cloned(),
        });
    }
    let is_removed = prediction.get("data_removed") == Some(&Value::Bool(true));
    Look::Failed(if is_removed {
        // Made and paid for; whether it is bought again is the operator's choice.
        incident.error(
            ErrorClass::Ambiguous,
            "the prediction succeeded, and its output has been deleted since",
        )
    } else {
        incident.error(
            ErrorClass::BadOutput,
            "the prediction succeeded without a picture",
        )
    })
}

/// The picture in an output, whose fields have whichever names a model gives them.
fn find(output: &Value, depth: usize) -> Option<Looked> {
    let depth = depth.checked_sub(1)?;
    picture::find(output).or_else(|| match output {
        Value::Array(items) => items.iter().find_map(|item| find(item, depth)),
        Value::Object(fields) => fields.values().find_map(|field| find(field, depth)),
        _ => None,
    })
}

/// What is left to judge a failed prediction by is its text, the prompt taken out.
/// Source: Replicate, "Prediction error codes", and messages of the FLUX models.
fn class_of_reason(reason: &str) -> ErrorClass {
    let reason = reason.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| reason.contains(phrase));
    if says(&[
        "nsfw",
        "sensitive",
        "(e005)",
        "content policy",
        "moderation",
        "safety",
    ]) {
        ErrorClass::Moderation
    } else if says(&[
        "please retry",
        "code: pa",
        "out of memory",
        "cuda",
        "e6716",
        "e8765",
        "timed out",
        "timeout",
    ]) {
        ErrorClass::Overloaded
    } else {
        ErrorClass::BadOutput
    }
}
