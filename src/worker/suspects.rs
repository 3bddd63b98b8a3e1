//! Packages that may be what replicas died of: one at a time in each replica, poison after three crashes of their own.
//!
//! A crash between the note and its end is counted for the suspect by whoever recovers this replica.

use tracing::Span;

use super::attempt::{AtStake, Attempts};
use super::ending::Ending;
use crate::failure::{ErrorClass, Failure};
use crate::queue::{Delivery, Limit};

/// How many suspects run in a replica. Those that find no room are parked, and stay suspects, as they are known by
/// their bytes.
pub(super) const ONE_AT_A_TIME: Limit = Limit {
    open: 0,
    per_replica: 1,
    per_minute: 0,
};
/// So many crashes with no other suspect beside it are no accident.
const MAX_CRASHES: u32 = 3;

impl Attempts {
    /// Makes an attempt; at a suspect when there is room for it and it is noted, both before anything looks into the package.
    pub(super) async fn attempt_when_safe(&self, delivery: &Delivery, stake: &AtStake) -> (Ending, Span) {
        let Some(crashes) = delivery.crashes else {
            return self.attempt(delivery, stake).await;
        };
        if !self.room.admit_suspect(delivery).await {
            return (Ending::parked(), Span::none());
        }
        let health = &self.statements.health;
        health
            .until_redis_answers(|| self.queue.note_suspect(delivery))
            .await;
        let (ending, span) = if crashes > MAX_CRASHES {
            // It has crashed the replica that was to record it as poison too: not even read any more.
            let ending = self.reject(delivery, None, poison(crashes), None, None).await;
            (ending, Span::none())
        } else {
            self.attempt(delivery, stake).await
        };
        // One that only waits for something has not been tried.
        let has_survived = ending.report.outcome().is_some();
        health
            .until_redis_answers(|| self.queue.end_suspect(delivery, has_survived))
            .await;
        (ending, span)
    }
}

/// Why no replica is to work on this delivery any more.
pub(super) fn poisoned(delivery: &Delivery) -> Option<Failure> {
    delivery
        .crashes
        .filter(|crashes| *crashes >= MAX_CRASHES)
        .map(poison)
}

fn poison(crashes: u32) -> Failure {
    let message =
        "Three replicas stopped while working on this job. Change the prompt, or ask an operator about it.";
    Failure::new(ErrorClass::Poison, message)
        .with_details(format!("{crashes} crashes with this package as the only suspect"))
}
