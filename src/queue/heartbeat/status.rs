//! What a replica knows of itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

/// A loop that has not turned for this long is stuck: it turns at least every second.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// What a replica knows of itself and tells in its ping.
#[derive(Debug)]
pub struct ReplicaStatus {
    started_at: DateTime<Utc>,
    concurrency: usize,
    database: Uuid,
    turned: Mutex<Instant>,
    pub(super) turns: AtomicU64,
    pub(super) ticks: AtomicU64,
    /// Packages in hand.
    pub in_flight: AtomicUsize,
    /// Jobs that ended with a picture.
    pub completed: AtomicU64,
    /// Packages that failed for good.
    pub failed: AtomicU64,
    /// Attempts that are followed by another.
    pub retried: AtomicU64,
    /// Whether Postgres answered when it was last asked.
    pub postgres_is_up: AtomicBool,
    /// Whether no replica may take new work now.
    pub is_paused: AtomicBool,
    /// Whether the replica takes nothing more and finishes what it has.
    pub is_draining: AtomicBool,
}

impl ReplicaStatus {
    /// A replica that starts now, with this database ([`crate::db::Db::database_id`]).
    #[must_use]
    pub fn new(concurrency: usize, database: Uuid) -> Self {
        Self {
            started_at: Utc::now(),
            concurrency,
            database,
            turned: Mutex::new(Instant::now()),
            turns: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            postgres_is_up: AtomicBool::new(true),
            is_paused: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
        }
    }

    /// Notes, about once a second, that the runtime still runs its tasks.
    pub fn ticked(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the loop has turned.
    pub fn turned(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        *self
            .turned
            .lock()
            .expect("nothing panics while it holds this lock") = Instant::now();
    }

    /// Whether the loop has turned at all, which it does when the replica has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.turns.load(Ordering::Relaxed) > 0
    }

    /// For how long the loop has not turned.
    #[must_use]
    pub fn stands_for(&self) -> Duration {
        let turned = *self
            .turned
            .lock()
            .expect("nothing panics while it holds this lock");
        turned.elapsed()
    }

    /// Whether the replica is able to work, as far as it can tell without asking Redis.
    #[must_use]
    pub fn is_able(&self) -> bool {
        self.postgres_is_up.load(Ordering::Relaxed) && self.stands_for() < STUCK_AFTER
    }

    /// Packages that it can work on at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    pub(super) fn to_json(&self, worker_id: &str) -> String {
        let state = if self.is_draining.load(Ordering::Relaxed) {
            "draining"
        } else if self.is_paused.load(Ordering::Relaxed) {
            "paused"
        } else {
            "running"
        };
        json!({
            "workerId": worker_id,
            "version": env!("CARGO_PKG_VERSION"),
            "host": gethostname::gethostname().to_string_lossy(),
            "pid": std::process::id(),
            "startedAt": self.started_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            "at": Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            "state": state,
            "inFlight": self.in_flight.load(Ordering::Relaxed),
            "concurrency": self.concurrency,
            "database": self.database,
            "completed": self.completed.load(Ordering::Relaxed),
            "failed": self.failed.load(Ordering::Relaxed),
            "retried": self.retried.load(Ordering::Relaxed),
        })
        .to_string()
    }
}
