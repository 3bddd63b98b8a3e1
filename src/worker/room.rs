//! May this delivery call this provider now, or be among the packages of its type?
//!
//! Redis judges, for all replicas together: limits, and how it stands with a provider. What does not come to call is parked there,
//! and woken as there is room. A replica keeps in mind what it has last learnt, so a provider that is well and has no limit costs
//! no command.

mod grants;
mod known;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use grants::Grants;
use known::Known;

use super::health::Health;
use super::suspects::ONE_AT_A_TIME;
use super::upkeep::Alarm;
use crate::generator::Gate;
use crate::provider::policy::resend::Verdict;
use crate::queue::{
    CallEnd, Delivery, Due, Entry, Limit, ProviderState, Queue, SUSPECTS, Shut, Standing, Tick,
};
use crate::redis::RedisFailure;
use crate::work_package::WORK_TYPES;

/// More than can ever be open.
const ANY: u32 = u32::MAX >> 1;

/// What a package needs room for.
pub(super) struct Wanted<'a> {
    pub(super) work_type: &'a str,
    /// Those who can draw it, in the order in which they are asked. Empty: it will be refused.
    pub(super) providers: Vec<&'static str>,
}

/// The limits that are configured, what is known of providers, and the deliveries of this worker that have room.
pub(super) struct Room {
    queue: Queue,
    health: Arc<Health>,
    /// Set for when parked packages may be woken.
    alarm: Arc<Alarm>,
    /// Everything that packages can be parked for, with its limit.
    all: Vec<(String, Limit)>,
    limits: BTreeMap<String, Limit>,
    grants: Grants,
    known: Known,
}

impl Room {
    pub(super) fn new(
        queue: Queue,
        health: Arc<Health>,
        alarm: Arc<Alarm>,
        providers: impl Iterator<Item = &'static str>,
        mut limits: BTreeMap<String, Limit>,
        of_types: &BTreeMap<String, Limit>,
    ) -> Self {
        limits.extend(of_types.iter().map(|(name, limit)| (of_type(name), *limit)));
        limits.insert(SUSPECTS.to_owned(), ONE_AT_A_TIME);
        let all = parked_for(providers).into_iter().map(|name| {
            let limit = limits.get(&name).copied().unwrap_or_default();
            (name, limit)
        });
        Self {
            all: all.collect(),
            queue,
            health,
            alarm,
            limits,
            grants: Grants::default(),
            known: Known::default(),
        }
    }

    fn limit(&self, name: &str) -> Limit {
        self.limits.get(name).copied().unwrap_or_default()
    }

    /// Everything that packages can be parked for.
    pub(super) fn names(&self) -> Vec<String> {
        self.all.iter().map(|(name, _)| name.clone()).collect()
    }

    /// How it stands with a provider, as far as this replica knows; `None` = it is well.
    pub(super) fn state_of(&self, provider: &str) -> Option<ProviderState> {
        self.known.state_of(provider)
    }

