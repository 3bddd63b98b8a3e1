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

impl<'a> From<&'a DeadPackage> for Shown<'a> {
    fn from(package: &'a DeadPackage) -> Self {
        let bytes = package.payload.as_deref();
        let payload = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
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
            payload_base64: bytes
                .filter(|_| payload.is_none())
                .map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes)),
            payload,
        }
    }
}
