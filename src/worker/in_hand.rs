//! What this replica works on: deliveries with their slots, and the jobs that they are for.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::measure;
use crate::queue::{Delivery, ReplicaStatus};

/// Deliveries that an attempt of this process works on, and the jobs that they are for.
pub(super) struct InHand {
    held: Mutex<Held>,
    /// Room for pictures that are recorded beside the slots.
    recording: Arc<Semaphore>,
    status: Arc<ReplicaStatus>,
    released: Notify,
}

/// Enough for a job to be begun, or found to have ended.
const A_MOMENT: Duration = Duration::from_millis(300);
/// So many pictures may be recorded beside the slots, also where there are few of those.
const MIN_RECORDING: usize = 10;
/// Where more are in hand, those whose rows are locked keep their slots.
const MAX_WAITING: usize = 1_000;

#[derive(Default)]
struct Held {
    /// With the slot of each, or its place among those whose pictures are being recorded, until all that is left of it is to be
    /// settled in Redis.
    deliveries: HashMap<String, Option<OwnedSemaphorePermit>>,
    /// Those whose pictures wait for a place, the longest first.
    to_be_recorded: VecDeque<String>,
    jobs: HashMap<i32, Reserved>,
    /// Jobs that were dropped while the intent of a call was on its way to Postgres: the call was not made.
    unsent: Vec<i32>,
}

/// A job that an attempt has reserved.
#[derive(Default)]
struct Reserved {
    cancelled: CancellationToken,
    /// It is in the ledger as this replica's.
    is_begun: bool,
}

impl InHand {
    pub(super) fn new(slots: usize, status: Arc<ReplicaStatus>) -> Self {
        Self {
            held: Mutex::default(),
            recording: Arc::new(Semaphore::new(slots.max(MIN_RECORDING))),
            status,
            released: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics while it holds this lock")
    }

    /// Ids of all deliveries in hand.
    pub(super) fn deliveries(&self) -> HashSet<String> {
        self.lock().deliveries.keys().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().deliveries.is_empty()
    }

    /// Notes deliveries before anybody works on them, each with its slot.
    pub(super) fn take(&self, deliveries: &[Delivery], slots: Vec<OwnedSemaphorePermit>) {
        measure::TAKEN.count(deliveries.len() as u64, &[]);
        let mut held = self.lock();
        let ids = deliveries.iter().map(|delivery| delivery.id.clone());
        held.deliveries.extend(ids.zip(slots.into_iter().map(Some)));
        self.status
            .in_flight
            .store(held.deliveries.len(), Ordering::Relaxed);
    }

    /// Gives the slot of a delivery to the next package, as its picture is stored and only has to be recorded: so the next one is
    /// drawn meanwhile. Where many are being recorded, as soon as there are fewer: what Postgres does not take must not pile up.
    pub(super) fn free_slot_to_record(&self, delivery_id: &str) {
        let mut held = self.lock();
        held.to_be_recorded.push_back(delivery_id.to_owned());
        self.give_places(&mut held);
    }

    /// Gives the places that are free to whoever waits for one, for their slots. Comes after whatever may have freed one.
    fn give_places(&self, held: &mut Held) {
        while let Some(id) = held.to_be_recorded.front() {
            // What has ended, or has stepped aside, needs no place any more.
            if let Some(Some(slot)) = held.deliveries.get_mut(id) {
                let Ok(place) = self.recording.clone().try_acquire_owned() else {
                    return;
                };
                *slot = place;
            }
            held.to_be_recorded.pop_front();
        }
    }

    /// Gives the slot of a delivery to the next package while its row is locked. Not where very many wait so, which are all in
    /// memory.
    pub(super) fn free_slot_to_wait(&self, delivery_id: &str) {
        let mut held = self.lock();
        if held.deliveries.len() > MAX_WAITING {
            return;
        }
        self.free_slot(&mut held, delivery_id);
    }

    /// Gives the slot of a delivery, if it has one still, to the next package: all that is left of it is to be settled in Redis.
    pub(super) fn free_slot_to_end(&self, delivery_id: &str) {
        self.free_slot(&mut self.lock(), delivery_id);
    }

    fn free_slot(&self, held: &mut Held, delivery_id: &str) {
        drop(held.deliveries.get_mut(delivery_id).and_then(Option::take));
        self.give_places(held);
    }

    /// Forgets the delivery when the result is dropped, also by a panic.
    pub(super) fn guard(&self, delivery_id: &str) -> DeliveryGuard<'_> {
        DeliveryGuard {
            in_hand: self,
            delivery_id: delivery_id.to_owned(),
        }
    }

    /// The jobs that attempts of this process work on.
    pub(super) fn jobs(&self) -> Vec<i32> {
        self.lock().jobs.keys().copied().collect()
    }

    pub(super) fn has_job(&self, job_id: i32) -> bool {
        self.lock().jobs.contains_key(&job_id)
    }

    /// Notes that an attempt was dropped while the intent of a call was on its way.
    pub(super) fn note_unsent(&self, job_id: i32) {
        self.lock().unsent.push(job_id);
    }

    /// The jobs for which a call may have been intended that was not made.
    pub(super) fn unsent(&self) -> Vec<i32> {
        self.lock().unsent.clone()
    }