    /// Takes note of what another replica or an operator has changed. What is parked for a provider that is well again is woken.
    pub(super) async fn note(&self, provider: &str, standing: Standing) {
        let was_shut = self.state_of(provider).is_some_and(|state| state.why.is_some());
        let is_well = standing.state.is_none();
        let wait = standing.state.as_ref().map(ProviderState::wait);
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            self.alarm.set(wait);
        }
        self.known.learn(provider, standing);
        if was_shut
            && is_well
            && let Err(error) = self.wake(provider, &[], &[]).await
        {
            self.health.redis_failed(&error);
        }
    }

    /// How many calls this replica itself may have open.
    fn own_limit(&self, name: &str) -> u32 {
        match self.limit(name).per_replica {
            0 => ANY,
            per_replica => per_replica,
        }
    }

    /// How many more.
    fn own_room(&self, name: &str) -> u32 {
        self.own_limit(name).saturating_sub(self.grants.count(name))
    }

    /// Asks Redis for room, and keeps it. `may_park`: before the delivery is begun.
    async fn ask(
        &self,
        name: &str,
        delivery: &Delivery,
        call_no: u32,
        may_park: bool,
    ) -> Result<Entry, RedisFailure> {
        let had_room = self.grants.get(name, delivery).is_some();
        let has_own_room = self.grants.reserve(name, delivery, self.own_limit(name));
        let asking =
            self.queue
                .enter_provider(name, self.limit(name), delivery, call_no, may_park, has_own_room);
        let entered = asking.await;
        let is_granted = matches!(entered, Ok((Entry::Granted, _)));
        if !is_granted && !had_room {
            self.grants.forget(name, delivery);
        }
        let (entry, standing) = entered?;
        // Before the grant, which a shut that is learnt of later ends.
        self.known.learn(name, standing);
        match entry {
            Entry::Granted => self.grants.hold(name, delivery, may_park),
            Entry::Parked(wait) => self.alarm.set(wait),
            Entry::NotFor(_) | Entry::Lost => {}
        }
        Ok(entry)
    }

    /// Whether something may keep a package from being bought now.
    pub(super) fn is_in_doubt(&self, wanted: &Wanted<'_>) -> bool {
        let provider = self.likeliest(wanted);
        self.is_watched(&of_type(wanted.work_type)) || provider.is_some_and(|name| self.is_watched(name))
    }

    /// Whether all who can draw it are left alone now.
    pub(super) fn is_shut_to(&self, wanted: &Wanted<'_>) -> bool {
        let provider = self.likeliest(wanted);
        provider.is_some_and(|provider| !self.known.wait_for(provider).is_zero())
    }

    /// Gets room among the packages of its type, then at one of those who can draw it, for a delivery that is not begun yet.
    /// `false`: the delivery is parked, and not this worker's any more.
    pub(super) async fn admit(&self, wanted: &Wanted<'_>, delivery: &Delivery) -> bool {
        self.admit_among_its_type(wanted, delivery).await
            && match self.likeliest(wanted) {
                Some(provider) => self.admit_to(provider, delivery).await,
                None => true,
            }
    }

    /// Gets room among the packages of its type alone. `false`: as above.
    pub(super) async fn admit_among_its_type(&self, wanted: &Wanted<'_>, delivery: &Delivery) -> bool {
        self.admit_to(&of_type(wanted.work_type), delivery).await
    }

    /// The same for a suspect, of which a replica runs one at a time.
    pub(super) async fn admit_suspect(&self, delivery: &Delivery) -> bool {
        self.admit_to(SUSPECTS, delivery).await
    }

    /// Who may be called soonest; of several, the one that is asked first.
    fn likeliest<'a>(&self, wanted: &Wanted<'a>) -> Option<&'a str> {
        let providers = wanted.providers.iter().copied();
        providers.min_by_key(|provider| self.known.wait_for(provider))
    }

    /// Whether Redis has to be asked before this provider is called, or told after it.
    fn is_watched(&self, name: &str) -> bool {
        self.limits.contains_key(name) || self.state_of(name).is_some()
    }

    async fn admit_to(&self, name: &str, delivery: &Delivery) -> bool {
        if !self.is_watched(name) {
            return true;
        }
        let ask = || self.ask(name, delivery, 1, true);
        self.health.until_redis_answers(ask).await == Entry::Granted
    }

    /// Lets a delivery that is not begun yet wait for a time. `false`: that has come, by Redis's clock, which alone
    /// is asked, as it brings the package back; or the delivery is not this worker's any more, and begins where its
    /// job is another's.
    pub(super) async fn waits_until(&self, time: DateTime<Utc>, delivery: &Delivery) -> bool {
        let wait = || self.queue.run(delivery.delay(Due::At(time), None));
        let waits = self.health.until_redis_answers(wait).await;
        if waits {
            self.alarm.set(Duration::ZERO);
        }
        waits
    }

    /// Takes the calls back that a delivery was let through for and does not make.
    async fn uncount(&self, delivery: &Delivery) {
        for (provider, call_no) in self.grants.spares(delivery) {
            if self.limit(&provider).per_minute > 0
                && let Err(error) = self.queue.uncount_call(&provider, delivery, call_no).await
            {
                // It counts for a minute, which is too much and not too little.
                self.health.redis_failed(&error);
            }
        }
    }

    /// Gives back what room a delivery had.
    pub(super) async fn give_back(&self, delivery: &Delivery) {
        self.uncount(delivery).await;
        self.give_back_at(delivery, |_| true).await;
    }

    async fn give_back_at(&self, delivery: &Delivery, is_given_back: impl Fn(&str) -> bool) {
        for provider in self.grants.give_up(delivery, is_given_back) {
            if let Err(error) = self
                .wake(&provider, std::slice::from_ref(&delivery.id), &[])
                .await
            {
                // It is given back by not being confirmed any more.
                self.health.redis_failed(&error);
            }
        }
    }

    /// Ends and confirms calls of deliveries, and wakes what is parked as there is room. Returns when there may be more.
    async fn wake(
        &self,
        name: &str,
        ended: &[String],
        open: &[String],
    ) -> Result<Option<Duration>, RedisFailure> {
        let limit = self.limit(name);
        let (mut ended, mut open) = (ended, open);
        loop {
            let leaving = self
                .queue
                .leave_provider(name, limit, self.own_room(name), ended, open);
            let left = leaving.await?;
            self.known.learn(name, left.standing);
            match left.next_wake {
                Some(time) if time.is_zero() && left.woken > 0 => (ended, open) = (&[], &[]),
                next_wake => {
                    if let Some(time) = next_wake {
                        self.alarm.set(time);
                    }
                    return Ok(next_wake);
                }
            }
        }
    }

    /// Confirms the calls that go on of deliveries `in_hand`.
    pub(super) async fn confirm(&self, in_hand: &HashSet<String>) -> Result<(), RedisFailure> {
        for (name, open) in self.grants.open(in_hand) {
            self.wake(&name, &[], &open).await?;
        }
        Ok(())
    }

    /// Asks Redis how things stand with the queue and with all providers.
    pub(super) async fn tick(&self) -> Result<Tick, RedisFailure> {
        let tick = self.queue.tick(&self.all).await?;
        for (name, _) in &self.all {
            let found = tick.providers.iter().find(|provider| provider.name == *name);
            let state = found.and_then(|provider| provider.state.clone());
            let now_ms = tick.now_ms;
            self.known.learn(name, Standing { now_ms, state });
        }
        Ok(tick)
    }

    /// Confirms the calls that go on, and wakes what is parked as there is room, room of dead replicas too. Returns when there may
    /// be more.
    pub(super) async fn keep(
        &self,
        tick: &Tick,
        in_hand: &HashSet<String>,
    ) -> Result<Option<Duration>, RedisFailure> {
        let mut open = self.grants.open(in_hand);
        let mut next = None;
        for provider in &tick.providers {
            let mut next_wake = provider.next_wake;
            if next_wake.is_some_and(|time| time.is_zero()) {
                let open = open.remove(&provider.name).unwrap_or_default();
                next_wake = self.wake(&provider.name, &[], &open).await?;
            }
            next = next.into_iter().chain(next_wake).min();
        }
        for (name, open) in open {
            self.wake(&name, &[], &open).await?;
        }
        Ok(next)
    }

    /// Notes how a call has ended. Returns for how long the provider had been shut already, if it was.
    async fn report(
        &self,
        provider: &str,
        verdict: Verdict,
        reason: &str,
        took: Duration,
    ) -> Option<Duration> {
        if verdict == Verdict::Well && self.state_of(provider).is_none() {
            return None;
        }
        let end = match verdict {
            Verdict::Well => CallEnd::Well,
            Verdict::Failing => CallEnd::Failing,
            Verdict::Refused => CallEnd::Refused,
            Verdict::Busy(asked) => CallEnd::Busy(asked),
        };
        let (limit, own_room) = (self.limit(provider), self.own_room(provider));
        let report = self
            .queue
            .report_call(provider, limit, own_room, end, reason, took);
        let reported = match report.await {
            Ok(reported) => reported,
            Err(error) => {
                self.health.redis_failed(&error);
                return None;
            }
        };
        if let Some(time) = reported.next_wake {
            self.alarm.set(time);
        }
        let state = reported.standing.state.clone().unwrap_or_default();
        self.known.learn(provider, reported.standing);
        if state.is_shut() && !reported.was_shut {
            warn_of(provider, &state);
        } else if reported.was_shut && state.window.is_some() {
            tracing::info!(provider, "{provider} answers again");
        }
        reported.was_shut.then(|| state.wait())
    }
}

