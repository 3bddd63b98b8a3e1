//! The worker: takes packages as slots become free and sees each one through to its end.
//!
//! [`Worker::run`] is the loop. What happens to one package is in `attempt`, what keeps a replica and the
//! queue in order beside it in `upkeep`, how it ends in `lifecycle`.

mod attempt;
mod backoff;
mod cancel;
mod fail;
mod hand;
mod health;
mod hear;
mod ledger;
mod lifecycle;
mod limits;
mod observer;
mod progress;
mod suspects;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::db::Db;
use crate::fault;
use crate::measure;
use crate::provider::traffic::Pause;
use crate::queue::{Adopted, Delivery, Landed, Landing, Lease, Limit, Queue, QueueError, ReplicaStatus};
use crate::router::Router;
use crate::work_package::PackageLimits;

pub use backoff::Backoff;
use hand::Hand;
use health::Health;
pub use ledger::UnknownOutcome;
pub use lifecycle::Ended;
use limits::Limits;
pub use observer::Observer;
use progress::Reporter;
use suspects::Suspect;
use upkeep::Alarm;

/// How a replica works; made by `config`.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Packages that are worked on at once, until their pictures are stored (`WORKER_CONCURRENCY`).
    pub concurrency: usize,
    /// How long an attempt's provider may take (`JOB_TIMEOUT`).
    pub job_timeout: Duration,
    /// How long a stopping replica finishes what it has (`SHUTDOWN_TIMEOUT`).
    pub shutdown_timeout: Duration,
    /// Attempts at a job (`MAX_ATTEMPTS`).
    pub max_attempts: u32,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// How many calls a provider may get, over all replicas (`IMAGE_PROVIDER_LIMITS`).
    pub provider_limits: BTreeMap<String, Limit>,
    /// How many packages of a type may be in hand (`WORK_TYPE_LIMITS`).
    pub work_type_limits: BTreeMap<String, Limit>,
    /// What happens to a paid call whose outcome nobody knows (`UNKNOWN_OUTCOME`).
    pub unknown_outcome: UnknownOutcome,
    /// Between two pings; Postgres is asked as often.
    pub ping_interval: Duration,
    /// After this long without a renewal a replica counts as dead.
    pub lease_ttl: Duration,
    /// What packages may be.
    pub limits: PackageLimits,
}

/// How long the loop waits before it tries again what has just failed.
const PAUSE: Duration = Duration::from_millis(250);
/// How often the loop turns, at least, while every slot is taken.
const TURN: Duration = Duration::from_secs(1);
/// How long the loop waits for more slots where no more than one in [`FEW`] is free: packages that are claimed together are begun,
/// recorded and settled together, each for less.
const GATHER: Duration = Duration::from_millis(1);
const FEW: usize = 4;

/// How long the loop waits where Redis does not tell when packages come in on other lists than the main one.
const UNHEARD_WAIT: Duration = Duration::from_secs(2);
/// Between two tries to end a wait.
const WAKE_AGAIN: Duration = Duration::from_millis(50);
/// How often a replica compares what it has in hand with what Redis thinks it has.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// One replica.
pub struct Worker {
    shared: Arc<Shared>,
    /// Pauses that providers ask this replica for.
    pauses: UnboundedReceiver<Pause>,
}

/// What the loop, the attempts and the upkeep have in common.
struct Shared {
    settings: WorkerSettings,
    queue: Queue,
    db: Db,
    router: Router,
    status: Arc<ReplicaStatus>,
    health: Health,
    hand: Hand,
    reporter: Reporter,
    limits: Limits,
    suspect: Suspect,
    /// Somebody has said that it is worth looking at the lists.
    rung: Notify,
    /// Redis holds something to be in hand while nothing is.
    has_left_over: AtomicBool,
    alarm: Alarm,
    /// Until when this replica holds its lease; set when it begins.
    lease: OnceLock<Lease>,
    /// Attempts end at once, without an ending in Postgres or Redis: what they had is given back.
    abandon: CancellationToken,
}

impl Worker {
    /// A replica that has not begun to take. Must be made within a tokio runtime.
    #[must_use]
    pub fn new(
        settings: WorkerSettings,
        queue: Queue,
        db: Db,
        router: Router,
        pauses: UnboundedReceiver<Pause>,
    ) -> Self {
        let status = Arc::new(ReplicaStatus::new(settings.concurrency));
        let shared = Shared {
            health: Health::new(status.clone(), settings.lease_ttl, queue.server_number()),
            reporter: Reporter::new(queue.clone(), db.clone()),
            hand: Hand::new(settings.concurrency, status.clone()),
            limits: Limits::new(settings.provider_limits.clone(), &settings.work_type_limits),
            suspect: Suspect::default(),
            rung: Notify::new(),
            has_left_over: AtomicBool::new(false),
            alarm: Alarm::new(),
            lease: OnceLock::new(),
            abandon: CancellationToken::new(),
            settings,
            queue,
            db,
            router,
            status,
        };
        Self {
            shared: Arc::new(shared),
            pauses,
        }
    }

