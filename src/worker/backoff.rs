//! How long a job waits for its next attempt.

use std::time::Duration;

use rand::Rng;

/// Exponential, with full jitter, so that jobs that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The upper bound of the first wait (`RETRY_BASE_DELAY`).
    pub base: Duration,
    /// The upper bound of every wait (`RETRY_MAX_DELAY`).
    pub max: Duration,
}

/// What the other side asks for is kept to for no longer: it may have erred, and asking again costs nothing.
const LONGEST_ASKED: Duration = Duration::from_secs(10 * 60);
/// Even the luckiest draw leaves the other side this long to recover.
const SHORTEST: Duration = Duration::from_millis(200);

impl Backoff {
    /// The wait after `failed` failed attempts, at least as long as the other side asked for, within ten minutes.
    #[must_use]
    pub fn delay(&self, failed: u32, asked_for: Option<Duration>, random: &mut impl Rng) -> Duration {
        if let Some(asked_for) = asked_for.map(|asked_for| asked_for.min(LONGEST_ASKED)) {
            // Everybody who was told the same time would come at the same time.
            return asked_for + random.random_range(Duration::ZERO..=(asked_for / 10).min(self.base));
        }
        let doublings = failed.saturating_sub(1).min(31);
        let bound = self
            .base
            .saturating_mul(1 << doublings)
            .min(self.max)
            .max(SHORTEST);
        random.random_range(SHORTEST..=bound)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_stays_within_its_bounds(
            base_ms in 1_u64..60_000, max_ms in 1_u64..3_600_000, failed in 0_u32..100, seed in any::<u64>(),
        ) {
            let backoff = Backoff { base: Duration::from_millis(base_ms), max: Duration::from_millis(max_ms) };
            let delay = backoff.delay(failed, None, &mut StdRng::seed_from_u64(seed));
            prop_assert!(delay >= SHORTEST);
            prop_assert!(delay <= backoff.max.max(SHORTEST));
        }

        #[test]
        fn a_wait_that_was_asked_for_is_kept(asked_ms in 0_u64..3_600_000, seed in any::<u64>()) {
            let backoff = Backoff { base: Duration::from_secs(5), max: Duration::from_secs(60) };
            let asked = Duration::from_millis(asked_ms);
            let delay = backoff.delay(1, Some(asked), &mut StdRng::seed_from_u64(seed));
            let kept = asked.min(LONGEST_ASKED);
            prop_assert!(delay >= kept && delay <= kept + Duration::from_secs(5));
        }
    }

    #[test]
    fn the_bound_doubles_with_each_failed_attempt() {
        let backoff = Backoff {
            base: Duration::from_secs(5),
            max: Duration::from_secs(600),
        };
        let longest = |failed| {
            let mut random = StdRng::seed_from_u64(7);
            (0..2000)
                .map(|_| backoff.delay(failed, None, &mut random))
                .max()
                .unwrap()
        };
        assert!(longest(1) <= Duration::from_secs(5));
        assert!(longest(3) > Duration::from_secs(15) && longest(3) <= Duration::from_secs(20));
    }
}
