//! What an answer of Stability AI means: a picture, a filtered one, or an error.

use serde_json::{Value, json};

use crate::failure::ErrorClass;
use crate::provider::wire::errors::{Signs, judge_by_status};
use crate::provider::wire::reading::{Dialect, NoPicture};

/// What Stability AI means by its answers.
pub(super) const DIALECT: Dialect = Dialect {
    judge,
    refusal,
    usage: |answer| {
        let seed = answer.get("seed").filter(|seed| seed.is_number())?;
        Some(json!({ "seed": seed }))
    },
    ..Dialect::PLAIN
};

/// Why a picture that may be there is not to be used. One that was filtered is there, blurred.
fn refusal(answer: &Value) -> Option<NoPicture> {
    let reason = answer.get("finish_reason").and_then(Value::as_str)?;
    let (class, why) = match reason {
        "SUCCESS" | "" => return None,
        "CONTENT_FILTERED" => (
            ErrorClass::Moderation,
            "what was drawn was filtered, finish reason CONTENT_FILTERED",
        ),
        _ => (ErrorClass::BadOutput, "the finish reason is not SUCCESS"),
    };
    Some(NoPicture::new(class, why, ""))
}

/// Source: Stability AI, REST API v2beta, "Errors": `{"id", "name", "errors": […]}`.
fn judge(signs: &Signs<'_>) -> ErrorClass {
    let json = signs.body.json.as_ref();
    match json.and_then(|json| json.get("name")?.as_str()) {
        Some("content_moderation") => ErrorClass::Moderation,
        Some("unauthorized" | "permission_denied") => ErrorClass::Auth,
        Some("payment_required") => ErrorClass::Quota,
        Some("rate_limit_exceeded") => ErrorClass::RateLimited,
        Some("internal_error") => ErrorClass::Overloaded,
        Some("bad_request") => ErrorClass::InvalidRequest,
        _ => judge_by_status(signs),
    }
}
