//! A row of the outbox, for machines. What may be secret of its URL is left out.

use serde_json::{Value, json};

use super::super::text::rfc3339;
use crate::db::CallbackRow;
use crate::ops::words::{end_of, target};

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