fn warn_of(provider: &str, state: &ProviderState) {
    let seconds = state.shut_for_ms.div_ceil(1000);
    match state.why {
        Some(Shut::Failing) => tracing::error!(
            provider,
            "{provider} has failed {} times in a row; its packages wait {seconds} s, then one call tries",
            state.faults
        ),
        Some(Shut::Refused) => tracing::error!(
            provider,
            "{provider} has refused this service's account {} times in a row; its packages wait {seconds} s, then one call tries",
            state.refusals
        ),
        Some(Shut::Asked) => tracing::warn!(
            provider,
            pause_s = seconds,
            "{provider} asks for a pause; its packages wait {seconds} s, then one call tries"
        ),
        Some(Shut::Busy) | None => tracing::warn!(
            provider,
            pause_s = seconds,
            "{provider} takes no more calls for now; its packages wait {seconds} s, then one call tries"
        ),
    }
}

/// Everything that packages can be parked for, where these are the providers.
pub fn parked_for<'a>(providers: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names = providers.map(str::to_owned);
    names
        .chain(WORK_TYPES.into_iter().map(of_type))
        .chain([SUSPECTS.to_owned()])
        .collect()
}

/// The name that a type of packages has among those of providers.
fn of_type(work_type: &str) -> String {
    format!("type/{work_type}")
}

