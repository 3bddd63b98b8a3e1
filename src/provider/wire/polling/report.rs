//! What an answer without a picture means, and what of it may be repeated to an operator.

use std::time::Duration;

use chrono::Utc;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::failure::ErrorClass;
use crate::http_client::{Answer, HttpFault, mask, quote};
use crate::provider::ProviderError;
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::waits::{asked_wait, limit_reset};

/// Longest code, type or field name that is repeated.
const WORD_CHARS: usize = 64;

/// What an answer is judged by.
#[derive(Clone, Copy, Debug)]
pub(in crate::provider) struct Signs<'a> {
    /// HTTP status.
    pub(in crate::provider) status: u16,
    /// Every code and type that the answer names, the ones closest to the cause first.
    pub(in crate::provider) kinds: &'a [String],
    /// What the service says of a repeat, where it says so.
    pub(in crate::provider) is_retryable: Option<bool>,
    /// Without the prompt: it could hold any of the phrases looked for.
    pub(in crate::provider) message: &'a str,
}

/// Turns the signs of an answer into its class; one for each service.
pub(in crate::provider) type Judge = fn(&Signs<'_>) -> ErrorClass;

/// What a status means by itself.
pub(in crate::provider) fn class_of_status(status: u16) -> ErrorClass {
    match status {
        200..=299 => ErrorClass::BadOutput,
        401 | 403 | 407 => ErrorClass::Auth,
        402 => ErrorClass::Quota,
        404 | 410 => ErrorClass::ModelGone,
        // Something on the way stopped waiting or lost the answer (520 and 524: Cloudflare).
        408 | 499 | 504 | 520 | 524 => ErrorClass::Ambiguous,
        429 => ErrorClass::RateLimited,
        409 | 425 | 500..=599 => ErrorClass::Overloaded,
        _ => ErrorClass::InvalidRequest,
    }
}

/// Describes to an operator what failed, without the prompt and the key.
#[derive(Clone, Debug)]
pub(in crate::provider) struct Report<'a> {
    /// Name of the provider.
    pub(in crate::provider) provider: &'static str,
    /// Method and path, without query.
    pub(in crate::provider) action: String,
    /// To be removed from whatever is repeated.
    pub(in crate::provider) prompt: &'a str,
    /// To be removed too.
    pub(in crate::provider) secret: Option<&'a str>,
    /// The service's own id of the call, once it is known.
    pub(in crate::provider) id: Option<String>,
}

