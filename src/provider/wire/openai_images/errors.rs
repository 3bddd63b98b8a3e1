//! What an answer without a picture means: its class, its wait, and what of it may be repeated.

use std::time::Duration;

use chrono::Utc;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::failure::ErrorClass;
use crate::http_client::{Answer, HttpFault, QUOTE_CHARS};
use crate::provider::ProviderError;
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::waits::{asked_wait, limit_reset};

/// Where the service says itself that an immediate repeat is of no use, the queue waits at least this long.
const NOT_AT_ONCE: Duration = Duration::from_secs(10);

/// What an answer is judged by, in this order: code and type, `x-should-retry`, status, message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs<'a> {
    /// HTTP status.
    pub status: u16,
    /// `error.code`.
    pub code: Option<&'a str>,
    /// `error.type`.
    pub kind: Option<&'a str>,
    /// `error.param`.
    pub param: Option<&'a str>,
    /// Whether `error.moderation_details` is there.
    pub has_moderation_details: bool,
    /// Header `x-should-retry`.
    pub should_retry: Option<bool>,
    /// Without the prompt: it could hold any of the phrases looked for.
    pub message: &'a str,
}

/// The class of an error answer of OpenAI, or of a service that imitates it.
///
/// Source: OpenAI guide "Error codes"; codes as OpenAI's images endpoint and its imitators send them.
#[must_use]
pub fn judge(signs: &Signs<'_>) -> ErrorClass {
    if signs.has_moderation_details {
        return ErrorClass::Moderation;
    }
    if let Some(class) = [signs.code, signs.kind]
        .into_iter()
        .flatten()
        .find_map(class_of_word)
    {
        return match class {
            ErrorClass::RateLimited if allows_nothing(signs.message) => ErrorClass::Quota,
            // A gateway gave up waiting: whatever it says, the service behind it may go on drawing.
            ErrorClass::Overloaded if is_timeout(signs.status) => ErrorClass::Ambiguous,
            class => class,
        };
    }
    if is_model_gone(signs) {
        return ErrorClass::ModelGone;
    }
    let by_status = class_of_status(signs.status);
    match signs.should_retry {
        Some(true) if !by_status.is_retried() => return ErrorClass::Overloaded,
        Some(false) if by_status == ErrorClass::RateLimited => return ErrorClass::Quota,
        Some(false) if by_status == ErrorClass::Overloaded => return ErrorClass::InvalidRequest,
        _ => {}
    }
    match signs.status {
        429 if allows_nothing(signs.message) => ErrorClass::Quota,
        200..=299 | 400 | 422 => class_of_phrase(signs).unwrap_or(by_status),
        _ => by_status,
    }
}

fn class_of_word(word: &str) -> Option<ErrorClass> {
    Some(match word {
        "moderation_blocked"
        | "content_policy_violation"
        | "content_filter"
        | "contentFilter"
        | "image_content_policy_violation" => ErrorClass::Moderation,
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "organization_spend_limit_exceeded"
        | "project_spend_limit_exceeded"
        | "organization_usage_limit_exceeded"
        | "billing_hard_limit_reached"
        | "billing_not_active" => ErrorClass::Quota,
        "invalid_api_key" | "unsupported_country_region_territory" => ErrorClass::Auth,
        "model_not_found" | "DeploymentNotFound" => ErrorClass::ModelGone,
        "rate_limit_exceeded" | "slow_down" | "rate_limit_error" | "requests" | "tokens" => {
            ErrorClass::RateLimited
        }
        "server_error" | "service_unavailable_error" | "server_is_overloaded" => ErrorClass::Overloaded,
        "unknown_parameter" | "invalid_value" | "missing_required_parameter" => ErrorClass::InvalidRequest,
        // `invalid_request_error` and `image_generation_user_error` are on refused keys, dead models and
        // refused prompts alike and say no more than the status.
        _ => return None,
    })
}

fn class_of_status(status: u16) -> ErrorClass {
    match status {
        // A success without a picture.
        200..=299 => ErrorClass::BadOutput,
        401 | 403 | 407 => ErrorClass::Auth,
        402 => ErrorClass::Quota,
        410 => ErrorClass::ModelGone,
        429 => ErrorClass::RateLimited,
        _ if is_timeout(status) => ErrorClass::Ambiguous,
        409 | 425 | 500..=599 => ErrorClass::Overloaded,
        _ => ErrorClass::InvalidRequest,
    }
}

/// Something between us and the service stopped waiting, or lost the answer (520 and 524: Cloudflare).
fn is_timeout(status: u16) -> bool {
    matches!(status, 408 | 499 | 504 | 520 | 524)
}

fn is_model_gone(signs: &Signs<'_>) -> bool {
    let message = signs.message.to_lowercase();
    let says_gone = [
        "does not exist",
        "deprecated",
        "has been shut down",
        "no longer available",
    ]
    .iter()
    .any(|phrase| message.contains(phrase));
    signs.status == 404 && (signs.param == Some("model") || (message.contains("model") && says_gone))
}

/// "Limit: 0/1min": the account may not use this model at all, and waiting does not help.
fn allows_nothing(message: &str) -> bool {
    message.to_lowercase().contains("limit: 0/")
}

