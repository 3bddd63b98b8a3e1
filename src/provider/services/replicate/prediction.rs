//! A prediction as the service tells of it, and what an answer without one means.

use serde_json::Value;

use crate::failure::ErrorClass;
use crate::http_client::Answer;
use crate::provider::ProviderError;
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::polling::{Look, Ready, Report, Signs, class_of_status, is_plain_id, progress_in};

/// How deep an output may be wrapped.
const DEPTH: usize = 5;

/// The class of an answer to a question, which buys nothing.
pub(super) fn judge(signs: &Signs<'_>) -> ErrorClass {
    class_of_status(signs.status)
}

/// The class of an answer to an order. After a fault of the service the prediction may exist, and there is no way
/// to find it: the service's own clients resend such a request after 429 alone.
pub(super) fn judge_order(signs: &Signs<'_>) -> ErrorClass {
    match class_of_status(signs.status) {
        ErrorClass::Overloaded if signs.status >= 500 => ErrorClass::Ambiguous,
        class => class,
    }
}

pub(super) fn id(prediction: &Value) -> Option<String> {
    let id = prediction.get("id")?.as_str()?;
    is_plain_id(id).then(|| id.to_owned())
}

/// A success that is no prediction.
pub(super) fn without_id(answer: &Answer, body: &Value, report: &Report<'_>) -> ProviderError {
    if ErrorBody::from_json(body.clone()).is_error {
        return report.answer(answer, judge_order);
    }
    let why = format!("{}: the answer holds no prediction", answer.status.as_u16());
    report.error(ErrorClass::Ambiguous, &why)
}

/// What a prediction says of itself.
pub(super) fn look(prediction: &Value, report: &Report<'_>) -> Look {
    let fail = |class, why: &str| Look::Failed(report.error(class, why));
    let status = prediction
        .get("status")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match status {
        "succeeded" => finished(prediction, report),
        "failed" => {
            let reason = match prediction.get("error") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            let why = format!("the prediction failed: {}", report.said(&reason));
            fail(class_of_reason(&report.masked(&reason)), &why)
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

fn finished(prediction: &Value, report: &Report<'_>) -> Look {
    let output = prediction.get("output").unwrap_or(&Value::Null);
    if let Some(url) = address_in(output, DEPTH) {
        return Look::Ready(Ready {
            url,
            usage: prediction
                .get("metrics")
                .filter(|metrics| metrics.is_object())
                .cloned(),
        });
    }
    let is_removed = prediction.get("data_removed") == Some(&Value::Bool(true));
    Look::Failed(if is_removed {
        // Made and paid for; whether it is bought again is the operator's choice.
        report.error(
            ErrorClass::Ambiguous,
            "the prediction succeeded, and its output has been deleted since",
        )
    } else {
        report.error(
            ErrorClass::BadOutput,
            "the prediction succeeded without a picture",
        )
    })
}

/// The first address in an output: text, or text in a list or object.
fn address_in(output: &Value, depth: usize) -> Option<String> {
    if depth == 0 {
        return None;
    }
    match output {
        Value::String(text) => {
            let is_address = ["https://", "http://", "data:"].iter().any(|start| {
                text.get(..start.len())
                    .is_some_and(|head| head.eq_ignore_ascii_case(start))
            });
            is_address.then(|| text.clone())
        }
        Value::Array(list) => list.iter().find_map(|value| address_in(value, depth - 1)),
        Value::Object(object) => ["image", "images", "url", "output"]
            .into_iter()
            .filter_map(|name| object.get(name))
            .chain(object.values())
            .find_map(|value| address_in(value, depth - 1)),
        _ => None,
    }
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
