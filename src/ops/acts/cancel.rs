//! Ends a job, whether it waits or is being worked on.

use super::Done;
use crate::db::{AbandonedCall, Cancelled, Db};
use crate::failure::MESSAGE_CHARS;
use crate::plain_text::one_line;
use crate::queue::Redis;

/// What the person who waits is told.
pub(crate) fn message_of(by: &str, reason: Option<&str>) -> String {
    let message = match reason {
        Some(reason) => format!("Cancelled by {by}: {reason}"),
        None => format!("Cancelled by {by}."),
    };
    one_line(&message, MESSAGE_CHARS)
}

/// Ends a job, whether it waits or is being worked on.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn cancel(job_id: i32, message: &str, db: &Db, redis: &Redis) -> anyhow::Result<Done> {
    let left_alone = |said| Ok(Done::nothing(said));
    // Postgres first: a replica that hears of it asks there.
    let (count, said) = match db.cancel(job_id, message).await? {
        Cancelled::Now { worker_id } => {
            let said = match spread(job_id, message, worker_id, redis).await {
                Ok(Some(worker_id)) => format!("job {job_id} is cancelled; {worker_id} stops working on it"),
                // It stands in Postgres, where replicas look for it.
                Err(error) => format!(
                    "job {job_id} is cancelled, and replicas learn of it when they look: Redis could not be told ({error:#})"
                ),
                Ok(None) => {
                    let call = db.end_abandoned_call(job_id).await?;
                    let call = call.map(|call| of_call(&call)).unwrap_or_default();
                    format!(
                        "job {job_id} is cancelled; a package of it that waits is dropped when its turn comes{call}"
                    )
                }
            };
            (1, said)
        }
        Cancelled::Before(message) => {
            // Whoever cancelled may have been cut off before replicas were told.
            let _ = spread(job_id, &message, None, redis).await;
            (0, format!("job {job_id} was cancelled before: {message}"))
        }
        Cancelled::NoSuchJob => return left_alone(format!("there is no row {job_id} in ac_background_jobs")),
        Cancelled::Done => {
            return left_alone(format!(
                "job {job_id} has its picture already; nothing was changed"
            ));
        }
        Cancelled::Dead(reason) => {
            return left_alone(format!(
                "job {job_id} has failed already, nothing was changed: {reason}"
            ));
        }
    };
    Ok(Done {
        count,
        said,
        is_done: true,
    })
}

/// Tells replicas of it; returns the one that works on the job and lives. Where none does, its package comes first: whoever is to be
/// told of its end waits no longer than that.
async fn spread(
    job_id: i32,
    message: &str,
    worker_id: Option<String>,
    redis: &Redis,
) -> anyhow::Result<Option<String>> {
    redis.tell_of_cancelled(job_id, message).await?;
    if let Some(worker_id) = worker_id
        && redis.live_workers().await?.contains(&worker_id)
    {
        return Ok(Some(worker_id));
    }
    redis.bring_forward(job_id).await?;
    Ok(None)
}

/// What becomes of a call whose answer nobody waits for.
fn of_call(call: &AbandonedCall) -> String {
    let AbandonedCall {
        call_no, provider, ..
    } = call;
    if call.handle.is_some() {
        format!(
            ". Call {call_no}, an order at {provider}, is open: {provider} is told with that package, where it can be"
        )
    } else {
        format!(
            ". Call {call_no} to {provider} has no owner any more: it ends as unknown, as it may have been billed"
        )
    }
}
