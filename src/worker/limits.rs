//! Room at providers that take only so many calls: asked for before a package is begun, given back when its attempt
//! ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use super::Shared;
use super::suspects::ONE_AT_A_TIME;
use crate::generator::Gate;
use crate::queue::{Delivery, Due, Entry, Limit, QueueError, SUSPECTS};
use crate::work_package::WORK_TYPES;

/// More than can ever be open.
const ANY: u32 = u32::MAX >> 1;

/// The limits that are configured, and the deliveries of this worker that have room.
pub(super) struct Limits {
    limits: BTreeMap<String, Limit>,
    /// By provider, then by delivery.
    held: Mutex<BTreeMap<String, HashMap<String, Room>>>,
}

/// What a delivery has at a provider.
#[derive(Clone, Copy, Default)]
struct Room {
    /// Calls that were let through.
    calls: u32,
    /// Whether the last of them is still to be made.
    is_spare: bool,
}

impl Limits {
    pub(super) fn new(mut limits: BTreeMap<String, Limit>, of_types: &BTreeMap<String, Limit>) -> Self {
        limits.extend(of_types.iter().map(|(name, limit)| (of_type(name), *limit)));
        limits.insert(SUSPECTS.to_owned(), ONE_AT_A_TIME);
        Self {
            limits,
            held: Mutex::default(),
        }
    }

    /// Whether nothing is limited but suspects, of which there are nearly never any.
    pub(super) fn are_none(&self) -> bool {
        self.limits.keys().all(|name| name == SUSPECTS)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, HashMap<String, Room>>> {
        self.held.lock().expect("nothing panics while it holds this lock")
    }

    /// How many more calls this replica itself may have open.
    fn own_room(&self, name: &str) -> u32 {
        let limit = self.limits.get(name).copied().unwrap_or_default();
        if limit.per_replica == 0 {
            return ANY;
        }
        let open = self.lock().get(name).map_or(0, HashMap::len);
        limit
            .per_replica
            .saturating_sub(u32::try_from(open).unwrap_or(ANY))
    }

    /// Reserves room of this replica itself, until the delivery is given up. `false`: there is none.
    fn reserve(&self, name: &str, delivery: &Delivery) -> bool {
        // Looked at and taken under one lock, so that of two that come together one has it.
        let limit = self.limits.get(name).copied().unwrap_or_default();
        let mut held = self.lock();
        let rooms = held.entry(name.to_owned()).or_default();
        let has_room = limit.per_replica == 0
            || rooms.contains_key(&delivery.id)
            || rooms.len() < limit.per_replica as usize;
        if has_room {
            rooms.entry(delivery.id.clone()).or_default();
        }
        has_room
    }

    fn forget(&self, name: &str, delivery: &Delivery) {
        if let Some(rooms) = self.lock().get_mut(name) {
            rooms.remove(&delivery.id);
        }
    }

    /// Notes a call that was let through, and whether it is still to be made.
    fn hold(&self, provider: &str, delivery: &Delivery, is_spare: bool) {
        let mut held = self.lock();
        let rooms = held.entry(provider.to_owned()).or_default();
        let room = rooms.entry(delivery.id.clone()).or_default();
        room.calls += 1;
        room.is_spare = is_spare;
    }

    fn room(&self, provider: &str, delivery: &Delivery) -> Option<Room> {
        self.lock().get(provider)?.get(&delivery.id).copied()
    }

    /// Uses the call that was let through and not made, where there is one.
    fn spend(&self, provider: &str, delivery: &Delivery) -> bool {
        let mut held = self.lock();
        let room = held
            .get_mut(provider)
            .and_then(|rooms| rooms.get_mut(&delivery.id));
        room.is_some_and(|room| std::mem::take(&mut room.is_spare))
    }

    /// The calls of a delivery that were let through and not made, by provider; they count as used from now on.
    fn spares(&self, delivery: &Delivery) -> Vec<(String, u32)> {
        self.lock()
            .iter_mut()
            .filter_map(|(provider, rooms)| {
                let room = rooms.get_mut(&delivery.id)?;
                std::mem::take(&mut room.is_spare).then(|| (provider.clone(), room.calls))
            })
            .collect()
    }

    /// Forgets a delivery and returns the providers at which it had room.
    fn give_up(&self, delivery: &Delivery) -> Vec<String> {
        self.lock()
            .iter_mut()
            .filter_map(|(provider, held)| held.remove(&delivery.id).map(|_| provider.clone()))
            .collect()
    }
}

impl Shared {
    /// Gets room among the packages of its type, then at its provider, for a delivery that is not begun yet.
    pub(super) async fn get_all_room(&self, work_type: &str, provider: &str, delivery: &Delivery) -> bool {
        self.get_room(&of_type(work_type), delivery).await && self.get_room(provider, delivery).await
    }

