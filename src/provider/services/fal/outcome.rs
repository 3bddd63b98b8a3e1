//! What fal's status, result and errors mean.

use serde_json::{Value, json};

use crate::failure::ErrorClass;
use crate::http_client::{Answer, BodyEnd};
use crate::provider::ProviderError;
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::errors::{Signs, judge_by_path};
use crate::provider::wire::incident::Incident;
use crate::provider::wire::json;
use crate::provider::wire::picture;
use crate::provider::wire::polling::{Look, Ready, progress_in};

/// The class of an answer that is not a success: by the type of its error, then by its status, whose repeat
/// the service may have ruled out.
///
/// Source: fal documentation, "Errors" (model errors, request errors, `X-Fal-Retryable`).
pub(super) fn judge(signs: &Signs<'_>) -> ErrorClass {
    let by_type = signs.by_word(class_of_type);
    let class = match (by_type, signs.status) {
        (Some(class), _) => class,
        (None, 403) if is_about_money(signs) => ErrorClass::Quota,
        (None, _) => judge_by_path(signs),
    };
    match (class, signs.is_repeatable) {
        (ErrorClass::Overloaded, Some(false)) => ErrorClass::InvalidRequest,
        (ErrorClass::Auth, _) if signs.status == 403 && is_about_money(signs) => ErrorClass::Quota,
        (class, _) => class,
    }
}

fn class_of_type(kind: &str) -> Option<ErrorClass> {
    Some(match kind {
        "content_policy_violation" => ErrorClass::Moderation,
        "no_media_generated" => ErrorClass::BadOutput,
        "auth_error" => ErrorClass::Auth,
        // Somebody has told the service that the picture is not wanted.
        "client_cancelled" | "client_disconnected" => ErrorClass::BadOutput,
        "request_timeout" | "startup_timeout" | "generation_timeout" => ErrorClass::Overloaded,
        "internal_error" | "internal_server_error" => ErrorClass::Overloaded,
        "downstream_service_error" | "downstream_service_unavailable" => ErrorClass::Overloaded,
        runner if runner.starts_with("runner_") => ErrorClass::Overloaded,
        "image_too_small"
        | "image_too_large"
        | "feature_not_supported"
        | "bad_request"
        | "image_load_error"
        | "file_download_error" => ErrorClass::InvalidRequest,
        // All others come from checking the request's fields, and their status says so.
        _ => return None,
    })
}

/// A 403 is for keys and for accounts alike.
fn is_about_money(signs: &Signs<'_>) -> bool {
    signs.says(&[
        "exhausted balance",
        "insufficient balance",
        "top up your balance",
        "user is locked",
    ])
}

/// How far a request is.
pub(super) enum Status {
    /// With the fraction that is done, where the model's logs tell.
    Going(Option<f32>),
    Completed,
    Failed(ProviderError),
}

/// Reads the answer of a status address. What is not known is waited for.
pub(super) fn read_status(status: &Value, incident: &Incident<'_>) -> Status {
    if status.get("status").and_then(Value::as_str) != Some("COMPLETED") {
        let logs = status.get("logs").and_then(Value::as_array);
        let mut messages = logs.into_iter().flatten().rev();
        return Status::Going(messages.find_map(|log| progress_in(log.get("message")?.as_str()?)));
    }
    let text = |name: &str| {
        status
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let (error, kind) = (text("error"), text("error_type"));
    // A type that is not known is explained by the result, with its status.
    match kind.and_then(class_of_type) {
        Some(class) => {
            let kind = kind.unwrap_or_default();
            let said = incident.said(error.unwrap_or_default());
            let why = format!("the request failed, type {kind}: {said}");
            Status::Failed(incident.error(class, &why))
        }
        None => Status::Completed,
    }
}

/// Reads the answer of a result address: the picture, or the error that the model ended with.
pub(super) fn read_result(answer: &Answer, incident: &Incident<'_>) -> Look {
    let status = answer.status.as_u16();
    if !answer.status.is_success() {
        let error = incident.answer(answer, judge);
        return match (is_explained(answer), status, error.class) {
            // Of this account now, not of the request, which has been completed.
            (_, _, ErrorClass::Auth | ErrorClass::Quota) => Look::Barred(error),
            // A type says that it is the model's own end, not a fault on the way to it.
            (true, ..) | (_, 400 | 422, _) => Look::Failed(error),
            (_, 404 | 410, _) => Look::Missing(ProviderError {
                class: ErrorClass::Ambiguous,
                ..error
            }),
            _ => Look::Unclear(error),
        };
    }
    let unclear = |why: &str| Look::Unclear(incident.unusable(answer, ErrorClass::Network, why));
    if answer.end != BodyEnd::Whole {
        return unclear("the result did not come whole");
    }
    match json::parse(&answer.body) {
        Ok(result) => picture_in(&result, answer, incident),
        Err(fault) => unclear(&fault.to_string()),
    }
}

fn is_explained(answer: &Answer) -> bool {
    let in_body = json::parse(&answer.body).is_ok_and(|json| {
        json.pointer("/detail/0/type").is_some() || json.get("error_type").is_some_and(Value::is_string)
    });
    in_body || answer.headers.contains_key("x-fal-error-type")
}

fn picture_in(result: &Value, answer: &Answer, incident: &Incident<'_>) -> Look {
    let is_blacked_out = result.pointer("/has_nsfw_concepts/0") == Some(&Value::Bool(true));
    if is_blacked_out {
        let why = "what was drawn was found unfit to be shown (has_nsfw_concepts)";
        return Look::Failed(incident.error(ErrorClass::Moderation, why));
    }
    match picture::find(result) {
        Some(Ok(picture)) => Look::Ready(Ready {
            picture,
            usage: billable_units(answer),
        }),
        Some(Err(fault)) => {
            let why = format!("the picture in the result {fault}");
            Look::Failed(incident.error(ErrorClass::BadOutput, &why))
        }
        None if ErrorBody::from_json(result.clone()).is_error => Look::Failed(incident.answer(answer, judge)),
        None => Look::Failed(incident.error(ErrorClass::BadOutput, "the result holds no picture")),
    }
}

fn billable_units(answer: &Answer) -> Option<Value> {
    let units = answer.headers.get("x-fal-billable-units")?.to_str().ok()?;
    let units: f64 = units.trim().parse().ok()?;
    units.is_finite().then(|| json!({ "billable_units": units }))
}
