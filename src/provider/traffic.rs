//! Who may be called now: pauses that services have asked for, and a circuit breaker for each service.
//!
//! A pause holds for all replicas: the worker carries it to the others. A breaker is a replica's own judgement: after
//! several faults in a row that are the service's own, nobody calls it for a while, then one call tries. What a
//! single prompt or option causes says nothing about the service and is ignored.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ProviderError;
use crate::failure::BreakerInput;

/// Faults in a row that open a breaker.
const FAULTS: u32 = 5;
const FIRST_OPEN: Duration = Duration::from_secs(10);
const LONGEST_OPEN: Duration = Duration::from_secs(120);
/// Pauses below this are waited out within the attempt, see `policy`.
const SHORTEST_PAUSE: Duration = Duration::from_secs(3);

/// A pause that a service has asked this replica for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Name of the provider.
    pub provider: String,
    /// From now on.
    pub time: Duration,
}

/// What is known of every service.
pub struct Traffic {
    lanes: Mutex<HashMap<String, Lane>>,
    pauses: mpsc::UnboundedSender<Pause>,
}

#[derive(Default)]
struct Lane {
    paused_until: Option<Instant>,
    faults: u32,
    /// Refusals of the account, since a call was last accepted.
    refusals: u32,
    /// Set while the breaker is open: when a call may try, and how long it was open for.
    open: Option<(Instant, Duration)>,
    is_trying: bool,
}

/// State of a breaker, for metrics and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// The service is taken to be well.
    Closed,
    /// Nobody calls it.
    Open,
    /// One call tries.
    HalfOpen,
}

impl Traffic {
    /// Nothing is known yet. The receiver gets the pauses that other replicas have to hear of.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Pause>) {
        let (pauses, news) = mpsc::unbounded_channel();
        let lanes = Mutex::default();
        (Self { lanes, pauses }, news)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Lane>> {
        self.lanes
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// How long to wait before the provider may be called; zero = now.
    #[must_use]
    pub fn wait_for(&self, provider: &str) -> Duration {
        self.lock()
            .get(provider)
            .map(|lane| lane.wait(Instant::now()))
            .unwrap_or_default()
    }

    /// Asks to call the provider now. A call that is let through has to be reported on.
    ///
    /// # Errors
    /// How long to wait.
    pub fn admit<'a>(&'a self, provider: &'a str) -> Result<Admission<'a>, Duration> {
        let mut lanes = self.lock();
        let now = Instant::now();
        if let Some(lane) = lanes.get_mut(provider) {
            let wait = lane.wait(now);
            if !wait.is_zero() {
                return Err(wait);
            }
            lane.is_trying = lane.open.is_some();
        }
        Ok(Admission {
            traffic: self,
            provider,
            is_reported: false,
        })
    }

    /// Notes a pause that another replica was asked for.
    pub fn hear(&self, pause: &Pause) {
        let until = Instant::now() + pause.time;
        let mut lanes = self.lock();
        let lane = lanes.entry(pause.provider.clone()).or_default();
        if lane.paused_until.is_none_or(|until| until <= Instant::now()) {
            let seconds = pause.time.as_secs();
            tracing::debug!(
                provider = pause.provider,
                "{} is left alone for {seconds} s",
                pause.provider
            );
        }
        lane.paused_until = lane.paused_until.max(Some(until));
    }

    /// How long a pause that was asked for still holds.
    #[must_use]
    pub fn pause_of(&self, provider: &str) -> Duration {
        self.lock()
            .get(provider)
            .map(|lane| lane.pause(Instant::now()))
            .unwrap_or_default()
    }

    /// How many times in a row the provider has failed, for reasons of its own and whoever asked.
    #[must_use]
    pub fn faults(&self, provider: &str) -> u32 {
        self.lock().get(provider).map_or(0, |lane| lane.faults)
    }

    /// State of the provider's breaker.
    #[must_use]
    pub fn breaker(&self, provider: &str) -> Breaker {
        match self.lock().get(provider) {
            Some(lane) if lane.is_trying => Breaker::HalfOpen,
            Some(lane) if lane.open.is_some() => Breaker::Open,
            _ => Breaker::Closed,
        }
    }
}

impl Lane {
    fn wait(&self, now: Instant) -> Duration {
        let open = match self.open {
            // Somebody is finding out.
            Some((_, time)) if self.is_trying => time,
            Some((until, _)) => until.saturating_duration_since(now),
            None => Duration::ZERO,
        };
        self.pause(now).max(open)
    }

    fn pause(&self, now: Instant) -> Duration {
        self.paused_until
            .map(|until| until.saturating_duration_since(now))
            .unwrap_or_default()
    }
}

/// One call that was let through.
pub struct Admission<'a> {
    traffic: &'a Traffic,
    provider: &'a str,
    is_reported: bool,
}