    /// A look at this replica from outside its loop.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer(self.shared.clone())
    }

    /// Takes packages until `stop`, then finishes what is in hand, until `hurry` or for as long as the settings
    /// say, and gives the rest back uncounted.
    ///
    /// # Errors
    /// When the replica cannot begin; once it has, it rides out every outage.
    pub async fn run(self, stop: CancellationToken, hurry: CancellationToken) -> anyhow::Result<Ended> {
        let shared = self.shared;
        let heartbeat = shared.begin().await?;
        let upkeep = TaskTracker::new();
        shared.keep_up(&upkeep, &stop, self.pauses);
        let attempts = TaskTracker::new();
        shared.take_until(&stop, &attempts).await;
        Ok(shared.end(heartbeat, upkeep, attempts, &hurry).await)
    }
}

impl Shared {
    /// The loop. A slot comes first, then a package, so that nothing is taken that nobody can work on.
    async fn take_until(self: &Arc<Self>, stop: &CancellationToken, attempts: &TaskTracker) {
        let slots = Arc::new(Semaphore::new(self.settings.concurrency));
        let mut landing = self.queue.landing();
        let mut must_look_again = false;
        let mut looked_at = Instant::now();
        let mut server_number = self.queue.server_number();
        let mut is_quiet = false;
        while !stop.is_cancelled() {
            self.status.turned();
            // What an attempt left behind that broke down is found by nothing else while this replica lives. An idle one
            // sees it at a glance.
            let is_left = self.has_left_over.swap(false, Ordering::Relaxed);
            if is_left || (looked_at.elapsed() > LOOK_EVERY && !self.hand.is_empty()) {
                must_look_again = true;
                looked_at = Instant::now();
            }
            if self.queue.server_number() != server_number {
                // What was settled last may be in hand again there.
                server_number = self.queue.server_number();
                must_look_again = true;
            }
            let Some(permits) = free_slots(&slots, self.settings.concurrency / FEW).await else {
                continue;
            };
            if !self.health.may_take() {
                // What was on its way here goes to others.
                if let Err(error) = self.queue.adopt(0).await {
                    self.health.redis_failed(&error);
                }
                pause(stop, PAUSE).await;
                continue;
            }
            if std::mem::take(&mut is_quiet) && !must_look_again {
                is_quiet = self.wait_for_package(&mut landing, stop).await;
                continue;
            }
            let free = permits.len();
            match self.take(free, &mut must_look_again).await {
                Ok(Adopted {
                    deliveries,
                    is_paused,
                }) => {
                    let is_drained = deliveries.len() < free;
                    self.hand.take(&deliveries, permits);
                    for delivery in deliveries {
                        let shared = self.clone();
                        attempts.spawn(async move { shared.see_through(delivery).await });
                    }
                    self.status.is_paused.store(is_paused, Ordering::Relaxed);
                    if is_paused {
                        self.wait_while_paused(stop).await;
                    } else if is_drained && !stop.is_cancelled() {
                        is_quiet = self.wait_for_package(&mut landing, stop).await;
                    }
                }
                Err(QueueError::Lost) => must_look_again = true,
                Err(error) => {
                    self.health.redis_failed(&error);
                    must_look_again = true;
                    pause(stop, PAUSE).await;
                }
            }
        }
    }

    /// Claims up to `free` packages; after a claim whose answer may have been lost, first what it claimed.
    async fn take(&self, free: usize, must_look_again: &mut bool) -> Result<Adopted, QueueError> {
        if *must_look_again {
            // Before Redis is asked: what ends meanwhile is in the answer and no longer in the hand.
            let held = self.hand.deliveries();
            let mut unknown = self.queue.in_hand().await?;
            unknown.retain(|delivery| !held.contains(&delivery.id));
            *must_look_again = unknown.len() > free;
            unknown.truncate(free);
            if !unknown.is_empty() {
                tracing::info!(
                    count = unknown.len(),
                    "found packages that were taken by a call whose answer was lost"
                );
                return Ok(Adopted {
                    deliveries: unknown,
                    is_paused: false,
                });
            }
        }
        let adopted = self.queue.adopt(free).await?;
        if !adopted.deliveries.is_empty() {
            fault::point("adopted");
        }
        self.health.redis_answered();
        Ok(adopted)
    }