impl Report<'_> {
    /// The same for another action.
    pub(in crate::provider) fn of(&self, action: String) -> Self {
        Self {
            action,
            ..self.clone()
        }
    }

    /// The same, with the service's own id of the call, where it is fit to be repeated.
    pub(in crate::provider) fn known_as(&self, id: &str) -> Self {
        Self {
            id: self.fit(id),
            ..self.clone()
        }
    }

    /// An error without an answer.
    pub(in crate::provider) fn error(&self, class: ErrorClass, why: &str) -> ProviderError {
        let about_id = about("request", self.id.as_deref());
        ProviderError {
            provider: self.provider,
            class,
            details: format!("{}{about_id}: {why}", self.action),
            request_id: self.id.clone(),
            retry_after: None,
        }
    }

    /// No answer at all.
    pub(in crate::provider) fn fault(&self, fault: &HttpFault) -> ProviderError {
        self.error(fault.class(), &fault.to_string())
    }

    /// Words of the service that explain a failure, as they may be repeated.
    pub(in crate::provider) fn said(&self, words: &str) -> String {
        match quote(&self.masked(words)) {
            empty if empty.is_empty() => "without an explanation".to_owned(),
            said => format!("{said:?}"),
        }
    }

    /// `text` without key and prompt.
    pub(in crate::provider) fn masked(&self, text: &str) -> String {
        mask(text, self.secret.as_slice(), self.prompt)
    }

    /// An answer that explains an error, whatever its status.
    pub(in crate::provider) fn answer(&self, answer: &Answer, judge: Judge) -> ProviderError {
        let body = ErrorBody::parse(&answer.body);
        let message = self.masked(&body.message);
        let kinds = kinds(answer, &body);
        let status = answer.status.as_u16();
        let class = judge(&Signs {
            status,
            kinds: &kinds,
            is_retryable: is_retryable(&answer.headers),
            message: &message,
        });
        let id = self.id.clone().or_else(|| self.id_in(&answer.headers));
        let about = [
            about("type", kinds.first().map(|kind| self.word(kind)).as_deref()),
            about("field", self.field(&body).as_deref()),
            about("request", id.as_deref()),
        ]
        .concat();
        let said = self.said(&message);
        ProviderError {
            provider: self.provider,
            class,
            details: format!("{}: {}{about}: {said}", self.action, named(answer.status)),
            request_id: id,
            retry_after: wait(class, answer, &body, &message),
        }
    }

    fn word(&self, word: &str) -> String {
        self.masked(word).chars().take(WORD_CHARS).collect()
    }

    /// Which field of the request is meant.
    fn field(&self, body: &ErrorBody) -> Option<String> {
        let json = body.json.as_ref()?;
        let field = json
            .pointer("/invalid_fields/0/field")
            .and_then(Value::as_str)
            .map(str::to_owned)
            .or_else(|| {
                let place = json.pointer("/detail/0/loc")?.as_array()?;
                let parts: Vec<&str> = place.iter().filter_map(Value::as_str).collect();
                (!parts.is_empty()).then(|| parts.join("."))
            })?;
        Some(self.word(&field))
    }

    fn id_in(&self, headers: &HeaderMap) -> Option<String> {
        ["x-fal-request-id", "x-request-id"]
            .into_iter()
            .find_map(|name| self.fit(headers.get(name)?.to_str().ok()?))
    }

    fn fit(&self, id: &str) -> Option<String> {
        (is_plain_id(id) && self.masked(id) == id).then(|| id.to_owned())
    }
}

/// Whether an id is no more than an id: it goes into paths, logs and rows.
pub(in crate::provider) fn is_plain_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !id.is_empty() && id.len() <= 128 && id.bytes().all(is_plain) && !id.starts_with('.')
}

fn kinds(answer: &Answer, body: &ErrorBody) -> Vec<String> {
    let mut kinds = Vec::new();
    if let Some(json) = &body.json {
        let details = json.get("detail").and_then(Value::as_array);
        let of_details = details.into_iter().flatten().take(5);
        kinds.extend(of_details.filter_map(|detail| text_of(detail.get("type")?)));
        kinds.extend(json.get("error_type").and_then(text_of));
    }
    kinds.extend(body.code.clone());
    kinds.extend(body.kind.clone());
    let header = answer.headers.get("x-fal-error-type");
    kinds.extend(header.and_then(|kind| Some(kind.to_str().ok()?.to_owned())));
    kinds
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn is_retryable(headers: &HeaderMap) -> Option<bool> {
    headers.get("x-fal-retryable")?.to_str().ok()?.trim().parse().ok()
}

fn wait(class: ErrorClass, answer: &Answer, body: &ErrorBody, message: &str) -> Option<Duration> {
    if !class.is_retried() {
        return None;
    }
    let asked = asked_wait(&answer.headers, body.json.as_ref(), message, Utc::now());
    match class {
        ErrorClass::RateLimited => asked.or_else(|| limit_reset(&answer.headers)),
        _ => asked,
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

/// The last percentage of a progress bar in a model's logs: `45%|████▌     | 14/31`.
pub(in crate::provider) fn progress_in(logs: &str) -> Option<f32> {
    let before = logs.rsplit_once("%|")?.0;
    let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let percent: u8 = before[before.len() - digits..].parse().ok()?;
    (percent <= 100).then(|| f32::from(percent) / 100.0)
}