    /// Gets room at a provider for a delivery that is not begun yet. `false`: the delivery has gone to wait for it.
    pub(super) async fn get_room(&self, provider: &str, delivery: &Delivery) -> bool {
        let Some(limit) = self.limits.limits.get(provider).copied() else {
            return true;
        };
        let has_own_room = self.limits.reserve(provider, delivery);
        let mut pause = Duration::from_millis(200);
        loop {
            let entry = self
                .queue
                .enter_provider(provider, limit, delivery, 1, true, has_own_room);
            match entry.await {
                Ok(Entry::Granted) => {
                    self.limits.hold(provider, delivery, true);
                    return true;
                }
                Ok(Entry::Parked | Entry::Lost) => {
                    self.limits.forget(provider, delivery);
                    return false;
                }
                Ok(Entry::NotFor(time)) => {
                    self.limits.forget(provider, delivery);
                    self.say(delivery.delay(Due::In(time), None)).await;
                    return false;
                }
                Err(error) => {
                    self.health.redis_failed(&error);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }

    /// Takes the calls back that a delivery was let through for and does not make.
    async fn uncount(&self, delivery: &Delivery) {
        for (provider, call_no) in self.limits.spares(delivery) {
            let limit = self.limits.limits.get(&provider);
            if limit.is_some_and(|limit| limit.per_minute > 0)
                && let Err(error) = self.queue.uncount_call(&provider, delivery, call_no).await
            {
                // It counts for a minute, which is too much and not too little.
                self.health.redis_failed(&error);
            }
        }
    }

    /// Gives back what room a delivery had.
    pub(super) async fn give_room_back(&self, delivery: &Delivery) {
        self.uncount(delivery).await;
        for provider in self.limits.give_up(delivery) {
            let limit = self.limits.limits.get(&provider).copied().unwrap_or_default();
            let own_room = self.limits.own_room(&provider);
            let ended = [delivery.id.clone()];
            let leaving = self.queue.leave_provider(&provider, limit, own_room, &ended, &[]);
            if let Err(error) = leaving.await {
                // It is given back by not being confirmed any more.
                self.health.redis_failed(&error);
            }
        }
    }

    /// Confirms the calls that go on, and brings parked packages back for room that a dead replica had.
    pub(super) async fn confirm_room(&self) -> Result<(), QueueError> {
        // What an attempt that broke down has left behind is not in hand any more.
        let in_hand = self.hand.deliveries();
        for (provider, limit) in &self.limits.limits {
            let open: Vec<String> = self
                .limits
                .lock()
                .get(provider)
                .map(|held| held.keys().filter(|id| in_hand.contains(*id)).cloned().collect())
                .unwrap_or_default();
            let own_room = self.limits.own_room(provider);
            self.queue
                .leave_provider(provider, *limit, own_room, &[], &open)
                .await?;
        }
        Ok(())
    }
}

impl Shared {
    /// Everything that packages can be parked for.
    pub(super) fn all_names(&self) -> Vec<String> {
        let types = WORK_TYPES.into_iter().map(of_type);
        let providers = self.router.provider_names().map(str::to_owned);
        providers.chain(types).chain([SUSPECTS.to_owned()]).collect()
    }

    /// Brings back what was parked for a provider that has no limit any more.
    pub(super) async fn free_parked(&self) -> Result<(), QueueError> {
        let mut unlimited = self.all_names();
        unlimited.retain(|name| !self.limits.limits.contains_key(name));
        if !self.queue.has_parked(&unlimited).await? {
            return Ok(());
        }
        for provider in &unlimited {
            let none = Limit::default();
            while self.queue.leave_provider(provider, none, ANY, &[], &[]).await? > 0 {}
        }
        Ok(())
    }
}

/// The name that a type of packages has among those of providers.
fn of_type(work_type: &str) -> String {
    format!("type/{work_type}")
}

/// The gate of one attempt: for each of its calls.
pub(super) struct ProviderGate<'a> {
    pub(super) shared: &'a Shared,
    pub(super) delivery: &'a Delivery,
}

#[async_trait]
impl Gate for ProviderGate<'_> {
    async fn enter(&self, provider: &str) -> Result<(), Duration> {
        let limits = &self.shared.limits;
        let Some(limit) = limits.limits.get(provider).copied() else {
            return Ok(());
        };
        let room = limits.room(provider, self.delivery);
        if limits.spend(provider, self.delivery) || (room.is_some() && limit.per_minute == 0) {
            return Ok(());
        }
        let call_no = room.unwrap_or_default().calls + 1;
        let has_own_room = limits.reserve(provider, self.delivery);
        let entry =
            self.shared
                .queue
                .enter_provider(provider, limit, self.delivery, call_no, false, has_own_room);
        let wait = match entry.await {
            Ok(Entry::Granted) => {
                limits.hold(provider, self.delivery, false);
                return Ok(());
            }
            Ok(Entry::NotFor(time)) => time,
            Ok(Entry::Parked | Entry::Lost) | Err(_) => Duration::from_secs(1),
        };
        if room.is_none() {
            limits.forget(provider, self.delivery);
        }
        Err(wait)
    }

    async fn only_waits(&self) {
        self.shared.uncount(self.delivery).await;
    }
}
