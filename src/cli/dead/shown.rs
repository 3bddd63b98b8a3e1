//! A dead package, as machines see it.

use base64::Engine;
use serde::Serialize;

use super::super::text::rfc3339;
use crate::db::DeadPackage;

/// One object of `--json` and `export`; the names are those of the mirror in Redis where it has them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    id: String,
    job_id: Option<i32>,
    error_class: &'a str,
    reason: &'a str,
    details: Option<&'a str>,
    attempts: i32,
    worker_id: &'a str,
    dead_at: String,
    retried_at: Option<String>,
    provider: Option<&'a str>,
    /// Whether `provider` was asked; otherwise the package names it.
    provider_was_asked: bool,
    payload_bytes: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// In the place of `payload` where that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// A package that was set aside, whole.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownSetAside<'a> {
    /// Its place: 0 was set aside first.
    set_aside: u64,
    payload_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl<'a> ShownSetAside<'a> {
    pub(super) fn new(place: u64, bytes: &'a [u8]) -> Self {
        let (payload, payload_base64) = text_or_base64(bytes);
        Self {
            set_aside: place,
            payload_bytes: bytes.len(),
            payload,
            payload_base64,
        }
    }
}

fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (
            None,
            Some(base64::engine::general_purpose::STANDARD.encode(bytes)),
        ),
    }
}

impl<'a> From<&'a DeadPackage> for Shown<'a> {
    fn from(package: &'a DeadPackage) -> Self {
        let (payload, payload_base64) = package.payload.as_deref().map(text_or_base64).unwrap_or_default();
        Self {
            id: package.id.to_string(),
            job_id: package.job_id,
            error_class: &package.error_class,
            reason: &package.reason,
            details: package.details.as_deref(),
            attempts: package.attempts,
            worker_id: &package.worker_id,
            dead_at: rfc3339(package.dead_at),
            retried_at: package.retried_at.map(rfc3339),
            provider: package.provider.as_deref(),
            provider_was_asked: package.was_asked,
            payload_bytes: package.payload_bytes,
            payload_base64,
            payload,
        }
    }
}
