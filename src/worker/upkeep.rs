//! What a replica does beside its packages: it asks whether Postgres answers, brings back what waits for a
//! time, and takes back what dead replicas held.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Shared, pause};
use crate::fault;
use crate::provider::traffic::Pause;
use crate::queue::QueueError;

const TICK: Duration = Duration::from_secs(1);
/// How often packages are looked for that were parked for a limit which is configured no more.
const FREE_PARKED: Duration = Duration::from_secs(30);
/// How often replicas that died are looked for, at least.
const LOOK_FOR_DEAD: Duration = Duration::from_secs(2);

impl Shared {
    /// Starts everything that goes on until the replica stops.
    pub(super) fn keep_up(
        self: &Arc<Self>,
        tracker: &TaskTracker,
        stop: &CancellationToken,
        mut pauses: UnboundedReceiver<Pause>,
    ) {
        let (shared, token) = (self.clone(), stop.clone());
        tracker.spawn(token.run_until_cancelled_owned(async move {
            while let Some(pause) = pauses.recv().await {
                if let Err(error) = shared.queue.pause_provider(&pause.provider, pause.time).await {
                    shared.health.redis_failed(&error);
                }
            }
        }));
        let (shared, token) = (self.clone(), stop.clone());
        tracker.spawn(async move { shared.watch_postgres(&token).await });
        let (shared, token) = (self.clone(), stop.clone());
        tracker.spawn(async move { shared.bring_back(&token).await });
        let (status, token) = (self.status.clone(), self.abandon.clone());
        tracker.spawn(async move {
            while !token.is_cancelled() {
                status.ticked();
                pause(&token, TICK).await;
            }
        });
        // Progress is told until the last attempt has ended.
        let (reporter, token) = (self.reporter.clone(), self.abandon.clone());
        tracker.spawn(async move { token.run_until_cancelled(reporter.run()).await });
    }

    async fn watch_postgres(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if self.db.is_up().await {
                self.health.postgres_answered();
                pause(stop, self.settings.ping_interval.min(Duration::from_secs(2))).await;
            } else {
                self.health.postgres_failed("no answer to SELECT 1 within 2 s");
                pause(stop, Duration::from_millis(500)).await;
            }
        }
    }

    async fn bring_back(&self, stop: &CancellationToken) {
        let mut next_recovery = Instant::now();
        let mut next_freeing = Instant::now();
        while !stop.is_cancelled() {
            let recovers = Instant::now() >= next_recovery;
            if recovers {
                next_recovery = Instant::now() + (self.settings.lease_ttl / 4).min(LOOK_FOR_DEAD);
            }
            let frees = Instant::now() >= next_freeing;
            if frees {
                next_freeing = Instant::now() + FREE_PARKED;
            }
            match self.bring_back_once(recovers, frees).await {
                Ok(()) => self.health.redis_answered(),
                Err(error) => self.health.redis_failed(&error),
            }
            pause(stop, TICK).await;
        }
    }

    async fn bring_back_once(&self, recovers: bool, frees: bool) -> Result<(), QueueError> {
        while self.queue.promote_due().await? > 0 {
            fault::point("promoted");
        }
        self.confirm_room().await?;
        if frees {
            self.free_parked().await?;
        }
        for (provider, time) in self.queue.provider_pauses().await? {
            self.router.traffic().hear(&Pause { provider, time });
        }
        let server_number = self.queue.server_number();
        if recovers && self.health.trusts_leases(server_number) {
            for (worker_id, count) in self.queue.recover_dead_workers(server_number).await? {
                tracing::warn!(
                    dead_worker_id = worker_id,
                    count,
                    "a replica is gone without a word; its packages are in the queue again"
                );
            }
        }
        Ok(())
    }
}
