//! Words that commands and the page share: ages, times, who has paused, how it stands with a provider and a job.

mod action;
mod budget;
mod callback;
mod chapters;
mod life;
mod provider;
pub(crate) mod stuck;

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::queue::PauseNote;

pub(crate) use action::outcome_of;
pub(crate) use budget::{in_cents, near_budgets, parked as parked_for_budget};
pub(crate) use callback::{end_of, next_try, target};
pub(crate) use chapters::{Facts, Tone};
pub(crate) use life::{Life, Waits};
pub(crate) use provider::now_of;

/// `1 package waits`, `2 packages wait`
pub(crate) fn counted(count: impl Into<i128>, one: &str, more: &str) -> String {
    match count.into() {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    }
}

/// `42 s`, `12 min`, `3 h`, `5 d`: the largest unit of which there is at least one.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// An age in seconds as a database counts it; the future counts as now.
pub(crate) fn age_of_seconds(seconds: f64) -> String {
    age(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// How long something took: `480 ms`, `1.2 s`, `3 min 20 s`.
pub(crate) fn took(time: Duration) -> String {
    match time.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms @ 1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        ms => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// A time for people.
pub(crate) fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `by anna since 2026-11-30 03:00:00 UTC`
pub(crate) fn by_whom(note: &PauseNote) -> String {
    let PauseNote { by, at } = note;
    let by = by.as_deref().unwrap_or("somebody who has left no name");
    let at = at.as_deref().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    match at {
        Some(at) => format!("by {by} since {}", time(at.to_utc())),
        None => format!("by {by}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit_and_durations_are_as_exact_as_they_are_short() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min"),
            (7_300, "2 h"),
            (200_000, "2 d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
        assert_eq!(age_of_seconds(-3.0), "0 s");
        for (ms, text) in [(480, "480 ms"), (1_290, "1.2 s"), (200_000, "3 min 20 s")] {
            assert_eq!(took(Duration::from_millis(ms)), text);
        }
    }
}
