//! What this replica has in hand: deliveries, and the jobs that they are for.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::measure;
use crate::queue::{Delivery, ReplicaStatus};

/// Deliveries that an attempt of this process works on, and the jobs that they are for.
pub(super) struct Hand {
    held: Mutex<Held>,
    status: Arc<ReplicaStatus>,
    released: Notify,
}

/// Enough for an attempt that finds its job done; an attempt that draws takes longer.
const A_MOMENT: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Held {
    /// With the slot of each, until all that is left of it is to be told to Redis.
    deliveries: HashMap<String, Option<OwnedSemaphorePermit>>,
    jobs: HashMap<i32, CancellationToken>,
}

impl Hand {
    pub(super) fn new(status: Arc<ReplicaStatus>) -> Self {
        Self {
            held: Mutex::default(),
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

    /// Gives the slot of a delivery to the next package: all that is left of it is to be told to Redis.
    pub(super) fn free_slot(&self, delivery_id: &str) {
        let slot = self.lock().deliveries.get_mut(delivery_id).and_then(Option::take);
        drop(slot);
    }

    /// Forgets the delivery when the result is dropped, also by a panic.
    pub(super) fn guard(&self, delivery_id: &str) -> DeliveryGuard<'_> {
        DeliveryGuard {
            hand: self,
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

    /// Ends the attempt at a job that somebody has ended.
    pub(super) fn cancel(&self, job_id: i32) {
        if let Some(cancelled) = self.lock().jobs.get(&job_id) {
            cancelled.cancel();
        }
    }

    /// Reserves a job for one attempt of this process, until the result is dropped; `None` when another attempt
    /// of this process keeps it for longer than [`A_MOMENT`].
    ///
    /// Comes before the job is begun: of two deliveries of a job that are begun at the same time, the later one
    /// would find it owned by this very worker and could not tell why.
    pub(super) async fn reserve(&self, job_id: i32) -> Option<JobGuard<'_>> {
        let reserving = async {
            loop {
                let released = self.released.notified();
                if let Entry::Vacant(free) = self.lock().jobs.entry(job_id) {
                    return JobGuard {
                        hand: self,
                        job_id,
                        cancelled: free.insert(CancellationToken::new()).clone(),
                    };
                }
                released.await;
            }
        };
        tokio::time::timeout(A_MOMENT, reserving).await.ok()
    }
}

pub(super) struct DeliveryGuard<'a> {
    hand: &'a Hand,
    delivery_id: String,
}

impl Drop for DeliveryGuard<'_> {
    fn drop(&mut self) {
        let mut held = self.hand.lock();
        held.deliveries.remove(&self.delivery_id);
        self.hand
            .status
            .in_flight
            .store(held.deliveries.len(), Ordering::Relaxed);
    }
}

pub(super) struct JobGuard<'a> {
    hand: &'a Hand,
    job_id: i32,
    /// Somebody has ended the job.
    pub(super) cancelled: CancellationToken,
}

impl Drop for JobGuard<'_> {
    fn drop(&mut self) {
        self.hand.lock().jobs.remove(&self.job_id);
        self.hand.released.notify_waiters();
    }
}
