//! Beginning and ending of a replica.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use crate::queue::Heartbeat;

/// How long giving back may take; what cannot be given back is recovered when the lease has ended.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(5);

/// How a replica ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Packages that were in hand and went back into the queue.
    pub given_back: u64,
    /// Whether everything that had to be said to Redis and Postgres was said.
    pub is_clean: bool,
}

impl Shared {
    /// Takes the lease before the first package, so that nobody can find this replica's packages without one.
    pub(super) async fn begin(&self) -> anyhow::Result<Heartbeat> {
        let heartbeat = Heartbeat::start(
            self.queue.clone(),
            self.status.clone(),
            self.settings.ping_interval,
        )?;
        let mut lease = heartbeat.lease.clone();
        tokio::time::timeout(Duration::from_secs(10), lease.wait_for(Option::is_some))
            .await
            .context("the lease in Redis could not be taken within 10 s")?
            .context("the heartbeat has ended")?;
        let _ = self.lease.set(heartbeat.lease.clone());
        // A provider that is shut is so for whoever starts meanwhile too.
        if let Err(error) = self.room.tick().await {
            self.health.redis_failed(&error);
        }
        let worker_id = self.queue.worker_id();
        tracing::info!(
            worker_id,
            concurrency = self.settings.concurrency,
            "waiting for packages"
        );
        Ok(heartbeat)
    }

    /// Drains, gives back what is left, and leaves the queue.
    pub(super) async fn end(
        self: Arc<Self>,
        heartbeat: Heartbeat,
        upkeep: TaskTracker,
        attempts: TaskTracker,
        hurry: &CancellationToken,
    ) -> Ended {
        self.status.is_draining.store(true, Ordering::Relaxed);
        attempts.close();
        if !attempts.is_empty() {
            tracing::info!(
                in_hand = attempts.len(),
                timeout_s = self.settings.shutdown_timeout.as_secs(),
                "finishing what is in hand; a second signal gives it back at once"
            );
        }
        tokio::select! {
            () = attempts.wait() => {}
            () = self.keep_turning() => {}
            () = tokio::time::sleep(self.settings.shutdown_timeout) => {}
            () = hurry.cancelled() => {}
        }
        self.abandon.cancel();
        attempts.wait().await;
        upkeep.close();
        upkeep.wait().await;
        // After this no renewal can bring the lease back that is given up below.
        heartbeat.stop().await;

        // Postgres first: whoever takes a package that went back finds its job waiting, not held.
        let worker_id = self.queue.worker_id();
        let jobs = tokio::time::timeout(GIVE_BACK_TIMEOUT, self.db.give_back(worker_id)).await;
        let left = tokio::time::timeout(GIVE_BACK_TIMEOUT, self.queue.leave()).await;
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
    async fn keep_turning(&self) {
        loop {
            self.status.turned();
            let in_hand = self.hand.deliveries();
            let _ = tokio::time::timeout(Duration::from_secs(1), self.room.confirm(&in_hand)).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
