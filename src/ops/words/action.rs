//! What came of something that somebody has done.

use crate::db::Action;

/// As it was written down.
pub(crate) fn outcome_of(action: &Action) -> &str {
    match (&action.outcome, action.ended_at) {
        (Some(outcome), _) => outcome,
        (None, Some(_)) => "done",
        (None, None) => "it has not ended, or was cut off",
    }
}
