//! A task as the service tells of it, and what an answer without one means.

use serde_json::Value;

use crate::failure::ErrorClass;
use crate::provider::ProviderError;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::picture;
use crate::provider::wire::polling::{Look, Ready};

/// What stands in place of a task that was refused at once.
pub(super) fn moderation(body: &Value, incident: &Incident<'_>) -> Option<ProviderError> {
    is_moderated(&status_of(body)).then(|| incident.error(ErrorClass::Moderation, &refusal(body, incident)))
}

/// What a task says of itself.
pub(super) fn look(task: &Value, incident: &Incident<'_>) -> Look {
    let status = status_of(task);
    match status.as_str() {
        "ready" => match picture::find(task) {
            Some(Ok(picture)) => Look::Ready(Ready { picture, usage: None }),
            _ => Look::Failed(incident.error(ErrorClass::BadOutput, "the task is ready without a picture")),
        },
        moderated if is_moderated(moderated) => {
            Look::Failed(incident.error(ErrorClass::Moderation, &refusal(task, incident)))
        }
        "error" | "failed" => {
            let reason = ["error", "message", "details"]
                .into_iter()
                .filter_map(|name| task.get(name).or_else(|| task.get("result")?.get(name)))
                .find(|value| !value.is_null())
                .map(text_of)
                .unwrap_or_default();
            let why = format!("the task failed: {}", incident.said(&reason));
            Look::Failed(incident.error(ErrorClass::BadOutput, &why))
        }
        "task not found" => Look::Missing(incident.error(
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

fn refusal(task: &Value, incident: &Incident<'_>) -> String {
    let details = task.get("details").filter(|details| !details.is_null());
    let details = details.map(text_of).unwrap_or_default();
    format!("{}: {}", status_of(task), incident.said(&details))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
