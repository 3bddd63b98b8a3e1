//! What a replica does beside its packages: it asks whether Postgres answers, brings back what waits for a
//! time, and takes back what dead replicas held. `reconciler` compares the queue with the ledger.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::callbacks::Callbacks;
use super::claims::{Wake, pause};
use super::housekeeping::Housekeeping;
use super::in_hand::InHand;
use super::progress::Reporter;
use super::room::Room;
use super::settings::UpkeepSettings;
use super::statements::Statements;
use crate::fault;
use crate::measure;
use crate::queue::{Queue, Tick};
use crate::redis::RedisFailure;

const TICK: Duration = Duration::from_secs(1);
/// The same of a replica that has nothing to do.
const IDLE_TICK: Duration = Duration::from_secs(20);
/// Between two ticks that packages ask for which were just delayed.
const SHORTEST_TICK: Duration = Duration::from_millis(20);

/// Wakes the upkeep before its time.
pub(super) struct Alarm {
    notify: Notify,
    planned: Mutex<Instant>,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self {
            notify: Notify::new(),
            planned: Mutex::new(Instant::now()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.planned
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Something is due after this time.
    pub(super) fn set(&self, time: Duration) {
        if Instant::now() + time < *self.lock() {
            self.notify.notify_one();
        }
    }

    async fn sleep(&self, time: Duration, stop: &CancellationToken) {
        *self.lock() = Instant::now() + time;
        tokio::time::sleep(SHORTEST_TICK.min(time)).await;
        tokio::select! {
            () = tokio::time::sleep(time.saturating_sub(SHORTEST_TICK)) => {}
            () = self.notify.notified() => {}
            () = stop.cancelled() => {}
        }
        // Whatever is delayed while the upkeep looks, it may have missed.
        *self.lock() = Instant::now() + Duration::from_secs(24 * 60 * 60);
    }
}

/// What goes on beside attempts.
pub(super) struct Upkeep {
    pub(super) settings: UpkeepSettings,
    pub(super) queue: Queue,
    pub(super) statements: Statements,
    pub(super) in_hand: Arc<InHand>,
    pub(super) room: Arc<Room>,
    pub(super) reporter: Reporter,
    pub(super) wake: Arc<Wake>,
    pub(super) alarm: Arc<Alarm>,
    pub(super) callbacks: Option<Arc<Callbacks>>,
}

impl Upkeep {
    /// Starts all of it: what brings work until `stop`, what attempts need until `abandon`.
    pub(super) fn start(
        self: &Arc<Self>,
        stop: &CancellationToken,
        abandon: &CancellationToken,
    ) -> TaskTracker {
        let tracker = TaskTracker::new();
        let (upkeep, token) = (self.clone(), stop.clone());
        tracker.spawn(async move { upkeep.watch_postgres(&token).await });
        let (upkeep, token) = (self.clone(), stop.clone());
        tracker.spawn(async move { upkeep.bring_back(&token).await });
        let (upkeep, token) = (self.clone(), stop.clone());
        tracker.spawn(async move {
            let housekeeping = Housekeeping {
                db: upkeep.statements.db.clone(),
                redis: upkeep.queue.redis().clone(),
                retention: upkeep.settings.retention,
                dry_run: false,
            };
            token
                .run_until_cancelled(housekeeping.take_turns(upkeep.queue.worker_id()))
                .await
        });
        let (upkeep, token) = (self.clone(), stop.clone());
        tracker.spawn(async move { upkeep.reconcile(&token).await });
        let (upkeep, token) = (self.clone(), stop.clone());
        tracker.spawn(async move { upkeep.tell_of_set_aside(&token).await });
        let (upkeep, token) = (self.clone(), abandon.clone());
        tracker.spawn(async move { upkeep.listen(&token).await });
        let (status, token) = (self.statements.health.status().clone(), abandon.clone());
        tracker.spawn(async move {
            while !token.is_cancelled() {
                status.ticked();
                pause(&token, TICK).await;
            }
        });
        // Ends are posted until the last attempt has ended.
        if let Some(callbacks) = self.callbacks.clone() {
            let token = abandon.clone();
            tracker.spawn(async move { callbacks.run(&token).await });
        }
        // Progress is shown until the last attempt has ended.
        let (reporter, token) = (self.reporter.clone(), abandon.clone());
        tracker.spawn(async move { token.run_until_cancelled(reporter.run()).await });
        tracker
    }

    async fn watch_postgres(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.statements.db.check().await {
                Ok(started_at) => {
                    self.statements.health.postgres_answered(started_at);
                    self.drop_cancelled().await;
                    self.tell_joined().await;
                    pause(stop, self.settings.ping_interval.min(Duration::from_secs(2))).await;
                }
                Err(error) => {
                    self.statements.health.postgres_failed(&error);
                    pause(stop, Duration::from_millis(500)).await;
                }
            }
        }
    }

    async fn bring_back(&self, stop: &CancellationToken) {
        // Until when the leases of others hold at least.
        let mut leases = HashMap::new();
        while !stop.is_cancelled() {
            let pause = match self.bring_back_once(&mut leases).await {
                Ok(pause) => {
                    self.statements.health.redis_answered();
                    pause
                }
                Err(error) => {
                    self.statements.health.distrust_leases();
                    let error = self.queue.explain(error).await;
                    self.statements.health.redis_failed(&error);
                    TICK
                }
            };
            self.alarm.sleep(pause, stop).await;
        }
    }

    /// Returns when there may be something to do again.
    async fn bring_back_once(&self, leases: &mut HashMap<String, Instant>) -> Result<Duration, RedisFailure> {
        let server_number = self.queue.server_number();
        let is_idle = self.in_hand.is_empty();
        let mut pause = if is_idle { IDLE_TICK } else { TICK };
        let mut workers = None;
        if is_idle {
            let glance = self.queue.glance(&self.room.names()).await?;
            if glance.has_waiting {
                self.wake.has_left_over.store(true, Ordering::Relaxed);
                self.wake.work.notify_one();
            } else if !glance.has_delayed {
                workers = Some(glance.workers);
            }
        }
        let workers = match workers {
            Some(workers) => workers,
            None => {
                let (tick, next_wake) = self.tick().await?;
                let next = tick.next_due.into_iter().chain(next_wake).min();
                pause = pause.min(next.unwrap_or(pause));
                tick.workers
            }
        };
        let lease_ends = self.recover_dead(leases, workers, server_number).await?;
        Ok(pause.min(lease_ends.unwrap_or(pause)))
    }

    /// Brings back what waits for a time or for room, and returns when more may be woken.
    async fn tick(&self) -> Result<(Tick, Option<Duration>), RedisFailure> {
        let mut tick = self.room.tick().await?;
        while tick.brought_back > 0 {
            fault::point("promoted");
            // It may have come to the head of a list that no BLMOVE watches.
            self.wake.work.notify_one();
            tick = self.room.tick().await?;
        }
        let mut next_wake = self.room.keep(&tick, &self.in_hand.deliveries()).await?;
        for budget in &tick.budgets {
            if self.queue.wake_for_budget(budget).await? > 0 {
                self.wake.work.notify_one();
            }
            // The next ones follow a little later.
            next_wake = Some(next_wake.unwrap_or(TICK).min(TICK));
        }
        Ok((tick, next_wake))
    }

    /// Takes back what workers hold whose lease has ended. Returns when the next lease can end.
    async fn recover_dead(
        &self,
        leases: &mut HashMap<String, Instant>,
        mut workers: Vec<String>,
        server_number: u64,
    ) -> Result<Option<Duration>, RedisFailure> {
        workers.retain(|worker_id| worker_id != self.queue.worker_id());
        leases.retain(|worker_id, _| workers.contains(worker_id));
        let now = Instant::now();
        workers.retain(|worker_id| leases.get(worker_id).is_none_or(|end| *end <= now));
        let mut dead = Vec::new();
        for (worker_id, left) in workers.iter().zip(self.queue.leases(&workers).await?) {
            if left.is_zero() {
                dead.push(worker_id.clone());
            } else {
                leases.insert(worker_id.clone(), now + left);
            }
        }
        if !dead.is_empty() && self.statements.health.trusts_leases(server_number) {
            for (worker_id, count) in self.queue.recover_dead(&dead, server_number).await? {
                dead.retain(|dead| *dead != worker_id);
                measure::RECOVERED.count(count, &[]);
                tracing::warn!(
                    dead_worker_id = worker_id,
                    count,
                    "a replica is gone without a word; its packages are in the queue again"
                );
            }
            self.wake.work.notify_one();
        }
        let next = leases.values().min().map(|end| {
            // A little later than it was found to hold at least.
            end.saturating_duration_since(Instant::now()) + SHORTEST_TICK
        });
        Ok(if dead.is_empty() { next } else { Some(TICK) })
    }
}
