//! What Redis refuses while it does the rest: a key that somebody uses for something else, a right that is missing.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// What has not been refused for so long is allowed again: whatever is refused is tried again within a few seconds.
const OVER_AFTER: Duration = Duration::from_secs(10);
/// Each is a sentence about a key or a command of this worker, of which there are not many.
const MOST: usize = 50;

#[derive(Default)]
pub(super) struct Refusals(Mutex<Vec<(String, Instant)>>);

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, Vec<(String, Instant)>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    /// Says so when it is new.
    pub(super) fn note(&self, why: &str) {
        let mut all = self.lock();
        if let Some((_, seen_at)) = all.iter_mut().find(|(known, _)| known == why) {
            *seen_at = Instant::now();
        } else if all.len() < MOST {
            all.push((why.to_owned(), Instant::now()));
            tracing::error!(
                error = why,
                "Redis answers and refuses something that this worker needs; the rest goes on"
            );
        }
    }

    /// What has been refused lately.
    pub(super) fn now(&self) -> Vec<String> {
        let all = self.lock();
        let lately = all.iter().filter(|(_, seen_at)| seen_at.elapsed() < OVER_AFTER);
        lately.map(|(why, _)| why.clone()).collect()
    }

    /// Says so of each that is over.
    pub(super) fn forget_those_that_are_over(&self) {
        self.lock().retain(|(why, seen_at)| {
            let lasts = seen_at.elapsed() < OVER_AFTER;
            if !lasts {
                tracing::info!(was = why, "Redis refuses this no more");
            }
            lasts
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_again_and_again_is_kept_until_it_is_over() {
        let refusals = Refusals::default();
        for _ in 0..100 {
            refusals.note("a");
            tokio::time::advance(Duration::from_millis(250)).await;
            refusals.forget_those_that_are_over();
        }
        refusals.note("b");
        assert_eq!(refusals.now(), ["a", "b"]);
        tokio::time::advance(OVER_AFTER - Duration::from_millis(250)).await;
        assert_eq!(refusals.now(), ["b"]);
        refusals.forget_those_that_are_over();
        assert_eq!(refusals.lock().len(), 1);
    }
}
