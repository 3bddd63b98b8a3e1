//! Packages that may be what replicas died of: one at a time in each replica, poison after three crashes of their own.
//!
//! A crash between the note and its end is counted for the suspect by whoever recovers this replica.

use std::sync::Mutex;
use std::time::Duration;

use super::Shared;
use crate::failure::{ErrorClass, Failure};
use crate::queue::{Command, Delivery, Limit, QueueError, SUSPECTS};

/// How many suspects run in a replica. Those that find no room are parked, and stay suspects, as they are known by
/// their bytes.
pub(super) const ONE_AT_A_TIME: Limit = Limit {
    open: 0,
    per_replica: 1,
    per_minute: 0,
};
/// So many crashes with no other suspect beside it are no accident.
const MAX_CRASHES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The suspect that runs in this replica, and whether its attempt has come to an end of its own.
#[derive(Default)]
pub(super) struct Suspect(Mutex<Option<(String, bool)>>);

impl Suspect {
    fn begin(&self, delivery: &Delivery) {
        *self.0.lock().expect("nothing panics while it holds this lock") = Some((delivery.id.clone(), false));
    }

    /// Notes how an attempt ends. One that only waits for a time has not been tried; a retry has, and has an event.
    pub(super) fn ends(&self, command: &Command) {
        let has_survived = match command {
            Command::Settle { .. } | Command::Bury { .. } => true,
            Command::Delay { event, .. } => event.is_some(),
            Command::Publish(_) => false,
        };
        let mut running = self.0.lock().expect("nothing panics while it holds this lock");
        if let Some((id, survived)) = &mut *running
            && command.delivery() == Some(id)
        {
            *survived |= has_survived;
        }
    }

    /// Whether the suspect has survived.
    fn end(&self) -> bool {
        let running = self
            .0
            .lock()
            .expect("nothing panics while it holds this lock")
            .take();
        running.is_some_and(|(_, survived)| survived)
    }
}

impl Shared {
    /// An attempt; of a suspect when there is room for it and it is noted, both before anything looks into the package.
    pub(super) async fn attempt_when_safe(&self, delivery: &Delivery) {
        let Some(crashes) = delivery.crashes else {
            return self.attempt(delivery).await;
        };
        if !self.get_room(SUSPECTS, delivery).await {
            return;
        }
        self.until_redis_answers(|| self.queue.note_suspect(delivery))
            .await;
        self.suspect.begin(delivery);
        if crashes > MAX_CRASHES {
            // It has crashed the replica that was to record it as poison too: not even read any more.
            self.reject(delivery, None, poison(crashes), None).await;
        } else {
            self.attempt(delivery).await;
        }
        let has_survived = self.suspect.end();
        self.until_redis_answers(|| self.queue.end_suspect(delivery, has_survived))
            .await;
    }

    async fn until_redis_answers<F>(&self, call: impl Fn() -> F)
    where
        F: Future<Output = Result<(), QueueError>>,
    {
        let mut pause = PAUSE;
        while let Err(error) = call().await {
            self.health.redis_failed(&error);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
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
