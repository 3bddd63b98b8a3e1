//! A task as the service tells of it, and what an answer without one means.

use serde_json::Value;

use crate::failure::ErrorClass;
use crate::http_client::Answer;
use crate::provider::ProviderError;
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::polling::{Look, Ready, Report, Signs, class_of_status};

/// The class of an answer that is not a success. Source: Black Forest Labs, "Errors".
pub(super) fn judge(signs: &Signs<'_>) -> ErrorClass {
    class_of_status(signs.status)
}

/// A success that is no task.
pub(super) fn without_id(answer: &Answer, body: &Value, report: &Report<'_>) -> ProviderError {
    if is_moderated(&status_of(body)) {
        return report.error(ErrorClass::Moderation, &refusal(body, report));
    }
    if ErrorBody::from_json(body.clone()).is_error {
        return report.answer(answer, judge);
    }
    let why = format!("{}: the answer holds no task", answer.status.as_u16());
    report.error(ErrorClass::Ambiguous, &why)
}

/// What a task says of itself.
pub(super) fn look(task: &Value, report: &Report<'_>) -> Look {
    let status = status_of(task);
    match status.as_str() {
        "ready" => {
            let result = task.get("result");
            let sample = result.and_then(|result| result.get("sample")?.as_str());
            match sample.filter(|sample| !sample.is_empty()) {
                Some(url) => Look::Ready(Ready {
                    url: url.to_owned(),
                    usage: None,
                }),
                None => {
                    Look::Failed(report.error(ErrorClass::BadOutput, "the task is ready without a picture"))
                }
            }
        }
        moderated if is_moderated(moderated) => {
            Look::Failed(report.error(ErrorClass::Moderation, &refusal(task, report)))
        }
        "error" | "failed" => {
            let reason = ["error", "message", "details"]
                .into_iter()
                .filter_map(|name| task.get(name).or_else(|| task.get("result")?.get(name)))
                .find(|value| !value.is_null())
                .map(text_of)
                .unwrap_or_default();
            let why = format!("the task failed: {}", report.said(&reason));
            Look::Failed(report.error(ErrorClass::BadOutput, &why))
        }
        "task not found" => Look::Missing(report.error(
            ErrorClass::Ambiguous,
            "the service does not know the task: it has expired, or another host has it",
        )),
        _ => Look::Going(
            task.get("progress")
                .and_then(Value::as_f64)
                .map(|fraction| fraction as f32),
        ),
    }
}

/// Some answers name it `state`. Small letters, words apart by one space.
fn status_of(task: &Value) -> String {
    let status = ["status", "state"]
        .into_iter()
        .find_map(|name| task.get(name)?.as_str())
        .unwrap_or_default();
    status.to_lowercase().replace(['_', '-'], " ").trim().to_owned()
}

/// `Request Moderated` (the prompt) or `Content Moderated` (what was drawn).
fn is_moderated(status: &str) -> bool {
    matches!(status, "request moderated" | "content moderated")
}

fn refusal(task: &Value, report: &Report<'_>) -> String {
    let details = task.get("details").filter(|details| !details.is_null());
    let details = details.map(text_of).unwrap_or_default();
    format!("{}: {}", status_of(task), report.said(&details))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