/// Phrases mislead, so they count last, and not at all where a field of the request is named.
fn class_of_phrase(signs: &Signs<'_>) -> Option<ErrorClass> {
    if signs.param.is_some() {
        return None;
    }
    let message = signs.message.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    if says(&[
        "safety system",
        "safety_violations",
        "content policy",
        "content_policy",
    ]) {
        Some(ErrorClass::Moderation)
    } else if says(&["billing hard limit", "exceeded your current quota"]) {
        Some(ErrorClass::Quota)
    } else {
        None
    }
}

/// The id under which the service's support finds the call.
///
/// Source: OpenAI API reference, "Debugging requests"; Azure API Management sends `apim-request-id`.
pub(in crate::provider) fn request_id<'a>(headers: &'a HeaderMap, incident: &Incident<'_>) -> Option<String> {
    let named = |name: &str| -> Option<&'a str> { headers.get(name)?.to_str().ok() };
    ["x-request-id", "apim-request-id"]
        .into_iter()
        .find_map(|name| incident.id(named(name)?))
}

/// What a service means by signs of its own, looked at before [`judge`].
pub(in crate::provider) type OwnSigns = fn(&Signs<'_>, &ErrorBody) -> Option<ErrorClass>;

/// Describes one failed call to the operator, without its prompt and key.
pub(in crate::provider) struct Report<'a> {
    /// Who was asked, and what of it must not be repeated.
    pub(in crate::provider) incident: Incident<'a>,
    /// What this service means by signs of its own.
    pub(in crate::provider) own_signs: OwnSigns,
}

impl<'a> Report<'a> {
    /// A report on a service that means by everything what OpenAI means.
    pub(in crate::provider) fn new(incident: Incident<'a>) -> Self {
        Self {
            incident,
            own_signs: |_, _| None,
        }
    }

    /// An error without an answer.
    pub(in crate::provider) fn error(&self, class: ErrorClass, why: &str) -> ProviderError {
        self.incident.error(class, why)
    }

    /// There is no status to look at.
    pub(in crate::provider) fn fault(&self, fault: &HttpFault) -> ProviderError {
        self.incident.fault(fault)
    }

    /// A successful answer without a usable picture.
    pub(in crate::provider) fn unusable(
        &self,
        answer: &Answer,
        class: ErrorClass,
        why: &str,
    ) -> ProviderError {
        let request_id = self.request_id(answer);
        let request = about("request", request_id.as_deref());
        let why = format!("{}{request}: {why}", answer.status.as_u16());
        ProviderError {
            request_id,
            ..self.error(class, &why)
        }
    }

    /// An answer that explains an error, whatever its status.
    pub(in crate::provider) fn answer(&self, answer: &Answer) -> ProviderError {
        let body = ErrorBody::parse(&answer.body);
        let message = self.incident.masked(&body.message);
        let should_retry = answer
            .headers
            .get("x-should-retry")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let signs = Signs {
            status: answer.status.as_u16(),
            code: body.code.as_deref(),
            kind: body.kind.as_deref(),
            param: body.param.as_deref(),
            has_moderation_details: moderation_details(&body).is_some(),
            should_retry,
            message: &message,
        };
        let class = (self.own_signs)(&signs, &body).unwrap_or_else(|| judge(&signs));
        let request_id = self.request_id(answer);
        let words = [
            ("code", body.code.as_deref()),
            ("type", body.kind.as_deref()),
            ("param", body.param.as_deref()),
            ("request", request_id.as_deref()),
        ];
        let said = self.incident.said(answer.status, &words, &message) + &self.moderation_stage(&body);
        ProviderError {
            retry_after: wait(class, answer, &body, &message, should_retry),
            request_id: request_id.clone(),
            ..self.error(class, &said)
        }
    }

    fn request_id(&self, answer: &Answer) -> Option<String> {
        request_id(&answer.headers, &self.incident)
    }

    /// Which stage refused, and why: OpenAI asks to keep this for developers.
    fn moderation_stage(&self, body: &ErrorBody) -> String {
        let details = moderation_details(body);
        details
            .map(|details| format!(", moderation {}", self.incident.masked(&details.to_string())))
            .map(|text| text.chars().take(QUOTE_CHARS).collect())
            .unwrap_or_default()
    }
}

fn moderation_details(body: &ErrorBody) -> Option<&Value> {
    let details = body.json.as_ref()?.pointer("/error/moderation_details");
    details.filter(|details| !details.is_null())
}

fn wait(
    class: ErrorClass,
    answer: &Answer,
    body: &ErrorBody,
    message: &str,
    should_retry: Option<bool>,
) -> Option<Duration> {
    if !class.is_retried() {
        return None;
    }
    let asked = asked_wait(&answer.headers, body.json.as_ref(), message, Utc::now());
    let asked = match class {
        ErrorClass::RateLimited => asked.or_else(|| limit_reset(&answer.headers)),
        _ => asked,
    };
    if should_retry == Some(false) {
        return Some(asked.unwrap_or_default().max(NOT_AT_ONCE));
    }
    asked
}

fn about(name: &str, word: Option<&str>) -> String {
    word.map(|word| format!(", {name} {word}")).unwrap_or_default()
}