/// The gate of one attempt: for each of its calls.
pub(super) struct ProviderGate<'a> {
    pub(super) room: &'a Room,
    pub(super) delivery: &'a Delivery,
}

#[async_trait]
impl Gate for ProviderGate<'_> {
    async fn enter(&self, provider: &str) -> Result<(), Duration> {
        let Self { room, delivery } = *self;
        let grant = room.grants.get(provider, delivery);
        let shut_at = room.known.shut_at(provider);
        let is_still_granted = grant.filter(|grant| shut_at.is_none_or(|shut_at| shut_at <= grant.at));
        if let Some(grant) = is_still_granted {
            let was_spare = room.grants.spend(provider, delivery);
            if was_spare || (grant.calls > 0 && room.limit(provider).per_minute == 0) {
                return Ok(());
            }
        } else if !room.is_watched(provider) {
            return Ok(());
        }
        let call_no = grant.map_or(1, |grant| grant.calls + u32::from(!grant.is_spare));
        match room.ask(provider, delivery, call_no, false).await {
            Ok(Entry::Granted) => Ok(()),
            Ok(Entry::NotFor(time)) => Err(time),
            Ok(Entry::Parked(_) | Entry::Lost) | Err(_) => Err(Duration::from_secs(1)),
        }
    }

    fn not_made(&self, provider: &str) {
        self.room.grants.unspend(provider, self.delivery);
    }

    async fn only_waits(&self) {
        let Self { room, delivery } = *self;
        room.uncount(delivery).await;
        // It counts where calls are limited, and is no probe.
        room.give_back_at(delivery, |name| !room.limits.contains_key(name))
            .await;
    }

    async fn report(
        &self,
        provider: &str,
        verdict: Verdict,
        reason: &str,
        took: Duration,
    ) -> Option<Duration> {
        self.room.report(provider, verdict, reason, took).await
    }

    fn faults(&self, provider: &str) -> u32 {
        self.room.state_of(provider).map_or(0, |state| state.faults)
    }
}
