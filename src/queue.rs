//! The Redis side: lists of waiting packages, what each replica has in hand, leases, pings and events.
//!
//! Redis says who should work next; it never says whether a job is done. A package is always in exactly one
//! place: a waiting list, a worker's landing list, its processing hash, or the delayed or dead set, and every
//! step from one to the next is one script.

mod access;
mod bell;
mod budgets;
mod check;
mod control;
mod dead;
mod depths;
mod event;
mod forward;
mod gone;
mod heartbeat;
mod housekeeping;
mod inspect;
mod keys;
mod lane;
mod limits;
mod missing_row;
mod overview;
mod pipeline;
mod place;
mod provider;
mod reconcile;
mod recover;
mod replies;
mod rights;
mod scripts;
mod set_aside;
mod strangers;
mod suspects;
mod take;
mod taken_over;
mod tick;
mod turns;
mod types;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use secrecy::SecretString;

use crate::redis::Dedicated;
use lane::Lane;
use pipeline::Pipeline;
use turns::Turns;

pub use access::Redis;
pub use bell::{Bell, Ring};
pub use budgets::BudgetPark;
pub use control::{Notice, PauseNote};
pub use dead::DeadLetter;
pub use depths::{Backlog, Depths, StrayList, Waiting};
pub use event::{Event, Status};
pub use gone::Gone;
pub use heartbeat::{Heartbeat, Lease, ReplicaStatus};
pub use inspect::RedisFacts;
pub use keys::{Keys, Priority};
pub use lane::{Command, Due};
pub use limits::{Entry, Left, Limit};
pub use overview::{InFlight, Overview, Ping, ProviderRoom, Replica};
pub use place::{Place, Placed};
pub use provider::{CallEnd, ProviderState, Reported, Shut, Standing};
pub use set_aside::SetAside;
pub use suspects::SUSPECTS;
pub use take::{Adopted, BlockedClient, Delivery, Landed, Landing};
pub use taken_over::TakenOver;
pub use tick::{Glance, ProviderTick, Tick};
pub use turns::{Fairness, Weights};

/// How to reach the queue and how to behave there; made by `config`.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// A server, Sentinels or a cluster, with user, password and database.
    pub url: SecretString,
    /// The variable that has named it: `REDIS_WORKER_URL` or `REDIS_URL`.
    pub variable: &'static str,
    /// `QUEUE_NAME`: the list that producers push to, and the tag of every other key.
    pub name: String,
    /// First part of the worker id.
    pub worker_name: String,
    /// After this long without a renewal a replica counts as dead.
    pub lease_ttl: Duration,
    /// Between two pings.
    pub ping_interval: Duration,
    /// Larger packages are set aside unread (`MAX_PACKAGE_BYTES`).
    pub max_package_bytes: usize,
    /// Entries that the dead set keeps (`DEAD_LETTER_MAX`).
    pub dead_letter_max: usize,
    /// What they take at the most, all of them together (`DEAD_LETTER_MAX_BYTES`).
    pub dead_letter_max_bytes: usize,
    /// Shares of the waiting lists (`PRIORITY_WEIGHTS`).
    pub weights: Weights,
    /// Whose backlog holds up nobody else (`FAIRNESS`).
    pub fairness: Fairness,
    /// What packages may be parked for: the providers, and what else has limits. Their keys are looked at before a start.
    pub rooms: Vec<String>,
}

/// One replica's view of the queue. Cloning it is cheap.
#[derive(Clone)]
pub struct Queue {
    redis: Redis,
    scripts: Arc<scripts::Scripts>,
    worker_id: Arc<str>,
    lease_ttl: Duration,
    is_listening: Arc<AtomicBool>,
    /// Whether it has been told that this account lacks what a replica can do without.
    has_told_of_limits: Arc<AtomicBool>,
    /// The connection that idle replicas look over.
    glances: Arc<tokio::sync::Mutex<Option<Dedicated>>>,
    lane: Lane,
}

impl Queue {
    /// A worker of the queue, under an id that no other process has or had.
    fn of(redis: Redis, settings: &QueueSettings, scripts: scripts::Scripts, is_limited: bool) -> Self {
        let scripts = Arc::new(scripts);
        let worker_id: Arc<str> =
            format!("{}-{}", settings.worker_name, uuid::Uuid::new_v4().simple()).into();
        let lane = lane::spawn(Pipeline {
            redis: redis.clone(),
            scripts: scripts.clone(),
            worker_id: worker_id.clone(),
            turns: Turns::new(settings.weights, settings.fairness, settings.max_package_bytes),
            connection: None,
        });
        Self {
            redis,
            scripts,
            worker_id,
            lease_ttl: settings.lease_ttl,
            is_listening: Arc::default(),
            has_told_of_limits: Arc::new(AtomicBool::new(is_limited)),
            glances: Arc::default(),
            lane,
        }
    }

    /// `<WORKER_NAME>-<random part>`, new at each start.
    #[must_use]
    pub fn worker_id(&self) -> &str {
        &self.worker_id
    }

    /// After this long without a renewal a worker counts as dead.
    #[must_use]
    pub fn lease_ttl(&self) -> Duration {
        self.lease_ttl
    }

    /// Rises whenever another server takes over, after a failover say. What was said last to the one before may
    /// never have reached it.
    #[must_use]
    pub fn server_number(&self) -> u64 {
        self.redis.server_number()
    }

    /// What does not depend on being a worker.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        &self.redis
    }
}
