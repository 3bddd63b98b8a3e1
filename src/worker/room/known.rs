//! What a replica has last learnt of providers, so that one that is well costs no command.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::queue::{ProviderState, Standing};

/// What was learnt longer ago gives way to any news: the server's clock may have been set back.
const KNOWN_FOR: Duration = Duration::from_secs(5);

/// By provider.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, Fact>>);

struct Fact {
    standing: Standing,
    at: Instant,
    /// Since when the provider has been shut, as far as this replica knows.
    shut_at: Option<Instant>,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Fact>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    /// How it stands with a provider now; `None` = it is well.
    pub(super) fn state_of(&self, provider: &str) -> Option<ProviderState> {
        let facts = self.lock();
        let fact = facts.get(provider)?;
        let mut state = fact.standing.state.clone()?;
        let since_ms = u64::try_from(fact.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        state.shut_for_ms = state.shut_for_ms.saturating_sub(since_ms);
        state.probing_for_ms = state.probing_for_ms.saturating_sub(since_ms);
        Some(state)
    }

    /// How long it is certain that nobody may call.
    pub(super) fn wait_for(&self, provider: &str) -> Duration {
        self.state_of(provider)
            .map(|state| state.wait())
            .unwrap_or_default()
    }

    /// Since when the provider has been shut, if it is.
    pub(super) fn shut_at(&self, provider: &str) -> Option<Instant> {
        self.lock().get(provider)?.shut_at
    }

    /// Takes note of how it stands with a provider, unless that is older than what is known.
    pub(super) fn learn(&self, provider: &str, standing: Standing) {
        let mut facts = self.lock();
        let before = facts.get(provider);
        let is_old = before.is_some_and(|before| {
            // Of news of one millisecond nobody knows which came first. A provider that is not well must not be taken for well; one
            // that is well by now is asked after once more.
            let (then, now) = (&before.standing, &standing);
            let is_older = now.now_ms < then.now_ms
                || (now.now_ms == then.now_ms && now.state.is_none() && then.state.is_some());
            before.at.elapsed() < KNOWN_FOR && is_older
        });
        if is_old {
            return;
        }
        let at = Instant::now();
        let was_shut_at = before.and_then(|before| before.shut_at);
        let shut = standing.state.as_ref().filter(|state| state.is_shut());
        let shut_at = shut.map(|state| {
            if was_shut_at.is_none() {
                let seconds = state.shut_for_ms.div_ceil(1000);
                tracing::debug!(provider, "{provider} is left alone for {seconds} s");
            }
            was_shut_at.unwrap_or(at)
        });
        let fact = Fact {
            standing,
            at,
            shut_at,
        };
        facts.insert(provider.to_owned(), fact);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Shut;

    fn shut(now_ms: u64, shut_for_ms: u64) -> Standing {
        let state = ProviderState {
            why: Some(Shut::Busy),
            shut_for_ms,
            ..ProviderState::default()
        };
        Standing {
            now_ms,
            state: Some(state),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_runs_out_and_older_news_change_nothing() {
        let known = Known::default();
        assert_eq!((known.state_of("p"), known.shut_at("p")), (None, None));
        known.learn("p", shut(2_000, 30_000));
        let shut_at = known.shut_at("p");
        assert!(shut_at.is_some());
        for now_ms in [1_999, 2_000] {
            known.learn("p", Standing { now_ms, state: None });
        }
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(known.wait_for("p"), Duration::from_secs(27));
        known.learn("p", shut(5_000, 60_000));
        assert_eq!(
            (known.wait_for("p"), known.shut_at("p")),
            (Duration::from_secs(60), shut_at)
        );
        known.learn(
            "p",
            Standing {
                now_ms: 6_000,
                state: None,
            },
        );
        assert_eq!((known.state_of("p"), known.shut_at("p")), (None, None));
        assert_eq!(known.wait_for("other"), Duration::ZERO);
    }
}
