//! `cancel`: ends a job, whether it waits or is being worked on.

use clap::Args;

use super::actions::{By, Done, Intent};
use super::exit::ExitStatus;
use crate::config::Environment;
use crate::db::{AbandonedCall, Cancelled, Db, DbSettings};
use crate::failure::MESSAGE_CHARS;
use crate::plain_text::one_line;
use crate::queue::{QueueSettings, Redis};

#[derive(Debug, Args)]
pub(super) struct CancelArguments {
    /// Row of ac_background_jobs
    job_id: i32,
    #[command(flatten)]
    by: By,
    /// Why, in a few words for the person who waits
    #[arg(long)]
    reason: Option<String>,
}

pub(super) async fn run(arguments: CancelArguments, environment: &Environment) -> anyhow::Result<ExitStatus> {
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let db = Db::new(&DbSettings::from_environment(environment)?)?;
    let job_id = arguments.job_id;
    let by = arguments.by.name(environment);
    let message = match arguments.reason {
        Some(reason) => format!("Cancelled by {by}: {reason}"),
        None => format!("Cancelled by {by}."),
    };
    let message = one_line(&message, MESSAGE_CHARS);
    let intent = Intent {
        db: &db,
        queue: redis.keys().inbox(),
        by: &by,
        action: "cancel",
        subject: format!("job {job_id}"),
    };
    intent.run(cancel(job_id, &message, &db, &redis)).await
}

async fn cancel(job_id: i32, message: &str, db: &Db, redis: &Redis) -> anyhow::Result<Done> {
    let left_alone = |said| {
        Ok(Done {
            count: 0,
            said,
            status: ExitStatus::Failed,
        })
    };
    // Postgres first: a replica that hears of it asks there.
    let (count, said) = match db.cancel(job_id, message).await? {
        Cancelled::Now { worker_id } => {
            redis.tell_of_cancelled(job_id, message).await?;
            let live = match worker_id {
                Some(worker_id) => redis
                    .live_workers()
                    .await?
                    .contains(&worker_id)
                    .then_some(worker_id),
                None => None,
            };
            let said = match live {
                Some(worker_id) => format!("job {job_id} is cancelled; {worker_id} stops working on it"),
                None => {
                    let call = db.end_abandoned_call(job_id).await?;
                    let call = call.map(|call| of_call(&call)).unwrap_or_default();
                    format!("job {job_id} is cancelled; its package is dropped when its turn comes{call}")
                }
            };
            (1, said)
        }
        Cancelled::Before(message) => {
            // Whoever cancelled may have been cut off before replicas were told.
            redis.tell_of_cancelled(job_id, &message).await?;
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
        status: ExitStatus::Done,
    })
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
