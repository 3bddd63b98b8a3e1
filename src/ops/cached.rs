//! An answer that is asked for once for all who want it at about the same time.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Keeps the last answer for a while, so that no number of probes becomes load on what they ask.
#[derive(Debug)]
pub(super) struct Cached<T> {
    answer: Mutex<Option<(Instant, T)>>,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self {
            answer: Mutex::default(),
        }
    }
}

impl<T: Clone> Cached<T> {
    /// The kept answer while it is younger than `keep` says of it, else that of `ask`. Whoever comes meanwhile waits
    /// for the same answer.
    pub(super) async fn get(&self, keep: impl Fn(&T) -> Duration, ask: impl Future<Output = T>) -> T {
        let mut kept = self.answer.lock().await;
        if let Some((asked_at, answer)) = &*kept
            && asked_at.elapsed() < keep(answer)
        {
            return answer.clone();
        }
        let answer = ask.await;
        *kept = Some((Instant::now(), answer.clone()));
        answer
    }

    /// Has the next one ask, as what is kept is not true any more.
    pub(super) async fn forget(&self) {
        *self.answer.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_as_long_as_it_is_worth() {
        let cached = Cached::default();
        let keep = |is_well: &bool| Duration::from_secs(if *is_well { 30 } else { 5 });
        assert!(cached.get(keep, async { true }).await);
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(cached.get(keep, async { false }).await);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!cached.get(keep, async { false }).await);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(cached.get(keep, async { true }).await);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_together_ask_once_and_whoever_goes_away_keeps_nobody_waiting() {
        let cached = Cached::default();
        let keep = |_: &u8| Duration::from_secs(1);
        let slowly = |answer| async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            answer
        };
        let given_up = tokio::time::timeout(Duration::from_millis(100), cached.get(keep, slowly(0)));
        assert!(given_up.await.is_err());
        let (one, other) = tokio::join!(cached.get(keep, slowly(1)), cached.get(keep, slowly(2)));
        assert_eq!((one, other), (1, 1));
    }
}
