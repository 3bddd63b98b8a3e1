//! What the end of a call says of its service, and when the same call is sent again within one attempt.
//!
//! The latter only where nothing can have been bought, and only for moments: a wait of more than 3 seconds is
//! left to the queue, which does not hold a slot meanwhile. So is a service that looks dead: slots that
//! wait for it would be missing to the jobs of others.

use std::time::Duration;

use rand::Rng;

use crate::failure::BreakerInput;
use crate::provider::ProviderError;

/// What the end of a call says of the service, for whoever calls it next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is well: it has delivered, or refused what this prompt or these options alone cause.
    Well,
    /// It has failed, for reasons of its own and whoever asks.
    Failing,
    /// It is there and does not want this account. It does so for all packages: better that some fail with that reason than that
    /// the whole queue does.
    Refused,
    /// It takes no more calls now, for this time where it says so.
    Busy(Option<Duration>),
}

impl Verdict {
    /// What a failed call says.
    #[must_use]
    pub fn of(error: &ProviderError) -> Self {
        match error.class.rules().breaker {
            // It says itself when it is to be called again.
            BreakerInput::Fault if error.retry_after.is_some_and(|asked| asked > LONGEST_WAIT) => {
                Self::Busy(error.retry_after)
            }
            BreakerInput::Fault => Self::Failing,
            BreakerInput::Refusal => Self::Refused,
            BreakerInput::Busy => Self::Busy(error.retry_after),
            BreakerInput::Ignored => Self::Well,
        }
    }
}

/// After the first call there are at most this many more.
const MAX_RESENDS: u32 = 2;
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// A service that has failed so many times in a row is not waited for with a slot in hand.
const LOOKS_DEAD: u32 = 2;
/// The longest wait asked for by a provider that is spent within the attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// How long to pause before the same call is sent again, or `None` where it must not be.
/// `resends` counts those that were made already, `faults` how often the service has failed in a row, whoever asked.
#[must_use]
pub fn pause_before_resend(error: &ProviderError, resends: u32, faults: u32) -> Option<Duration> {
    if resends >= MAX_RESENDS || faults >= LOOKS_DEAD {
        return None;
    }
    let rules = error.class.rules();
    // A pause of unknown length is no matter of seconds.
    let is_endless = rules.breaker == BreakerInput::Busy && error.retry_after.is_none();
    let asked = error.retry_after.unwrap_or_default();
    if !rules.is_resent || is_endless || asked > LONGEST_WAIT {
        return None;
    }
    // Full jitter: replicas that failed together do not come back together.
    let limit = (FIRST_BACKOFF * 2_u32.pow(resends)).min(MAX_BACKOFF);
    Some(asked + rand::rng().random_range(Duration::ZERO..=limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::ErrorClass;

    fn error(class: ErrorClass, wait_ms: Option<u64>) -> ProviderError {
        ProviderError {
            provider: "scripted",
            class,
            details: "no".into(),
            request_id: None,
            retry_after: wait_ms.map(Duration::from_millis),
        }
    }

    #[test]
    fn what_a_prompt_causes_says_nothing_against_the_service() {
        for class in ErrorClass::ALL {
            let expected = match class.as_str() {
                "network" | "overloaded" | "ambiguous" | "timed_out" => Verdict::Failing,
                "auth" | "quota" => Verdict::Refused,
                "rate_limited" => Verdict::Busy(Some(Duration::from_millis(30))),
                _ => Verdict::Well,
            };
            assert_eq!(Verdict::of(&error(class, Some(30))), expected, "{class}");
        }
        let asks = error(ErrorClass::Overloaded, Some(60_000));
        assert_eq!(Verdict::of(&asks), Verdict::Busy(asks.retry_after));
    }

    #[test]
    fn a_failure_of_a_moment_is_sent_again_within_bounds() {
        for class in [ErrorClass::Network, ErrorClass::Overloaded] {
            assert!(pause_before_resend(&error(class, None), 0, 1).unwrap() <= Duration::from_millis(250));
        }
        let busy = error(ErrorClass::RateLimited, Some(1));
        assert!(pause_before_resend(&busy, 1, 0).unwrap() <= Duration::from_millis(501));
        assert_eq!(pause_before_resend(&busy, 2, 0), None);
    }

    #[test]
    fn a_service_that_looks_dead_is_left_to_the_queue() {
        for class in [ErrorClass::Network, ErrorClass::Overloaded] {
            assert!(pause_before_resend(&error(class, None), 0, 1).is_some());
            assert_eq!(pause_before_resend(&error(class, None), 0, 2), None);
        }
    }

    #[test]
    fn the_wait_that_was_asked_for_is_honoured() {
        let pause = pause_before_resend(&error(ErrorClass::RateLimited, Some(3000)), 0, 0).unwrap();
        assert!((3000..=3250).contains(&pause.as_millis()), "{pause:?}");
    }

    #[test]
    fn a_longer_wait_is_left_to_the_queue() {
        for error in [
            error(ErrorClass::RateLimited, Some(3001)),
            error(ErrorClass::RateLimited, None),
            error(ErrorClass::Overloaded, Some(3001)),
        ] {
            assert_eq!(pause_before_resend(&error, 0, 0), None);
        }
    }

    #[test]
    fn what_may_have_been_bought_or_is_refused_for_good_is_not_sent_again() {
        for class in ErrorClass::ALL {
            let resent = matches!(class, ErrorClass::Network | ErrorClass::Overloaded);
            assert_eq!(
                pause_before_resend(&error(class, None), 0, 1).is_some(),
                resent,
                "{class}"
            );
        }
    }
}