    /// Sleeps until a package lands, or the bell says that one waits elsewhere, a few seconds at the most. The wait is
    /// ended from outside, as dropping it could strand a package.
    ///
    /// `true`: nothing has come, nobody has rung, and this replica is known by its name while the next wait lasts, so that
    /// it may follow without another look.
    async fn wait_for_package(&self, landing: &mut Landing, stop: &CancellationToken) -> bool {
        let most = if self.queue.is_listening() {
            Duration::from_secs(60)
        } else {
            UNHEARD_WAIT
        };
        let waiting = OnceLock::new();
        let longest_wait = landing.longest_wait();
        let mut wait = std::pin::pin!(landing.wait(most, |client| _ = waiting.set(client)));
        let mut is_over = false;
        let result = loop {
            if let Some(waiting) = waiting.get().filter(|_| is_over) {
                let _ = self.queue.wake(*waiting).await;
            }
            // It may not have begun to wait yet, so it is woken until it has ended.
            let turn = if is_over { WAKE_AGAIN } else { TURN };
            tokio::select! {
                result = &mut wait => break result,
                () = stop.cancelled(), if !is_over => is_over = true,
                () = self.rung.notified(), if !is_over => is_over = true,
                () = tokio::time::sleep(turn) => self.status.turned(),
            }
        };
        match result {
            Ok(Landed::Package) => {
                fault::point("landed");
                false
            }
            Ok(Landed::Nothing) => {
                !is_over && self.queue.is_listening() && self.holds_lease_for(longest_wait)
            }
            Ok(Landed::Unknown) => false,
            Err(error) => {
                self.health.redis_failed(&error);
                pause(stop, PAUSE).await;
                false
            }
        }
    }

    fn holds_lease_for(&self, time: Duration) -> bool {
        let until = self.lease.get().and_then(|lease| *lease.borrow());
        until.is_some_and(|until| Instant::now() + time < until)
    }

    /// Sleeps until the queue may have been resumed.
    async fn wait_while_paused(&self, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.rung.notified() => {}
            () = tokio::time::sleep(UNHEARD_WAIT) => {}
        }
    }

    /// One package from taken to settled, whatever happens to it.
    async fn see_through(self: &Arc<Self>, delivery: Delivery) {
        let held = self.hand.guard(&delivery.id);
        let seeing_through = async {
            tokio::select! {
                () = self.attempt_when_safe(&delivery) => {}
                () = self.abandon.cancelled() => measure::given_back(),
            }
        };
        measure::process(seeing_through).await;
        self.give_room_back(&delivery).await;
        drop(held);
    }
}

/// Waits for a slot and takes all that are free with it; where those are `few` or fewer, after [`GATHER`]. `None` after [`TURN`],
/// so that the loop turns.
async fn free_slots(slots: &Arc<Semaphore>, few: usize) -> Option<Vec<OwnedSemaphorePermit>> {
    let first = tokio::time::timeout(TURN, slots.clone().acquire_owned())
        .await
        .ok()?;
    let mut permits = vec![first.expect("the semaphore is never closed")];
    if slots.available_permits() < few {
        tokio::time::sleep(GATHER).await;
    }
    while let Ok(permit) = slots.clone().try_acquire_owned() {
        permits.push(permit);
    }
    Some(permits)
}

async fn pause(stop: &CancellationToken, pause: Duration) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots, of which so many are free, and the permits of the others.
    fn slots(all: usize, free: usize) -> (Arc<Semaphore>, Vec<OwnedSemaphorePermit>) {
        let slots = Arc::new(Semaphore::new(all));
        let taken = (free..all).map(|_| slots.clone().try_acquire_owned().unwrap());
        let taken = taken.collect();
        (slots, taken)
    }

    #[tokio::test(start_paused = true)]
    async fn few_free_slots_wait_for_more() {
        let (slots, mut taken) = slots(8, 1);
        let begun = Instant::now();
        let next = taken.pop();
        // Runs while the slot that is free waits.
        tokio::spawn(async move { drop(next) });
        assert_eq!(free_slots(&slots, 2).await.unwrap().len(), 2);
        assert!(begun.elapsed() >= GATHER);
    }

    #[tokio::test(start_paused = true)]
    async fn many_free_slots_and_the_only_one_there_is_wait_for_nothing() {
        for (all, free) in [(8, 3), (8, 8), (1, 1)] {
            let (slots, _taken) = slots(all, free);
            let begun = Instant::now();
            assert_eq!(free_slots(&slots, all / FEW).await.unwrap().len(), free);
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_loop_turns_without_a_free_slot() {
        let (slots, _taken) = slots(2, 0);
        assert!(free_slots(&slots, 0).await.is_none());
    }
}
