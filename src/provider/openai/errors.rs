//! What an answer without a picture means: its class, its wait, and what of it may be repeated.

use std::time::Duration;

use chrono::Utc;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::NAME;
use crate::failure::ErrorClass;
use crate::http_client::{Answer, QUOTE_CHARS, mask, quote};
use crate::provider::ProviderError;
use crate::provider::error_body::ErrorBody;
use crate::provider::waits::{asked_wait, limit_reset};

/// Where the service says itself that an immediate repeat is of no use, the queue waits at least this long.
const NOT_AT_ONCE: Duration = Duration::from_secs(10);
/// Longest code, type or field name that is repeated.
const WORD_CHARS: usize = 64;

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

/// The id under which the service's support finds the call. Source: OpenAI API reference, "Debugging requests".
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (!id.is_empty() && id.len() <= 128 && id.bytes().all(is_plain)).then(|| id.to_owned())
}

/// Describes one failed call to the operator, without its prompt and key.
pub(super) struct Report<'a> {
    /// Path of the call, without query.
    pub(super) path: &'a str,
    /// To be removed from whatever is repeated.
    pub(super) prompt: &'a str,
    /// To be removed too.
    pub(super) secret: Option<&'a str>,
}

impl Report<'_> {
    /// An error without an answer.
    pub(super) fn error(&self, class: ErrorClass, why: &str) -> ProviderError {
        ProviderError {
            provider: NAME,
            class,
            details: format!("POST {}: {why}", self.path),
            request_id: None,
            retry_after: None,
        }
    }

    /// A successful answer without a usable picture.
    pub(super) fn unusable(&self, answer: &Answer, class: ErrorClass, why: &str) -> ProviderError {
        let request_id = self.request_id(answer);
        let request = about("request", request_id.as_deref());
        let why = format!("{}{request}: {why}", answer.status.as_u16());
        ProviderError {
            request_id,
            ..self.error(class, &why)
        }
    }

    /// An answer that explains an error, whatever its status.
    pub(super) fn answer(&self, answer: &Answer) -> ProviderError {
        let body = ErrorBody::parse(&answer.body);
        let message = self.masked(&body.message);
        let should_retry = answer
            .headers
            .get("x-should-retry")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let class = judge(&Signs {
            status: answer.status.as_u16(),
            code: body.code.as_deref(),
            kind: body.kind.as_deref(),
            param: body.param.as_deref(),
            has_moderation_details: body.json.as_ref().is_some_and(|json| {
                json.pointer("/error/moderation_details")
                    .is_some_and(|details| !details.is_null())
            }),
            should_retry,
            message: &message,
        });
        let request_id = self.request_id(answer);
        let retry_after = self.wait(class, answer, &body, &message, should_retry);
        let about = [
            about("code", self.word(&body.code).as_deref()),
            about("type", self.word(&body.kind).as_deref()),
            about("param", self.word(&body.param).as_deref()),
            self.moderation_stage(&body),
            about("request", request_id.as_deref()),
        ]
        .concat();
        let said = match quote(&message) {
            empty if empty.is_empty() => "without an explanation".to_owned(),
            said => format!("{said:?}"),
        };
        let why = format!("{}{about}: {said}", named(answer.status));
        ProviderError {
            request_id,
            retry_after,
            ..self.error(class, &why)
        }
    }

    fn wait(
        &self,
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

    fn masked(&self, text: &str) -> String {
        mask(text, self.secret.as_slice(), self.prompt)
    }

    fn word(&self, word: &Option<String>) -> Option<String> {
        let word = self.masked(word.as_ref()?);
        Some(word.chars().take(WORD_CHARS).collect())
    }

    fn request_id(&self, answer: &Answer) -> Option<String> {
        request_id(&answer.headers).filter(|id| self.masked(id) == *id)
    }

    /// Which stage refused, and why: OpenAI asks to keep this for developers.
    fn moderation_stage(&self, body: &ErrorBody) -> String {
        let details = body
            .json
            .as_ref()
            .and_then(|json| json.pointer("/error/moderation_details"))
            .filter(|details| !details.is_null());
        details
            .map(|details| format!(", moderation {}", self.masked(&details.to_string())))
            .map(|text| text.chars().take(QUOTE_CHARS).collect())
            .unwrap_or_default()
    }
}

fn about(name: &str, word: Option<&str>) -> String {
    word.map(|word| format!(", {name} {word}")).unwrap_or_default()
}

fn named(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}
