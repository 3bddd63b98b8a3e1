//! Has ends told again that nobody was told of, or forgets them.

use super::Done;
use crate::db::{CallbackChoice, Db};

/// Has the chosen ones tried again at once.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn retry_callbacks(db: &Db, queue: &str, choice: &CallbackChoice) -> anyhow::Result<Done> {
    let count = db.retry_callbacks(queue, choice).await?;
    Ok(done(
        count,
        choice.failed,
        "tried again at once, where replicas run",
    ))
}

/// Forgets the chosen ones.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn drop_callbacks(db: &Db, queue: &str, choice: &CallbackChoice) -> anyhow::Result<Done> {
    let count = db.drop_callbacks(queue, choice).await?;
    Ok(done(count, false, "forgotten; nobody is told"))
}

fn done(count: usize, may_be_none: bool, what: &str) -> Done {
    let said = match count {
        0 => "no callback that waits or was given up matches".to_owned(),
        1 => format!("1 callback is {what}"),
        count => format!("{count} callbacks are {what}"),
    };
    Done {
        count: i64::try_from(count).unwrap_or(i64::MAX),
        said,
        is_done: count > 0 || may_be_none,
    }
}
