//! What this replica has in hand: deliveries, and the jobs that they are for.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

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
    deliveries: HashSet<String>,
    jobs: HashSet<i32>,
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
        self.lock().deliveries.clone()
    }

    /// Notes deliveries before anybody works on them.
    pub(super) fn take(&self, deliveries: Vec<Delivery>) -> Vec<Delivery> {
        let mut held = self.lock();
        held.deliveries
            .extend(deliveries.iter().map(|delivery| delivery.id.clone()));
        self.status
            .in_flight
            .store(held.deliveries.len(), Ordering::Relaxed);
        deliveries
    }

    /// Forgets the delivery when the result is dropped, also by a panic.
    pub(super) fn guard(&self, delivery_id: &str) -> DeliveryGuard<'_> {
        DeliveryGuard {
            hand: self,
            delivery_id: delivery_id.to_owned(),
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
                let is_free = self.lock().jobs.insert(job_id);
                if is_free {
                    return JobGuard { hand: self, job_id };
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
}

impl Drop for JobGuard<'_> {
    fn drop(&mut self) {
        self.hand.lock().jobs.remove(&self.job_id);
        self.hand.released.notify_waiters();
    }
}
