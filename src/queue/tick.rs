//! What a replica asks of the queue from time to time: one script for all of it, so that idle replicas cost next to nothing.

use std::time::Duration;

use super::{Queue, QueueError, scripts};

/// Packages that one call brings back at the most, so that Redis is never held up for long.
const CHUNK: u32 = 200;

/// How things stand in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Packages whose time had come and that wait on their lists again.
    pub brought_back: u64,
    /// When the next package is due; `None` when none waits for a time.
    pub next_due: Option<Duration>,
    /// Providers that want a pause, and for how long still.
    pub pauses: Vec<(String, Duration)>,
    /// Workers that have started and not left cleanly, this one too.
    pub workers: Vec<String>,
}

impl Queue {
    /// Puts delayed packages whose time has come at the head of their lists, and tells how things stand.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn tick(&self) -> Result<Tick, QueueError> {
        let keys = self.redis.keys();
        let mut call = self.scripts.tick.prepare_invoke();
        call.key(keys.delayed())
            .key(keys.provider_pauses())
            .key(keys.workers())
            .key(&keys.heads());
        call.arg(CHUNK);
        let mut connection = self.redis.connection().await?;
        let (brought_back, next_due, pauses, workers): (u64, i64, Vec<(String, u64)>, Vec<String>) =
            scripts::invoke(&call, &mut connection).await?;
        Ok(Tick {
            brought_back,
            next_due: u64::try_from(next_due).ok().map(Duration::from_millis),
            pauses: pauses
                .into_iter()
                .map(|(provider, ms)| (provider, Duration::from_millis(ms)))
                .collect(),
            workers,
        })
    }
}
