//! What an error of a Google API means: its class, its wait, and what of it may be repeated.
//!
//! Source: Google Cloud, "Errors" (google.rpc.Status, ErrorInfo, QuotaFailure, RetryInfo); Gemini API,
//! "Troubleshooting guide" and "Rate limits"; Vertex AI, "API errors".

use serde_json::Value;

use crate::failure::ErrorClass;
use crate::provider::wire::error_body::{rpc, violations};
use crate::provider::wire::errors::{self, class_of_status};

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
        status => class_of_status(status),
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

/// The class of an answer that explains an error, whatever its status.
pub(in crate::provider) fn class_of(signs: &errors::Signs<'_>) -> ErrorClass {
    let error = signs.body.holder().unwrap_or(&Value::Null);
    let text = |holder: &'_ Value, name: &str| holder.get(name).and_then(Value::as_str).map(str::to_owned);
    let reasons: Vec<String> = rpc(error, "ErrorInfo")
        .filter_map(|info| text(info, "reason"))
        .collect();
    let quotas: Vec<String> = violations(error)
        .filter_map(|quota| text(quota, "quotaId"))
        .collect();
    let word = text(error, "status");
    let status = match signs.status {
        200..=299 => signs.body.code.as_ref().and_then(|code| code.parse().ok()),
        _ => None,
    };
    judge(&Signs {
        status: status.unwrap_or(signs.status),
        word: word.as_deref(),
        reasons: reasons.iter().map(String::as_str).collect(),
        quotas: quotas.iter().map(String::as_str).collect(),
        names_field: rpc(error, "BadRequest").next().is_some(),
        message: signs.message,
    })
}
