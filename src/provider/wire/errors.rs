//! What an answer means that explains an error: its class, its wait, and what of it may be repeated.

use std::time::Duration;

use chrono::Utc;
use reqwest::header::HeaderMap;

use super::error_body::ErrorBody;
use super::incident::Incident;
use super::waits::{asked_wait, limit_reset};
use crate::failure::ErrorClass;
use crate::http_client::{Answer, QUOTE_CHARS};
use crate::provider::ProviderError;

/// Where the service says itself that an immediate repeat is of no use, the queue waits at least this long.
const NOT_AT_ONCE: Duration = Duration::from_secs(10);

/// What an answer is judged by.
#[derive(Clone, Copy, Debug)]
pub(in crate::provider) struct Signs<'a> {
    /// HTTP status.
    pub(in crate::provider) status: u16,
    /// What the answer explains.
    pub(in crate::provider) body: &'a ErrorBody,
    /// What the service says of a repeat, where it says so.
    pub(in crate::provider) is_repeatable: Option<bool>,
    /// In small letters, and without the prompt: it could hold any of the phrases looked for.
    pub(in crate::provider) message: &'a str,
}

impl Signs<'_> {
    /// Whether the message holds one of these phrases.
    pub(in crate::provider) fn says(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.message.contains(phrase))
    }

    /// The class of the first code or type that has one.
    pub(in crate::provider) fn by_word(&self, class: fn(&str) -> Option<ErrorClass>) -> Option<ErrorClass> {
        self.body.kinds.iter().find_map(|kind| class(kind))
    }
}

/// Turns the signs of an answer into its class; one for each service.
pub(in crate::provider) type Judge = fn(&Signs<'_>) -> ErrorClass;

/// What a status means by itself.
pub(in crate::provider) fn class_of_status(status: u16) -> ErrorClass {
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

/// Something between us and the service stopped waiting, or lost the answer (520 and 524: Cloudflare), and the service
/// may go on drawing.
pub(in crate::provider) fn is_timeout(status: u16) -> bool {
    matches!(status, 408 | 499 | 504 | 520 | 524)
}

/// For services without words of their own: those that gateways in front of them share, then the status.
pub(in crate::provider) fn judge_by_status(signs: &Signs<'_>) -> ErrorClass {
    let word = |word: &str| match word {
        "insufficient_quota" => Some(ErrorClass::Quota),
        _ => None,
    };
    signs
        .by_word(word)
        .unwrap_or_else(|| class_of_status(signs.status))
}

/// The same where the path names the model: one that is not there is gone.
pub(in crate::provider) fn judge_by_path(signs: &Signs<'_>) -> ErrorClass {
    match judge_by_status(signs) {
        ErrorClass::InvalidRequest if signs.status == 404 => ErrorClass::ModelGone,
        class => class,
    }
}

impl Incident<'_> {
    /// An answer that explains an error, whatever its status.
    pub(in crate::provider) fn answer(&self, answer: &Answer, judge: Judge) -> ProviderError {
        self.explained(answer, &ErrorBody::of(answer), judge)
    }

    /// The same, whose body has been read already.
    pub(in crate::provider) fn explained(
        &self,
        answer: &Answer,
        body: &ErrorBody,
        judge: Judge,
    ) -> ProviderError {
        let message = self.masked(&body.message);
        let is_repeatable = is_repeatable(&answer.headers);
        let class = judge(&Signs {
            status: answer.status.as_u16(),
            body,
            is_repeatable,
            message: &message.to_lowercase(),
        });
        let named = || body.request_id.as_deref().and_then(|id| self.id_fit(id));
        let id = self.id.clone().or_else(|| self.id_in(answer)).or_else(named);
        let mut about = match answer.status.canonical_reason() {
            Some(reason) => format!("{} {reason}", answer.status.as_u16()),
            None => answer.status.as_u16().to_string(),
        };
        let words = body.words.iter().map(|(name, word)| (*name, self.word(word)));
        for (name, word) in words.chain(id.clone().map(|id| ("request", id))) {
            about.push_str(&format!(", {name} {word}"));
        }
        about.push_str(&format!(": {}", self.said(&body.message)));
        // Which stage refused, and why: OpenAI asks to keep this for developers.
        if let Some(details) = body.moderation_details() {
            let details = format!(", moderation {}", self.masked(&details.to_string()));
            about.extend(details.chars().take(QUOTE_CHARS));
        }
        ProviderError {
            provider: self.provider,
            class,
            details: format!("{}: {about}", self.request),
            request_id: id,
            retry_after: wait(class, answer, body, &message, is_repeatable),
        }
    }
}

/// Source: OpenAI's official SDKs, `x-should-retry`; fal documentation, "Errors", `X-Fal-Retryable`.
fn is_repeatable(headers: &HeaderMap) -> Option<bool> {
    ["x-should-retry", "x-fal-retryable"]
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok()?.trim().parse().ok())
}

fn wait(
    class: ErrorClass,
    answer: &Answer,
    body: &ErrorBody,
    message: &str,
    is_repeatable: Option<bool>,
) -> Option<Duration> {
    if !class.is_retried() {
        return None;
    }
    let asked = asked_wait(&answer.headers, body.outer(), message, Utc::now());
    let asked = match class {
        ErrorClass::RateLimited => asked.or_else(|| limit_reset(&answer.headers)),
        _ => asked,
    };
    match is_repeatable {
        Some(false) => Some(asked.unwrap_or_default().max(NOT_AT_ONCE)),
        _ => asked,
    }
}
