//! The loop: a slot comes first, then a package, so that nothing is taken that nobody can work on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::health::Health;
use super::in_hand::InHand;
use super::ledger::LeaseWatch;
use crate::batch::grows;
use crate::fault;
use crate::queue::{Adopted, Delivery, Landed, Landing, Queue, ReplicaStatus};
use crate::redis::RedisFailure;

/// How long the loop waits before it tries again what has just failed.
const PAUSE: Duration = Duration::from_millis(250);
/// How often the loop turns, at least, while every slot is taken.
const TURN: Duration = Duration::from_secs(1);
/// How long the loop waits where Redis does not notify of packages on other lists than the main one.
const UNNOTIFIED_WAIT: Duration = Duration::from_secs(2);
/// Between two tries to end a wait.
const WAKE_AGAIN: Duration = Duration::from_millis(50);
/// How often a replica compares what it has in hand with what Redis thinks it has.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What makes the loop look before its time.
#[derive(Default)]
pub(super) struct Wake {
    /// It is worth looking at the lists.
    pub(super) work: Notify,
    /// Redis holds something to be in hand while nothing is.
    pub(super) has_left_over: AtomicBool,
    /// Packages have been set aside, and who waits for their jobs does not know yet.
    pub(super) set_aside: Notify,
}

/// Claims packages.
pub(super) struct Claims {
    pub(super) concurrency: usize,
    pub(super) queue: Queue,
    pub(super) status: Arc<ReplicaStatus>,
    pub(super) health: Arc<Health>,
    pub(super) in_hand: Arc<InHand>,
    pub(super) wake: Arc<Wake>,
    pub(super) lease: LeaseWatch,
}

/// When what Redis holds to be in hand has to be compared with what is.
struct Comparison {
    is_due: bool,
    made_at: Instant,
    server_number: u64,
}

