//! A job's story as lines, and its failed lives as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::super::text::rfc3339;
use crate::db::DeadPackage;
use crate::ops::words::{Facts, Life};
use crate::plain_text::plain;

/// The whole story.
pub(super) fn tell(life: &Life) -> String {
    let mut text = String::new();
    let mut part = |title: &str, facts: Facts| {
        let _ = writeln!(text, "{}", plain(title));
        for (name, value) in facts {
            let _ = writeln!(text, "  {name:<9} {}", plain(&value));
        }
    };
    part(&life.headline(), life.facts());
    for chapter in life.chapters() {
        part(&chapter.title, chapter.facts);
    }
    text
}

/// A dead package within a job's JSON.
pub(super) fn dead_json(package: &DeadPackage) -> Value {
    json!({
        "id": package.id,
        "errorClass": package.error_class,
        "reason": package.reason,
        "details": package.details,
        "attempts": package.attempts,
        "workerId": package.worker_id,
        "deadAt": rfc3339(package.dead_at),
        "retriedAt": package.retried_at.map(rfc3339),
    })
}
