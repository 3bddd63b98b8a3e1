//! What this replica has in hand: deliveries, and the jobs that it owns.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::queue::{Delivery, ReplicaStatus};

/// Deliveries that an attempt of this process works on, and the jobs among them that it has begun.
pub(super) struct Hand {
    held: Mutex<Held>,
    status: Arc<ReplicaStatus>,
}

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
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics while it holds this lock")
    }

    pub(super) fn holds(&self, delivery_id: &str) -> bool {
        self.lock().deliveries.contains(delivery_id)
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

    /// Notes that this process owns a job, until the result is dropped.
    pub(super) fn own(&self, job_id: i32) -> JobGuard<'_> {
        self.lock().jobs.insert(job_id);
        JobGuard { hand: self, job_id }
    }

    pub(super) fn owns(&self, job_id: i32) -> bool {
        self.lock().jobs.contains(&job_id)
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
    }
}
