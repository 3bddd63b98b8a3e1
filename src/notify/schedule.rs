//! When what could not be told is tried again: soon at first, as a receiver that restarts is there again, and over more than three days in all.

use std::time::Duration;

use rand::Rng;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Seconds before the second try, the third, and so on.
///
/// Source: Standard Webhooks specification, "Deliverability and reliability".
const PAUSES: [u64; 9] = [
    5,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
];

/// Tries in all.
pub const MOST_TRIES: u32 = PAUSES.len() as u32 + 1;

/// No receiver puts a try off for longer.
const LONGEST: Duration = Duration::from_secs(24 * HOUR);

/// How long to wait after the try with this number, counted from 1; `None`: it was the last one.
///
/// A tenth is added by chance, so that what has failed together does not come back together. A receiver may ask for more, up to a
/// day, and not for less.
pub fn next_try(tries: u32, retry_after: Option<Duration>, rng: &mut impl Rng) -> Option<Duration> {
    let index = usize::try_from(tries.saturating_sub(1)).ok()?;
    let pause = Duration::from_secs(*PAUSES.get(index)?);
    let pause = pause.mul_f64(rng.random_range(1.0..1.1));
    Some(pause.max(retry_after.unwrap_or_default().min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn pauses_grow_for_three_days_and_then_it_is_given_up() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut total = Duration::ZERO;
        for (tries, pause) in (1..).zip(PAUSES) {
            let found = next_try(tries, None, &mut rng).unwrap();
            let least = Duration::from_secs(pause);
            assert!((least..least.mul_f64(1.1)).contains(&found), "{tries}: {found:?}");
            total += found;
        }
        assert!(total > Duration::from_secs(75 * HOUR) && total < Duration::from_secs(90 * HOUR));
        assert_eq!(next_try(MOST_TRIES, None, &mut rng), None);
        assert_eq!(next_try(MOST_TRIES + 5, Some(LONGEST), &mut rng), None);
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_within_bounds() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut asked = |seconds| next_try(1, Some(Duration::from_secs(seconds)), &mut rng).unwrap();
        assert!((5..6).contains(&asked(0).as_secs()));
        assert_eq!(asked(600).as_secs(), 600);
        assert_eq!(asked(u64::MAX), LONGEST);
    }
}
