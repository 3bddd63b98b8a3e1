//! A row of the outbox, for people and for machines. What may be secret of its URL is left out.

use serde_json::{Value, json};

use super::super::text::{rfc3339, time};
use crate::db::CallbackRow;
use crate::notify::masked;
use crate::plain_text::plain;

/// Where it goes, as far as that is nobody's secret.
pub(in crate::cli) fn target(url: &str) -> String {
    plain(&masked(url))
}

/// The word of the event.
pub(super) fn end_of(outcome: &str) -> &str {
    match outcome {
        "done" => "completed",
        "dead" => "failed",
        other => other,
    }
}

/// An object of `--json`.
pub(in crate::cli) fn as_json(row: &CallbackRow) -> Value {
    json!({
        "id": row.id,
        "jobId": row.job_id,
        "url": target(&row.url),
        "status": end_of(&row.outcome),
        "state": row.state,
        "endedAt": rfc3339(row.ended_at),
        "tries": row.tries,
        "nextTryAt": (row.state == "waiting").then(|| rfc3339(row.due_at)),
        "settledAt": row.settled_at.map(rfc3339),
        "lastStatus": row.last_status,
        "lastError": row.last_error,
    })
}

/// How it stands, in one line.
pub(in crate::cli) fn headline(row: &CallbackRow) -> String {
    let tries = match row.tries {
        1 => "1 try".to_owned(),
        tries => format!("{tries} tries"),
    };
    let end = end_of(&row.outcome);
    let why = row.last_error.as_deref().unwrap_or("no try has ended yet");
    let what = match (row.state.as_str(), row.settled_at) {
        ("delivered", Some(at)) => format!("told at {}, in {tries}", time(at)),
        ("superseded", _) => "not told, as the job ended anew".to_owned(),
        ("failed", _) => format!("given up after {tries}: {why}"),
        _ => format!("waits, next try at {}, {tries} so far: {why}", time(row.due_at)),
    };
    format!("callback {} ({end}): {what}", row.id)
}
