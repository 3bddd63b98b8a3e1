//! Ends the wait of one job: a held one may be drawn once more; one that waits for a call whose replica is gone waits for it no
//! longer.

use std::time::Duration;

use uuid::Uuid;

use super::Done;
use crate::db::{Db, Wait};
use crate::ops::words::{Life, Waits};
use crate::provider::list::PROVIDERS;
use crate::queue::Redis;
use crate::worker::Books;

/// Why there is nothing to release, or nobody may.
pub(crate) async fn why_not(
    wait: &Wait,
    redis: &Redis,
    lease_ttl: Duration,
) -> anyhow::Result<Option<String>> {
    let job_id = wait.job.version.job_id;
    let of_other = wait
        .queue
        .as_ref()
        .filter(|queue| queue.as_str() != redis.keys().inbox());
    let why = match wait.job.state.as_str() {
        "done" => Some(format!("job {job_id} is done")),
        "cancelled" => Some(format!("job {job_id} is cancelled")),
        "dead" => Some(format!(
            "job {job_id} has failed for good: generative-ai-worker dead retry {job_id} starts it again"
        )),
        _ if !wait.has_row => Some(format!("job {job_id} has no row in ac_background_jobs any more")),
        _ => of_other.map(|queue| format!("job {job_id} is of the queue {queue}: set QUEUE_NAME={queue}")),
    };
    if why.is_some() {
        return Ok(why);
    }
    if let Some(owner) = &wait.worker_id
        && is_alive(owner, redis, lease_ttl).await?
    {
        return Ok(Some(format!("job {job_id} is being worked on by {owner}")));
    }
    if let (Some(call_no), Some(provider), Some(caller)) = (wait.call_no, &wait.provider, &wait.caller)
        && !wait.has_handle
        && is_alive(caller, redis, lease_ttl).await?
    {
        return Ok(Some(format!(
            "call {call_no} to {provider} for job {job_id} is open, and {caller}, which has made it, is alive and may still get its picture"
        )));
    }
    if wait.call_no.is_none()
        && matches!(wait.job.state.as_str(), "waiting" | "retry_wait")
        && let Some(waits) = Waits::find(job_id, redis).await?
        && let Some(end) = waits.shared_end()
    {
        return Ok(Some(format!(
            "job {job_id} waits with others: its package {}; {end}",
            waits.in_words()
        )));
    }
    Ok(None)
}

/// What is said of a job that the ledger does not know.
///
/// # Errors
/// When Postgres does not answer.
pub(crate) async fn not_in_ledger(job_id: i32, db: &Db, redis: &Redis) -> anyhow::Result<String> {
    Ok(match Life::find(job_id, db, redis).await? {
        Some(life) => format!("{}; nothing was changed", life.headline()),
        None => {
            format!("there is no job {job_id}: neither ac_background_jobs nor the ledger has a row of it")
        }
    })
}

/// Leases that Redis has just lost are there again after the second look.
pub(crate) async fn is_alive(worker_id: &str, redis: &Redis, lease_ttl: Duration) -> anyhow::Result<bool> {
    if redis.has_lease(worker_id).await? {
        return Ok(true);
    }
    tokio::time::sleep(lease_ttl / 2).await;
    Ok(redis.has_lease(worker_id).await?)
}

/// Ends the wait. Postgres first, then the package: cut off in between, the job waits and its package comes when its time does,
/// or is put back.
///
/// # Errors
/// When Postgres or Redis does not answer.
pub(crate) async fn release(
    wait: &Wait,
    db: &Db,
    redis: &Redis,
    lease_ttl: Duration,
) -> anyhow::Result<Done> {
    let job_id = wait.job.version.job_id;
    if !db.end_wait(&wait.job).await? {
        return Ok(Done::nothing(format!(
            "job {job_id} has just changed and nothing was done: look at it with jobs show {job_id}"
        )));
    }
    let brought = redis.bring_forward(job_id).await?;
    let mut put_back = false;
    if brought == 0 {
        // A replica that compares at this moment is to leave it to this command.
        let name = format!("release-{}", Uuid::new_v4().simple());
        redis.take_over_reconciling(&name, lease_ttl * 2).await?;
        let books = Books::new(db.clone(), redis.clone(), PROVIDERS.into_iter());
        put_back = books.put_back_if_nowhere(&name, &wait.job).await?;
    }
    let what = match (wait.job.state.as_str(), wait.call_no, &wait.provider) {
        ("held", ..) => "another picture may be bought for it".to_owned(),
        (_, Some(call_no), Some(provider)) if wait.has_handle => {
            format!("{provider} is asked at once for the picture of call {call_no}")
        }
        (_, Some(call_no), Some(provider)) => format!(
            "nobody waits any longer for call {call_no} to {provider}, and UNKNOWN_OUTCOME says whether another picture may be bought"
        ),
        ("retry_wait", ..) if brought > 0 || put_back => "its next attempt is made at once".to_owned(),
        ("retry_wait", ..) => "its pause between attempts is over".to_owned(),
        _ => "it waits for a replica".to_owned(),
    };
    let where_to = match (brought, put_back) {
        (0, false) => {
            "its package has its place in the queue, waits for a provider that is left alone (generative-ai-worker providers names it, \
             providers resume ends that), or comes back from the replica that is gone"
        }
        _ => "its package is at the head of the queue",
    };
    Ok(Done {
        count: 1,
        said: format!("job {job_id} is released: {what}; {where_to}"),
        is_done: true,
    })
}
