//! Whether Redis and Postgres answer, and what Redis refuses: said once when it changes, not once per failed call.

mod refusals;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::db::DbError;
use crate::queue::ReplicaStatus;
use crate::redis::RedisFailure;

use refusals::Refusals;

const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

pub(super) struct Health {
    status: Arc<ReplicaStatus>,
    redis_is_up: AtomicBool,
    /// What Redis has said in this outage in place of nothing.
    said: Mutex<Vec<String>>,
    refusals: Refusals,
    lease_ttl: Duration,
    trust: Mutex<Trust>,
    postgres_started_at: Mutex<Option<DateTime<Utc>>>,
}

/// From when on a missing lease means a dead replica, on which server.
struct Trust {
    from: Instant,
    server_number: u64,
}

impl Health {
    /// A replica that has just started may have been started by the end of an outage in which all leases ran out,
    /// so it gives the others time to renew theirs.
    pub(super) fn new(status: Arc<ReplicaStatus>, lease_ttl: Duration, server_number: u64) -> Self {
        let trust = Mutex::new(Trust {
            from: Instant::now() + lease_ttl,
            server_number,
        });
        Self {
            status,
            redis_is_up: AtomicBool::new(true),
            said: Mutex::default(),
            refusals: Refusals::default(),
            lease_ttl,
            trust,
            postgres_started_at: Mutex::default(),
        }
    }

    pub(super) fn status(&self) -> &Arc<ReplicaStatus> {
        &self.status
    }

    fn lock(&self) -> MutexGuard<'_, Trust> {
        self.trust
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Whether work may be taken: without Postgres nothing may be begun.
    pub(super) fn may_take(&self) -> bool {
        self.status.postgres_is_up.load(Ordering::Relaxed)
    }

    /// Whether Redis answered when it was last asked.
    pub(super) fn redis_is_up(&self) -> bool {
        self.redis_is_up.load(Ordering::Relaxed)
    }

    /// Whether a missing lease means a dead replica. Not before [`Self::redis_answered`] has set the time for it:
    /// the first call that gets through after an outage may be the very one that asks for leases. Nor soon after
    /// another server has taken over, which may never have heard of the last renewals.
    pub(super) fn trusts_leases(&self, server_number: u64) -> bool {
        let mut trust = self.lock();
        if trust.server_number != server_number {
            *trust = Trust {
                from: Instant::now() + 2 * self.lease_ttl,
                server_number,
            };
        }
        self.redis_is_up.load(Ordering::Acquire) && Instant::now() >= trust.from
    }

    /// What a server that has been replaced did not do says nothing of the one in use, nor does a connection that was cut
    /// where another could be opened at once. What one key or one right keeps from being done says nothing of the rest.
    pub(super) fn redis_failed(&self, error: &RedisFailure) {
        match error {
            RedisFailure::Replaced | RedisFailure::Lost => {}
            RedisFailure::Refused(why) | RedisFailure::WrongType(why) => self.refusals.note(why),
            RedisFailure::Failed(_) => {
                if self.redis_is_up.swap(false, Ordering::Relaxed) {
                    tracing::error!(%error, "Redis does not answer; nothing is taken until it does");
                }
            }
            RedisFailure::Unable(why) | RedisFailure::ShutOut(why) => {
                self.redis_is_up.store(false, Ordering::Relaxed);
                let mut said = self.said.lock().expect("nothing panics while it holds this lock");
                if !said.contains(why) {
                    said.push(why.clone());
                    tracing::error!(%error, "Redis answers, and nothing can be done with it; nothing is taken until that is over");
                }
            }
        }
    }

    /// What Redis refuses now, while it does the rest: a sentence each.
    pub(super) fn redis_refusals(&self) -> Vec<String> {
        self.refusals.now()
    }

    /// Whoever cannot ask for leases knows nothing of them: others could not renew theirs either, for all that is known.
    pub(super) fn distrust_leases(&self) {
        self.lock().from = Instant::now() + 2 * self.lease_ttl;
    }

    /// After an outage all leases may have run out together, so for a while their absence means nothing.
    pub(super) fn redis_answered(&self) {
        self.refusals.forget_those_that_are_over();
        if self.redis_is_up.load(Ordering::Relaxed) {
            return;
        }
        self.distrust_leases();
        if !self.redis_is_up.swap(true, Ordering::Release) {
            self.said
                .lock()
                .expect("nothing panics while it holds this lock")
                .clear();
            tracing::info!("Redis answers again; going on");
        }
    }

    /// Asks Redis until it has answered.
    pub(super) async fn until_redis_answers<T, F>(&self, ask: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, RedisFailure>>,
    {
        let mut pause = PAUSE;
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => {
                    self.redis_failed(&error);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// A statement that has collided with others or met a lock says nothing of the server, which has answered.
    pub(super) fn postgres_failed(&self, error: &DbError) {
        if matches!(error, DbError::Collided(_) | DbError::Locked(_)) {
            return;
        }
        if !self.status.postgres_is_up.swap(false, Ordering::Relaxed) {
            return;
        }
        let cause = error.to_string();
        if matches!(error, DbError::Demoted(_)) {
            tracing::error!(cause, "Postgres takes no writes; nothing is taken until it does");
        } else {
            tracing::error!(cause, "Postgres does not answer; nothing is taken until it does");
        }
    }

    /// When the Postgres was started that answered last; `None` before one has.
    pub(super) fn postgres_started_at(&self) -> Option<DateTime<Utc>> {
        *self
            .postgres_started_at
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    pub(super) fn postgres_answered(&self, started_at: DateTime<Utc>) {
        *self
            .postgres_started_at
            .lock()
            .expect("nothing panics while it holds this lock") = Some(started_at);
        if !self.status.postgres_is_up.swap(true, Ordering::Relaxed) {
            tracing::info!("Postgres answers again; going on");
        }
    }
}
