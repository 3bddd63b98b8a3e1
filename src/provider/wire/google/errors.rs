//! What an error of a Google API means: its class, its wait, and what of it may be repeated.
//!
//! Source: Google Cloud, "Errors" (google.rpc.Status, ErrorInfo, QuotaFailure, RetryInfo); Gemini API,
//! "Troubleshooting guide" and "Rate limits"; Vertex AI, "API errors".

use chrono::Utc;
use serde_json::Value;

use crate::failure::ErrorClass;
use crate::http_client::Answer;
use crate::provider::ProviderError;
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::waits::asked_wait;

/// What an answer is judged by, in this order: reasons and quotas, `error.status` and the HTTP status, the message.
#[derive(Debug, Default)]
pub(super) struct Signs<'a> {
    /// HTTP status; of a success that holds an error, `error.code`.
    pub(super) status: u16,
    /// `error.status`, such as `RESOURCE_EXHAUSTED`.
    pub(super) word: Option<&'a str>,
    /// `reason` of every `ErrorInfo`.
    pub(super) reasons: Vec<&'a str>,
    /// `quotaId` of every violated quota.
    pub(super) quotas: Vec<&'a str>,
    /// Whether a field of the request is said to be wrong.
    pub(super) names_field: bool,
    /// Without the prompt: it could hold any of the phrases looked for.
    pub(super) message: &'a str,
}

pub(super) fn judge(signs: &Signs<'_>) -> ErrorClass {
    let message = signs.message.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    if let Some(class) = signs.reasons.iter().find_map(|reason| class_of_reason(reason)) {
        return class;
    }
    let is_limited = signs.status == 429 || signs.word == Some("RESOURCE_EXHAUSTED");
    let is_daily = signs.quotas.iter().any(|quota| quota.contains("PerDay"));
    if is_limited && (is_daily || allows_nothing(&message)) {
        return ErrorClass::Quota;
    }
    match signs.word {
        Some("RESOURCE_EXHAUSTED") => return ErrorClass::RateLimited,
        Some("UNAUTHENTICATED" | "PERMISSION_DENIED") => return ErrorClass::Auth,
        Some("NOT_FOUND") => return ErrorClass::ModelGone,
        // With its own words the service says that it has given up; without them something between has.
        Some("CANCELLED" | "INTERNAL" | "UNAVAILABLE" | "DEADLINE_EXCEEDED" | "UNKNOWN" | "ABORTED") => {
            return ErrorClass::Overloaded;
        }
        _ => {}
    }
    match signs.status {
        // A success without a picture.
        200..=299 => ErrorClass::BadOutput,
        400 | 422 if signs.names_field => ErrorClass::InvalidRequest,
        400 | 422 if says(&["api key not valid", "api key expired", "api key not found"]) => ErrorClass::Auth,
        400 | 422
            if signs.word == Some("FAILED_PRECONDITION") && says(&["location", "country", "billing"]) =>
        {
            ErrorClass::Auth
        }
        400 | 422
            if says(&[
                "blocked",
                "responsible ai",
                "safety filter",
                "safety polic",
                "usage guidelines",
            ]) =>
        {
            ErrorClass::Moderation
        }
        401 | 403 | 407 => ErrorClass::Auth,
        402 => ErrorClass::Quota,
        410 => ErrorClass::ModelGone,
        429 => ErrorClass::RateLimited,
        408 | 499 | 504 | 520 | 524 => ErrorClass::Ambiguous,
        409 | 425 | 500..=599 => ErrorClass::Overloaded,
        _ => ErrorClass::InvalidRequest,
    }
}

/// "limit: 0": the account may not use this model at all, and waiting does not help.
fn allows_nothing(message: &str) -> bool {
    message.match_indices("limit: 0").any(|(at, found)| {
        !message[at + found.len()..].starts_with(|next: char| next.is_ascii_digit() || next == '.')
    })
}

fn class_of_reason(reason: &str) -> Option<ErrorClass> {
    Some(match reason {
        "MODEL_CAPACITY_EXHAUSTED" => ErrorClass::Overloaded,
        "API_KEY_INVALID"
        | "API_KEY_EXPIRED"
        | "API_KEY_SERVICE_BLOCKED"
        | "SERVICE_DISABLED"
        | "BILLING_DISABLED"
        | "CONSUMER_INVALID"
        | "CONSUMER_SUSPENDED"
        | "ACCESS_TOKEN_EXPIRED"
        | "ACCESS_TOKEN_TYPE_UNSUPPORTED"
        | "IAM_PERMISSION_DENIED"
        | "USER_PROJECT_DENIED" => ErrorClass::Auth,
        _ => return None,
    })
}

/// Describes an answer that explains an error, whatever its status.
pub(in crate::provider) fn explain(incident: &Incident<'_>, answer: &Answer) -> ProviderError {
    let body = ErrorBody::parse(&answer.body);
    // Some gateways wrap the object in a list.
    let json = body.json.as_ref().map(|json| json.get(0).unwrap_or(json));
    let error = json.and_then(|json| json.get("error"));
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let word = text(error.and_then(|error| error.get("status")));
    let details: Vec<&Value> = error
        .and_then(|error| error.get("details")?.as_array())
        .into_iter()
        .flatten()
        .collect();
    let of_kind = |kind: &str| {
        let kind = format!("google.rpc.{kind}");
        details.iter().copied().filter(move |detail| {
            let found = detail.get("@type").and_then(Value::as_str).unwrap_or_default();
            found.ends_with(&kind)
        })
    };
    let reasons: Vec<&str> = of_kind("ErrorInfo")
        .filter_map(|detail| detail.get("reason")?.as_str())
        .collect();
    let quotas: Vec<&str> = of_kind("QuotaFailure")
        .filter_map(|detail| detail.get("violations")?.as_array())
        .flatten()
        .filter_map(|violation| violation.get("quotaId")?.as_str())
        .collect();
    let message = incident.masked(&body.message);
    let status = match answer.status.as_u16() {
        200..=299 => body.code.as_ref().and_then(|code| code.parse().ok()),
        _ => None,
    };
    let class = judge(&Signs {
        status: status.unwrap_or(answer.status.as_u16()),
        word: word.as_deref(),
        reasons: reasons.clone(),
        quotas: quotas.clone(),
        names_field: of_kind("BadRequest").next().is_some(),
        message: &message,
    });
    let request_id = of_kind("RequestInfo")
        .find_map(|detail| detail.get("requestId")?.as_str())
        .and_then(|id| incident.id(id));
    let why = incident.said(
        answer.status,
        &[
            ("status", word.as_deref()),
            ("reason", reasons.first().copied()),
            ("quota", quotas.first().copied()),
            ("request", request_id.as_deref()),
        ],
        &body.message,
    );
    ProviderError {
        request_id,
        retry_after: asked_wait(&answer.headers, json, &message, Utc::now()).filter(|_| class.is_retried()),
        ..incident.error(class, &why)
    }
}
