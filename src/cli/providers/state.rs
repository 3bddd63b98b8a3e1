//! How it stands with a provider, in words.

use std::time::Duration;

use super::super::text::age;
use crate::queue::{ProviderState, Shut};

/// A few words for a line about the provider.
pub(in crate::cli) fn now_of(state: &ProviderState) -> String {
    let ProviderState { faults, refusals, .. } = state;
    if let Some(window) = state.window {
        return format!("recovering, at most {window} calls at once");
    }
    let time = age(Duration::from_millis(state.shut_for_ms));
    match state.why {
        Some(_) if state.shut_for_ms == 0 && state.probing_for_ms > 0 => "one call tries it now".to_owned(),
        Some(_) if state.shut_for_ms == 0 => "the next call tries it".to_owned(),
        Some(Shut::Asked) => format!("paused for {time}, as it asks"),
        Some(Shut::Busy) => format!("paused for {time}, as it takes no more calls"),
        Some(Shut::Failing) => format!("left alone for {time}, as it failed {faults} times in a row"),
        Some(Shut::Refused) => {
            format!("left alone for {time}, as it refused this account {refusals} times in a row")
        }
        None if *refusals > 0 => format!("refused this account {refusals} times in a row"),
        None => format!("failed {faults} times in a row"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_is_not_called_is_shown_with_the_reason_and_the_time() {
        let state = |why, shut_for_ms| ProviderState {
            why,
            shut_for_ms,
            refusals: 5,
            ..ProviderState::default()
        };
        let asked = state(Some(Shut::Asked), 600_000);
        assert_eq!(now_of(&asked), "paused for 10 min, as it asks");
        let refused = state(Some(Shut::Refused), 10_000);
        assert_eq!(
            now_of(&refused),
            "left alone for 10 s, as it refused this account 5 times in a row"
        );
        assert_eq!(now_of(&state(Some(Shut::Busy), 0)), "the next call tries it");
        assert_eq!(now_of(&state(None, 0)), "refused this account 5 times in a row");
    }
}
