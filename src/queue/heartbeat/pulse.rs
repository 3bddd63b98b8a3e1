//! Whether something that should go on still goes on.

use std::time::Duration;

use tokio::time::Instant;

/// More than passes between two beats of a thread that is not frozen.
const LONGEST_BEAT: Duration = Duration::from_secs(2);

/// Watches a counter. Counts only time in which this thread itself ran, so that a process which was frozen as a
/// whole is not taken for a wedged one when it wakes.
pub(super) struct Pulse {
    seen: u64,
    looked_at: Instant,
    still_for: Duration,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            seen: 0,
            looked_at: Instant::now(),
            still_for: Duration::ZERO,
        }
    }

    pub(super) fn stood_still_for(&mut self, count: u64) -> Duration {
        let passed = self.looked_at.elapsed().min(LONGEST_BEAT);
        self.looked_at = Instant::now();
        if count == self.seen {
            self.still_for += passed;
        } else {
            self.seen = count;
            self.still_for = Duration::ZERO;
        }
        self.still_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_whole_process_was_frozen_does_not_count() {
        let mut pulse = Pulse::new();
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(1)).await;
            pulse.stood_still_for(0);
        }
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(pulse.stood_still_for(0), Duration::from_secs(22));
        assert_eq!(pulse.stood_still_for(1), Duration::ZERO, "it goes on");
    }
}
