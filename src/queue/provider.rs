//! How it stands with a provider, for all replicas: why and until when nobody calls it, and how it recovers after that.
//!
//! One hash a provider, which scripts alone write, by the server's time. A provider without one is well.

use std::collections::HashMap;
use std::time::Duration;

use redis::Value;
use serde::Serialize;

use super::depths::next;
use super::limits::Limit;
use super::{Notice, Queue, Redis, scripts};
use crate::plain_text::one_line;
use crate::redis::RedisFailure;

/// As much as is kept of a reason, in characters.
const REASON_CHARS: usize = 200;

/// Why nobody calls a provider for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Shut {
    /// It has asked for a pause of some length.
    Asked,
    /// It takes no more calls for now, and says not for how long.
    Busy,
    /// It has failed several times in a row.
    Failing,
    /// It has refused this account several times in a row.
    Refused,
}

impl Shut {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "asked" => Some(Self::Asked),
            "busy" => Some(Self::Busy),
            "failing" => Some(Self::Failing),
            "refused" => Some(Self::Refused),
            _ => None,
        }
    }
}

/// What is known of a provider that is not well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderState {
    /// Why it was last shut, until it has recovered.
    pub why: Option<Shut>,
    /// Since when it has been shut without having been well, Unix ms by the clock of Redis; `None` = it is not shut.
    pub shut_since_ms: Option<u64>,
    /// For how long it is still shut, in ms; after that one call tries.
    pub shut_for_ms: u64,
    /// For how long the call that tries may go on unless it is confirmed, in ms; 0 = none tries.
    pub probing_for_ms: u64,
    /// How many calls may be open while it recovers; `None` = it is shut, or was not.
    pub window: Option<u32>,
    /// Faults in a row.
    pub faults: u32,
    /// Refusals of the account in a row.
    pub refusals: u32,
    /// What came of the last call that spoke against it, for operators: foreign text.
    pub reason: Option<String>,
}

impl ProviderState {
    /// Reads the hash; `None`: the provider is well. `now_ms` is the server's time.
    #[must_use]
    pub fn from_fields(fields: &HashMap<String, String>, now_ms: u64) -> Option<Self> {
        if fields.is_empty() {
            return None;
        }
        let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u64>().ok());
        let small = |name: &str| number(name).and_then(|number| u32::try_from(number).ok());
        let left = |name: &str| number(name).unwrap_or_default().saturating_sub(now_ms);
        let window = small("window");
        Some(Self {
            why: fields.get("why").and_then(|word| Shut::from_word(word)),
            shut_since_ms: number("began").filter(|_| window.is_none()),
            shut_for_ms: if window.is_none() { left("until") } else { 0 },
            probing_for_ms: left("probe_until"),
            window,
            faults: small("faults").unwrap_or_default(),
            refusals: small("refusals").unwrap_or_default(),
            reason: fields.get("reason").cloned(),
        })
    }

    /// Whether no call but a probe is let through.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.why.is_some() && self.window.is_none()
    }

    /// How long it is certain that no call is let through.
    #[must_use]
    pub fn wait(&self) -> Duration {
        Duration::from_millis(match self.is_shut() {
            true if self.shut_for_ms > 0 => self.shut_for_ms,
            true => self.probing_for_ms,
            false => 0,
        })
    }
}

/// How it stood with a provider at a time of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Unix ms.
    pub now_ms: u64,
    /// `None` = it is well.
    pub state: Option<ProviderState>,
}

impl Standing {
    /// Reads the hash of a provider.
    #[must_use]
    pub fn new(fields: &HashMap<String, String>, now_ms: u64) -> Self {
        let state = ProviderState::from_fields(fields, now_ms);
        Self { now_ms, state }
    }
}

/// How a call to a provider has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The service is well: it has delivered, or refused for a reason that is not its own.
    Well,
    /// The service has failed.
    Failing,
    /// It does not want this account.
    Refused,
    /// It takes no more calls, for this time where it says so.
    Busy(Option<Duration>),
}

/// What has come of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Whether the provider was shut before.
    pub was_shut: bool,
    /// When parked packages may be woken; `None` = none is parked.
    pub next_wake: Option<Duration>,
    /// How it stands with the provider now.
    pub standing: Standing,
}

/// A hash, as scripts return it.
pub(super) type Fields = HashMap<String, String>;

