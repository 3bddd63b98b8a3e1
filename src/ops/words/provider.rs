//! How it stands with a provider, in words.

use std::time::Duration;

use chrono::DateTime;

use super::{age, time};
use crate::plain_text::plain;
use crate::queue::{ProviderState, Shut};

/// A few words for a line about the provider, and what it has said last.
pub(crate) fn now_of(state: &ProviderState) -> String {
    match &state.reason {
        Some(reason) => format!("{}. The last call: {}", standing(state), plain(reason)),
        None => standing(state),
    }
}

fn standing(state: &ProviderState) -> String {
    let ProviderState { faults, refusals, .. } = state;
    if let Some(window) = state.window {
        return format!("recovering, at most {window} calls at once");
    }
    let times = |count: u32| match count {
        1 => "once".to_owned(),
        count => format!("{count} times in a row"),
    };
    let next = next(state);
    match state.why {
        Some(Shut::Asked) => format!("paused{}, as it asks; {next}", since(state)),
        Some(Shut::Busy) => format!("paused{}, as it takes no more calls; {next}", since(state)),
        Some(Shut::Failing) => format!(
            "not called{}, as it failed {}; {next}",
            since(state),
            times(*faults)
        ),
        Some(Shut::Refused) => {
            format!(
                "not called{}, as it refused this account {}; {next}",
                since(state),
                times(*refusals)
            )
        }
        None if *refusals > 0 => format!("refused this account {}", times(*refusals)),
        None => format!("failed {}", times(*faults)),
    }
}

/// When a call tries it.
fn next(state: &ProviderState) -> String {
    match (state.shut_for_ms, state.probing_for_ms) {
        (0, 0) => "the next call tries it".to_owned(),
        (0, _) => "one call tries it now".to_owned(),
        (ms, _) => format!("one call tries it in {}", age(Duration::from_millis(ms))),
    }
}

fn since(state: &ProviderState) -> String {
    let since = state.shut_since_ms.and_then(|ms| i64::try_from(ms).ok());
    let since = since.and_then(DateTime::from_timestamp_millis);
    since.map(|at| format!(" since {}", time(at))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_is_not_called_is_shown_with_the_reason_and_the_times() {
        let state = |why, shut_for_ms| ProviderState {
            why,
            shut_for_ms,
            shut_since_ms: Some(1_764_471_600_000),
            refusals: 5,
            ..ProviderState::default()
        };
        let asked = state(Some(Shut::Asked), 600_000);
        assert_eq!(
            now_of(&asked),
            "paused since 2025-11-30 03:00:00 UTC, as it asks; one call tries it in 10 min"
        );
        let refused = state(Some(Shut::Refused), 10_000);
        assert_eq!(
            now_of(&refused),
            "not called since 2025-11-30 03:00:00 UTC, as it refused this account 5 times in a row; one call tries it in 10 s"
        );
        let old = ProviderState {
            shut_since_ms: None,
            ..state(Some(Shut::Busy), 0)
        };
        assert_eq!(
            now_of(&old),
            "paused, as it takes no more calls; the next call tries it"
        );
        assert_eq!(now_of(&state(None, 0)), "refused this account 5 times in a row");
        let known = ProviderState {
            reason: Some("POST /v1/x: not sent: connection refused".to_owned()),
            ..state(None, 0)
        };
        assert_eq!(
            now_of(&known),
            "refused this account 5 times in a row. The last call: POST /v1/x: not sent: connection refused"
        );
    }
}