    /// Ends the attempt at a job that somebody has ended.
    pub(super) fn cancel(&self, job_id: i32) {
        if let Some(job) = self.lock().jobs.get(&job_id) {
            job.cancelled.cancel();
        }
    }

    /// Reserves a job for one attempt of this process, until the result is dropped; `None` when another attempt of
    /// this process has begun it, or does not for longer than [`A_MOMENT`].
    ///
    /// Comes before the job is begun: of two deliveries of a job that are begun at the same time, the later one
    /// would find it owned by this very worker and could not tell why.
    pub(super) async fn reserve(&self, job_id: i32) -> Option<JobGuard<'_>> {
        let reserving = async {
            loop {
                let released = self.released.notified();
                match self.lock().jobs.entry(job_id) {
                    Entry::Vacant(free) => {
                        return Some(JobGuard {
                            in_hand: self,
                            job_id,
                            cancelled: free.insert(Reserved::default()).cancelled.clone(),
                        });
                    }
                    Entry::Occupied(other) if other.get().is_begun => return None,
                    Entry::Occupied(_) => {}
                }
                released.await;
            }
        };
        tokio::time::timeout(A_MOMENT, reserving).await.ok().flatten()
    }
}

pub(super) struct DeliveryGuard<'a> {
    in_hand: &'a InHand,
    delivery_id: String,
}

impl Drop for DeliveryGuard<'_> {
    fn drop(&mut self) {
        let mut held = self.in_hand.lock();
        held.deliveries.remove(&self.delivery_id);
        self.in_hand.give_places(&mut held);
        self.in_hand
            .status
            .in_flight
            .store(held.deliveries.len(), Ordering::Relaxed);
    }
}

pub(super) struct JobGuard<'a> {
    in_hand: &'a InHand,
    job_id: i32,
    /// Somebody has ended the job.
    pub(super) cancelled: CancellationToken,
}

impl JobGuard<'_> {
    /// The job is in the ledger as this replica's: whoever waits to reserve it need not wait.
    pub(super) fn note_begun(&self) {
        if let Some(job) = self.in_hand.lock().jobs.get_mut(&self.job_id) {
            job.is_begun = true;
        }
        self.in_hand.released.notify_waiters();
    }
}

impl Drop for JobGuard<'_> {
    fn drop(&mut self) {
        self.in_hand.lock().jobs.remove(&self.job_id);
        self.in_hand.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn delivery(number: usize) -> Delivery {
        Delivery {
            id: format!("{number}.normal"),
            payload: Vec::new(),
            crashes: None,
        }
    }

    /// As many deliveries in hand as there are slots, and what the slots come from.
    fn full_hand(slots: usize) -> (InHand, Arc<Semaphore>, Vec<Delivery>) {
        let in_hand = InHand::new(slots, Arc::new(ReplicaStatus::new(slots, uuid::Uuid::nil())));
        let semaphore = Arc::new(Semaphore::new(slots));
        let deliveries: Vec<Delivery> = (0..slots).map(delivery).collect();
        let permits = (0..slots)
            .map(|_| semaphore.clone().try_acquire_owned().unwrap())
            .collect();
        in_hand.take(&deliveries, permits);
        (in_hand, semaphore, deliveries)
    }

    #[test]
    fn a_slot_is_free_while_its_picture_is_recorded_and_its_delivery_is_still_in_hand() {
        let (in_hand, slots, deliveries) = full_hand(3);
        in_hand.free_slot_to_record(&deliveries[0].id);
        assert_eq!(slots.available_permits(), 1);
        assert_eq!(in_hand.deliveries().len(), 3);
        in_hand.free_slot_to_end(&deliveries[0].id);
        in_hand.free_slot_to_end(&deliveries[1].id);
        assert_eq!(slots.available_permits(), 2);
        drop(in_hand.guard(&deliveries[2].id));
        assert_eq!(slots.available_permits(), 3);
    }

    #[test]
    fn many_pictures_that_are_not_recorded_keep_their_slots_until_others_are() {
        let (in_hand, slots, first) = full_hand(20);
        let record = |deliveries: &[Delivery]| {
            for delivery in deliveries {
                in_hand.free_slot_to_record(&delivery.id);
            }
        };
        let take = |numbers: Range<usize>| {
            let later: Vec<Delivery> = numbers.map(delivery).collect();
            let permits = later.iter().map(|_| slots.clone().try_acquire_owned().unwrap());
            in_hand.take(&later, permits.collect());
            later
        };
        record(&first);
        assert_eq!(slots.available_permits(), 20, "as many as there are slots");
        let later = take(20..24);
        record(&later);
        assert_eq!(slots.available_permits(), 16, "and no more");
        in_hand.free_slot_to_end(&first[0].id);
        assert_eq!(slots.available_permits(), 17, "one has been recorded");
        drop(in_hand.guard(&first[1].id));
        assert_eq!(slots.available_permits(), 18, "one was given up");
        // What has no slot any more takes no place from what comes behind it.
        in_hand.free_slot_to_end(&later[2].id);
        in_hand.free_slot_to_wait(&later[3].id);
        record(&take(24..25));
        assert_eq!(slots.available_permits(), 19);
        in_hand.free_slot_to_wait(&first[2].id);
        assert_eq!(slots.available_permits(), 20);
    }
}