impl Claims {
    /// Takes packages until `stop` and hands each to `start`.
    pub(super) async fn run(&self, stop: &CancellationToken, start: impl Fn(Delivery)) {
        let slots = Arc::new(Semaphore::new(self.concurrency));
        let mut landing = self.queue.landing();
        let mut comparison = Comparison {
            is_due: false,
            made_at: Instant::now(),
            server_number: self.queue.server_number(),
        };
        let mut is_quiet = false;
        while !stop.is_cancelled() {
            self.status.turned();
            self.look_for_reasons_to(&mut comparison);
            let Some(permits) = free_slots(&slots).await else {
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
            if std::mem::take(&mut is_quiet) && !comparison.is_due {
                is_quiet = self.wait_for_package(&mut landing, stop).await;
                continue;
            }
            let free = permits.len();
            match self.claim(free, &mut comparison.is_due).await {
                Ok(Adopted {
                    deliveries,
                    is_paused,
                    set_aside,
                    has_more,
                    refused,
                }) => {
                    if !set_aside.is_empty() {
                        set_aside.into_iter().for_each(warn_of_size);
                        self.wake.set_aside.notify_one();
                    }
                    let is_drained = deliveries.len() < free && !has_more;
                    self.in_hand.take(&deliveries, permits);
                    deliveries.into_iter().for_each(&start);
                    self.status.is_paused.store(is_paused, Ordering::Relaxed);
                    if !refused.is_empty() {
                        // The others go on. A wait for a list that is none would end at once.
                        self.note_refusal(RedisFailure::wrong_type()).await;
                        pause(stop, PAUSE).await;
                    } else if is_paused {
                        self.wait_while_paused(stop).await;
                    } else if is_drained && !stop.is_cancelled() {
                        is_quiet = self.wait_for_package(&mut landing, stop).await;
                    }
                }
                Err(RedisFailure::Lost) => comparison.is_due = true,
                Err(error) => {
                    self.note_refusal(error).await;
                    comparison.is_due = true;
                    pause(stop, PAUSE).await;
                }
            }
        }
    }

    async fn note_refusal(&self, error: RedisFailure) {
        let error = self.queue.explain(error).await;
        self.health.redis_failed(&error);
    }

    fn look_for_reasons_to(&self, compare: &mut Comparison) {
        // What an attempt left behind that broke down is found by nothing else while this replica lives. An idle one
        // sees it at a glance.
        let is_left = self.wake.has_left_over.swap(false, Ordering::Relaxed);
        if is_left || (compare.made_at.elapsed() > LOOK_EVERY && !self.in_hand.is_empty()) {
            compare.is_due = true;
            compare.made_at = Instant::now();
        }
        if self.queue.server_number() != compare.server_number {
            // What was settled last may be in hand again there.
            compare.server_number = self.queue.server_number();
            compare.is_due = true;
        }
    }

    /// Claims up to `free` packages; after a claim whose answer may have been lost, first what it claimed.
    async fn claim(&self, free: usize, must_compare: &mut bool) -> Result<Adopted, RedisFailure> {
        if *must_compare {
            // Before Redis is asked: what ends meanwhile is in the answer and no longer in the hand.
            let held = self.in_hand.deliveries();
            let mut unknown = self.queue.in_hand().await?;
            unknown.retain(|delivery| !held.contains(&delivery.id));
            *must_compare = unknown.len() > free;
            unknown.truncate(free);
            if !unknown.is_empty() {
                tracing::info!(
                    count = unknown.len(),
                    "found packages that were taken by a call whose answer was lost"
                );
                return Ok(Adopted {
                    deliveries: unknown,
                    is_paused: false,
                    set_aside: Vec::new(),
                    has_more: false,
                    refused: Vec::new(),
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

    /// Sleeps until a package lands, or there is a notice that one waits elsewhere, a few seconds at the most. The wait is
    /// ended from outside, as dropping it could strand a package.
    ///
    /// `true`: nothing has come, there was no notice, and this replica is known by its name while the next wait lasts, so that
    /// it may follow without another look.
    async fn wait_for_package(&self, landing: &mut Landing, stop: &CancellationToken) -> bool {
        let most = if self.queue.is_listening() {
            Duration::from_secs(60)
        } else {
            UNNOTIFIED_WAIT
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
                () = self.wake.work.notified(), if !is_over => is_over = true,
                () = tokio::time::sleep(turn) => self.status.turned(),
            }
        };
        match result {
            Ok(Landed::Package) => {
                fault::point("landed");
                false
            }
            Ok(Landed::Nothing) => {
                !is_over && self.queue.is_listening() && self.lease.holds_for(longest_wait)
            }
            Ok(Landed::Unknown) => false,
            Err(error) => {
                self.health.redis_failed(&error);
                pause(stop, PAUSE).await;
                false
            }
        }
    }

    /// Sleeps until the queue may have been resumed.
    async fn wait_while_paused(&self, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.wake.work.notified() => {}
            () = tokio::time::sleep(UNNOTIFIED_WAIT) => {}
        }
    }
}

fn warn_of_size(bytes: u64) {
    tracing::error!(
        bytes,
        "a package of {bytes} bytes is larger than MAX_PACKAGE_BYTES and was set aside unread; generative-ai-worker dead \
         list shows it, dead export writes it out"
    );
}

/// Waits for a slot and takes all that become free with it: packages that are claimed together are begun, recorded and settled
/// together, each for less. `None` after [`TURN`], so that the loop turns.
async fn free_slots(slots: &Arc<Semaphore>) -> Option<Vec<OwnedSemaphorePermit>> {
    let first = tokio::time::timeout(TURN, slots.clone().acquire_owned())
        .await
        .ok()?;
    let mut permits = vec![first.expect("the semaphore is never closed")];
    while grows(|| slots.available_permits()).await {}
    while let Ok(permit) = slots.clone().try_acquire_owned() {
        permits.push(permit);
    }
    Some(permits)
}

pub(super) async fn pause(stop: &CancellationToken, pause: Duration) {
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

    #[tokio::test]
    async fn slots_that_become_free_together_are_taken_together() {
        let (slots, taken) = slots(8, 1);
        // Each frees its slot when the one before it has, as tasks do that a batch has woken.
        tokio::spawn(async move {
            for slot in taken {
                tokio::spawn(async move { drop(slot) }).await.unwrap();
            }
        });
        assert_eq!(free_slots(&slots).await.unwrap().len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn the_slots_that_are_free_wait_for_no_others() {
        for (all, free) in [(8, 3), (8, 8), (1, 1)] {
            let (slots, _taken) = slots(all, free);
            let begun = Instant::now();
            assert_eq!(free_slots(&slots).await.unwrap().len(), free);
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_loop_turns_without_a_free_slot() {
        let (slots, _taken) = slots(2, 0);
        assert!(free_slots(&slots).await.is_none());
    }
}
