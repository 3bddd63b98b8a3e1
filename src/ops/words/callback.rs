//! A row of the outbox in words. What may be secret of its URL is left out.

use chrono::{DateTime, Utc};

use super::{age, time};
use crate::db::CallbackRow;
use crate::notify::masked;
use crate::plain_text::plain;

/// Where it goes, as far as that is nobody's secret.
pub(crate) fn target(url: &str) -> String {
    plain(&masked(url))
}

/// The word of the event.
pub(crate) fn end_of(outcome: &str) -> &str {
    match outcome {
        "done" => "completed",
        "dead" => "failed",
        other => other,
    }
}

/// When one that waits is tried next. `is_refused`: its host is not, or no longer, allowed.
pub(crate) fn next_try(row: &CallbackRow, is_refused: bool, now: DateTime<Utc>) -> String {
    if is_refused {
        return "never: not in CALLBACK_HOSTS".to_owned();
    }
    match (row.due_at - now).to_std() {
        Ok(pause) if !pause.is_zero() => format!("in {}", age(pause)),
        _ => "now".to_owned(),
    }
}

/// How it stands, in one line.
pub(super) fn headline(row: &CallbackRow) -> String {
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
