//! Beginning and ending of a replica.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Replica, Worker};
use crate::queue::Heartbeat;

/// How long giving back may take; what cannot be given back is recovered when the lease has ended.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Dropping attempts takes no longer.
const GIVING_BACK: Duration = Duration::from_millis(20);

/// How a replica ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Packages that were in hand and went back into the queue.
    pub given_back: u64,
    /// Whether everything that had to be said to Redis and Postgres was said.
    pub is_clean: bool,
}

/// Takes the lease before the first package, so that nobody can find this replica's packages without one.
pub(super) async fn begin(worker: &Worker) -> anyhow::Result<Heartbeat> {
    let settings = &worker.settings;
    let heartbeat = Heartbeat::start(
        worker.queue.clone(),
        worker.status.clone(),
        settings.upkeep.ping_interval,
    )?;
    let mut lease = heartbeat.lease.clone();
    tokio::time::timeout(Duration::from_secs(10), lease.wait_for(Option::is_some))
        .await
        .context("the lease in Redis could not be taken within 10 s")?
        .context("the heartbeat has ended")?;
    // A provider that is shut is so for whoever starts meanwhile too.
    if let Err(error) = worker.room.tick().await {
        worker.health.redis_failed(&error);
    }
    // Whoever starts may have been given more to spend.
    if let Err(error) = worker.queue.all_budgets_may_have_room().await {
        worker.health.redis_failed(&error);
    }
    tracing::info!(
        worker_id = worker.queue.worker_id(),
        concurrency = settings.concurrency,
        "waiting for packages"
    );
    Ok(heartbeat)
}

/// Drains, gives back what is left, and leaves the queue.
pub(super) async fn end(
    replica: &Replica,
    heartbeat: Heartbeat,
    upkeep: TaskTracker,
    attempts: TaskTracker,
    shutdown_timeout: Duration,
    hurry: &CancellationToken,
) -> Ended {
    let status = replica.upkeep.statements.health.status();
    status.is_draining.store(true, Ordering::Relaxed);
    attempts.close();
    // What has nothing at stake ends by itself now, so that what is left are open calls.
    tokio::time::sleep(GIVING_BACK).await;
    if !attempts.is_empty() {
        tracing::info!(
            in_hand = attempts.len(),
            timeout_s = shutdown_timeout.as_secs(),
            "finishing what is in hand: calls that have been paid for and cannot be asked for again; a second signal gives them up"
        );
    }
    tokio::select! {
        () = attempts.wait() => {}
        () = keep_turning(replica) => {}
        () = tokio::time::sleep(shutdown_timeout) => {}
        () = hurry.cancelled() => {}
    }
    replica.abandon.cancel();
    attempts.wait().await;
    upkeep.close();
    upkeep.wait().await;
    // After this no renewal can bring the lease back that is given up below.
    heartbeat.stop().await;

    // Postgres first: whoever takes a package that went back finds its job waiting, not held.
    let (queue, db) = (&replica.upkeep.queue, &replica.upkeep.statements.db);
    let giving_back = db.give_back(queue.worker_id(), replica.in_hand.unsent());
    let jobs = tokio::time::timeout(GIVE_BACK_TIMEOUT, giving_back).await;
    let left = tokio::time::timeout(GIVE_BACK_TIMEOUT, queue.leave()).await;
    let is_clean = matches!(jobs, Ok(Ok(_))) && matches!(left, Ok(Ok(_)));
    let given_back = left.ok().and_then(Result::ok).unwrap_or_default();
    if is_clean {
        tracing::info!(given_back, "stopped");
    } else {
        tracing::warn!(
            "stopped without reaching Redis or Postgres; other replicas take back what was in hand when the lease ends"
        );
    }
    Ended { given_back, is_clean }
}

/// The loop has ended, yet the replica is well: its pings go on while it finishes, and so does the room that it has
/// at providers.
async fn keep_turning(replica: &Replica) {
    loop {
        replica.upkeep.statements.health.status().turned();
        let _ = tokio::time::timeout(
            Duration::from_secs(1),
            replica.room.confirm(&replica.in_hand.deliveries()),
        )
        .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