impl Admission<'_> {
    /// The service has delivered, or refused for a reason that is not its own.
    fn is_well(&mut self) {
        self.is_reported = true;
        let mut lanes = self.traffic.lock();
        if let Some(lane) = lanes.get_mut(self.provider) {
            if lane.open.is_some() {
                tracing::info!(provider = self.provider, "{} answers again", self.provider);
            }
            (lane.faults, lane.refusals, lane.open, lane.is_trying) = (0, 0, None, false);
        }
    }

    /// The service has delivered.
    pub fn succeeded(mut self) {
        self.is_well();
    }

    /// The call has failed.
    pub fn failed(mut self, error: &ProviderError) {
        match error.class.rules().breaker {
            BreakerInput::Fault => self.is_ill(),
            BreakerInput::Refusal => self.is_refused(),
            BreakerInput::Busy => self.is_busy(error.retry_after),
            BreakerInput::Ignored => self.is_well(),
        }
    }

    fn is_ill(&mut self) {
        self.stumbles("failed", |lane| {
            lane.faults += 1;
            lane.faults
        });
    }

    /// The service is there and does not want this account. It does so for all packages: better that some fail and tell of
    /// it than that the whole queue does.
    fn is_refused(&mut self) {
        self.stumbles("refused this service's account", |lane| {
            lane.faults = 0;
            lane.refusals += 1;
            lane.refusals
        });
    }

    /// Counts, and opens the breaker when it is enough.
    fn stumbles(&mut self, what: &str, count: impl FnOnce(&mut Lane) -> u32) {
        self.is_reported = true;
        let mut lanes = self.traffic.lock();
        let lane = lanes.entry(self.provider.to_owned()).or_default();
        let times = count(lane);
        lane.is_trying = false;
        let time = match lane.open {
            Some((_, time)) => (time * 2).min(LONGEST_OPEN),
            None if times >= FAULTS => FIRST_OPEN,
            None => return,
        };
        if lane.open.is_none() {
            tracing::error!(
                provider = self.provider,
                "{} has {what} {FAULTS} times in a row; its packages wait {} s, then one call tries",
                self.provider,
                time.as_secs()
            );
        }
        lane.open = Some((Instant::now() + time, time));
    }

    fn is_busy(&mut self, asked: Option<Duration>) {
        self.is_reported = true;
        let Some(time) = asked.filter(|time| *time > SHORTEST_PAUSE) else {
            return;
        };
        let pause = Pause {
            provider: self.provider.to_owned(),
            time,
        };
        let was_paused = !self.traffic.wait_for(self.provider).is_zero();
        self.traffic.hear(&pause);
        if !was_paused {
            tracing::warn!(
                provider = self.provider,
                pause_s = time.as_secs(),
                "{} asks for a pause; its packages wait {} s",
                self.provider,
                time.as_secs()
            );
        }
        // Nobody listens when the replica is ending.
        let _ = self.traffic.pauses.send(pause);
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.is_reported
            && let Some(lane) = self.traffic.lock().get_mut(self.provider)
        {
            // The attempt was stopped: another call may try.
            lane.is_trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::ErrorClass;

    fn error(class: ErrorClass, wait_s: Option<u64>) -> ProviderError {
        ProviderError {
            provider: "p",
            class,
            details: "no".into(),
            request_id: None,
            retry_after: wait_s.map(Duration::from_secs),
        }
    }

    fn fail(traffic: &Traffic, class: ErrorClass, times: u32) {
        for _ in 0..times {
            traffic.admit("p").ok().unwrap().failed(&error(class, None));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn faults_in_a_row_open_the_breaker_and_one_call_closes_it() {
        let (traffic, _news) = Traffic::new();
        fail(&traffic, ErrorClass::Overloaded, FAULTS - 1);
        assert_eq!(traffic.faults("p"), FAULTS - 1);
        traffic.admit("p").ok().unwrap().succeeded();
        assert_eq!(traffic.faults("p"), 0);
        fail(&traffic, ErrorClass::Network, FAULTS - 1);
        assert_eq!(traffic.breaker("p"), Breaker::Closed);
        fail(&traffic, ErrorClass::Network, 1);
        assert_eq!(traffic.breaker("p"), Breaker::Open);
        assert_eq!(traffic.admit("p").err(), Some(FIRST_OPEN));
        assert!(traffic.admit("other").is_ok(), "another service is not its fault");

        tokio::time::advance(FIRST_OPEN).await;
        let trying = traffic.admit("p").ok().unwrap();
        assert_eq!(traffic.breaker("p"), Breaker::HalfOpen);
        assert!(traffic.admit("p").is_err(), "one call tries, no more");
        trying.failed(&error(ErrorClass::Overloaded, None));
        assert_eq!(traffic.admit("p").err(), Some(FIRST_OPEN * 2));

        tokio::time::advance(FIRST_OPEN * 2).await;
        traffic.admit("p").ok().unwrap().succeeded();
        assert_eq!(traffic.breaker("p"), Breaker::Closed);
        assert_eq!(traffic.wait_for("p"), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_prompt_causes_opens_nothing() {
        let (traffic, _news) = Traffic::new();
        for class in ErrorClass::ALL {
            let is_fault = matches!(
                class,
                ErrorClass::Network
                    | ErrorClass::Overloaded
                    | ErrorClass::Ambiguous
                    | ErrorClass::TimedOut
                    | ErrorClass::Auth
                    | ErrorClass::Quota
            );
            fail(&traffic, class, if is_fault { FAULTS } else { 2 * FAULTS });
            let expected = if is_fault { Breaker::Open } else { Breaker::Closed };
            assert_eq!(traffic.breaker("p"), expected, "{class}");
            if is_fault {
                tokio::time::advance(2 * LONGEST_OPEN).await;
                traffic.admit("p").ok().unwrap().succeeded();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_here_and_is_told_to_the_others() {
        let (traffic, mut news) = Traffic::new();
        let busy = error(ErrorClass::RateLimited, Some(30));
        traffic.admit("p").ok().unwrap().failed(&busy);
        assert_eq!(traffic.wait_for("p"), Duration::from_secs(30));
        let pause = news.recv().await.unwrap();
        let (other, _news) = Traffic::new();
        other.hear(&pause);
        assert_eq!(other.admit("p").err(), Some(Duration::from_secs(30)));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(other.admit("p").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_stopped_lets_another_try() {
        let (traffic, _news) = Traffic::new();
        fail(&traffic, ErrorClass::Network, FAULTS);
        tokio::time::advance(FIRST_OPEN).await;
        drop(traffic.admit("p"));
        assert!(traffic.admit("p").is_ok());
    }
}
