//! How many files and connections this process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What a worker has open besides what its packages need: pools, the log, the store, listeners.
const BASE: u64 = 64;
/// A call to a provider, its answer, the upload, and a connection that is kept.
const PER_PACKAGE: u64 = 6;

/// Raises the limit to what this process may raise it to: many systems begin with 1024 for programs that cannot do with
/// more, or with far less. Returns what to warn of where that may not be enough for so many packages at once.
pub(super) fn raise(concurrency: usize) -> Option<String> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let current = limit.current;
        limit.current = limit.maximum;
        if setrlimit(Resource::Nofile, limit).is_err() {
            limit.current = current;
        }
    }
    let needed = BASE + PER_PACKAGE * u64::try_from(concurrency).unwrap_or(u64::MAX / PER_PACKAGE - BASE);
    let current = limit.current.filter(|current| *current < needed)?;
    Some(format!(
        "this process may open {current} files and connections, and WORKER_CONCURRENCY={concurrency} may need {needed}: raise \
         its limit (ulimit -n, LimitNOFILE of systemd, ulimits of Docker)"
    ))
}
