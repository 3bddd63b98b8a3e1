//! How a replica works; made by `config`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Backoff, Budgets, UnknownOutcome};
use crate::db::Retention;
use crate::queue::Limit;
use crate::work_package::PackageLimits;

/// How a replica works.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Packages that are worked on at once, until their pictures are stored (`WORKER_CONCURRENCY`).
    pub concurrency: usize,
    /// How long a stopping replica finishes open calls that have no id (`SHUTDOWN_TIMEOUT`).
    pub shutdown_timeout: Duration,
    /// After this long without a renewal a replica counts as dead.
    pub lease_ttl: Duration,
    /// How many calls a provider may get, over all replicas (`IMAGE_PROVIDER_LIMITS`).
    pub provider_limits: BTreeMap<String, Limit>,
    /// How many packages of a type may be in hand (`WORK_TYPE_LIMITS`).
    pub work_type_limits: BTreeMap<String, Limit>,
    /// How it keeps itself and the queue in order.
    pub upkeep: UpkeepSettings,
    /// How it tries.
    pub attempts: AttemptSettings,
}

/// How a replica keeps itself and the queue in order.
#[derive(Clone, Copy, Debug)]
pub struct UpkeepSettings {
    /// Between two pings; Postgres is asked as often (`PING_INTERVAL`).
    pub ping_interval: Duration,
    /// How often the queue is compared with the ledger (`RECONCILE_INTERVAL`).
    pub reconcile_interval: Duration,
    /// How long what has ended is kept.
    pub retention: Retention,
}

/// How a replica tries to do what a package asks for.
#[derive(Clone, Debug)]
pub struct AttemptSettings {
    /// What packages may be.
    pub packages: PackageLimits,
    /// How long a provider may take for what is bought (`JOB_TIMEOUT`).
    pub job_timeout: Duration,
    /// How long a `jobId` without a row is looked for (`JOB_ROW_WAIT`).
    pub job_row_wait: Duration,
    /// Attempts at a job (`MAX_ATTEMPTS`).
    pub max_attempts: u32,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// What happens to a paid call whose outcome nobody knows (`UNKNOWN_OUTCOME`).
    pub unknown_outcome: UnknownOutcome,
    /// What may be spent (`BUDGETS`).
    pub budgets: Budgets,
}