impl Queue {
    /// Notes how a call has ended that a delivery made and that took so long, for which `reason` (empty: none), and wakes parked packages where there is
    /// room, for all replicas and, `own_room`, for this one.
    ///
    /// # Errors
    /// [`RedisFailure`]; nothing is known of the call then.
    pub async fn report_call(
        &self,
        provider: &str,
        limit: Limit,
        own_room: u32,
        end: CallEnd,
        reason: &str,
        took: Duration,
    ) -> Result<Reported, RedisFailure> {
        let (outcome, asked) = match end {
            CallEnd::Well => ("well", None),
            CallEnd::Failing => ("failing", None),
            CallEnd::Refused => ("refused", None),
            CallEnd::Busy(asked) => ("busy", asked),
        };
        let keys = self.redis.keys();
        let mut call = self.scripts.report.prepare_invoke();
        call.key(&keys.of_provider(provider)).key(&keys.heads());
        call.arg(limit.open)
            .arg(limit.per_minute)
            .arg(self.hold_ms())
            .arg(own_room)
            .arg(provider)
            .arg(keys.control())
            .arg(outcome)
            .arg(ms(asked.unwrap_or_default()))
            .arg(ms(took))
            .arg(rand::random_range(0..1000))
            .arg(one_line(reason, REASON_CHARS));
        let mut connection = self.redis.connection().await?;
        let (was_shut, _woken, wait_ms, now_ms, fields): (bool, u64, i64, u64, Fields) =
            scripts::invoke(&call, &mut connection).await?;
        Ok(Reported {
            was_shut,
            next_wake: u64::try_from(wait_ms).ok().map(Duration::from_millis),
            standing: Standing::new(&fields, now_ms),
        })
    }
}

impl Redis {
    /// How it stands with those of these providers that are not well.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn provider_states(
        &self,
        providers: &[&str],
    ) -> Result<HashMap<String, ProviderState>, RedisFailure> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("TIME");
        for provider in providers {
            pipeline.hgetall(self.keys().provider(provider));
        }
        let mut connection = self.connection().await?;
        let answers: Vec<Value> = pipeline.query_async(&mut connection).await?;
        let mut answers = answers.into_iter();
        let (seconds, micros): (u64, u64) = next(&mut answers)?;
        let now_ms = seconds * 1_000 + micros / 1_000;
        let mut states = HashMap::new();
        for provider in providers {
            let fields: Fields = next(&mut answers)?;
            if let Some(state) = ProviderState::from_fields(&fields, now_ms) {
                states.insert((*provider).to_owned(), state);
            }
        }
        Ok(states)
    }

    /// Forgets all that speaks against calling a provider, and lets all replicas know, which wake what is parked. `false`: it was
    /// well already.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn resume_provider(&self, provider: &str) -> Result<bool, RedisFailure> {
        let mut connection = self.connection().await?;
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
        let notice = Notice::Provider {
            provider: provider.to_owned(),
            now_ms: (seconds * 1_000 + micros / 1_000).to_string(),
            fields: Fields::new(),
        };
        let (was_there, _heard): (bool, u64) = redis::pipe()
            .atomic()
            .del(self.keys().provider(provider))
            .publish(self.keys().control(), notice.to_json())
            .query_async(&mut connection)
            .await?;
        Ok(was_there)
    }
}

pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(fields: &[(&str, &str)]) -> Option<ProviderState> {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        ProviderState::from_fields(&fields.collect(), 1_000)
    }

    #[test]
    fn a_hash_tells_for_how_long_nobody_calls() {
        assert_eq!(state(&[]), None);
        let counted = state(&[("faults", "3")]).unwrap();
        assert_eq!(
            (counted.faults, counted.is_shut(), counted.wait()),
            (3, false, Duration::ZERO)
        );
        let shut = [
            ("why", "busy"),
            ("since", "500"),
            ("until", "1250"),
            ("length", "700"),
        ];
        assert_eq!(state(&shut).unwrap().wait(), Duration::from_millis(250));
        let half_open = [("why", "failing"), ("until", "900")];
        assert_eq!(state(&half_open).unwrap().wait(), Duration::ZERO);
        let probed = [
            ("why", "failing"),
            ("until", "900"),
            ("probe", "w/1.normal"),
            ("probe_until", "1400"),
        ];
        assert_eq!(state(&probed).unwrap().wait(), Duration::from_millis(400));
        let recovering = [("why", "asked"), ("until", "1900"), ("window", "4")];
        assert_eq!(state(&recovering).unwrap().wait(), Duration::ZERO);
    }
}
