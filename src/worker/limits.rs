//! Room at providers that take only so many calls: asked for before a package is begun, given back when its attempt
//! ends.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use super::Shared;
use crate::generator::Gate;
use crate::queue::{Delivery, Due, Entry, Limit, QueueError};

/// The limits that are configured, and the deliveries of this worker that have room.
pub(super) struct Limits {
    limits: BTreeMap<String, Limit>,
    held: Mutex<BTreeMap<String, HashSet<String>>>,
}

impl Limits {
    pub(super) fn new(limits: BTreeMap<String, Limit>) -> Self {
        Self {
            limits,
            held: Mutex::default(),
        }
    }

    pub(super) fn are_none(&self) -> bool {
        self.limits.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, HashSet<String>>> {
        self.held.lock().expect("nothing panics while it holds this lock")
    }

    fn hold(&self, provider: &str, delivery: &Delivery) {
        self.lock()
            .entry(provider.to_owned())
            .or_default()
            .insert(delivery.id.clone());
    }

    fn has(&self, provider: &str, delivery: &Delivery) -> bool {
        self.lock()
            .get(provider)
            .is_some_and(|held| held.contains(&delivery.id))
    }

    /// Forgets a delivery and returns the providers at which it had room.
    fn give_up(&self, delivery: &Delivery) -> Vec<String> {
        self.lock()
            .iter_mut()
            .filter_map(|(provider, held)| held.remove(&delivery.id).then(|| provider.clone()))
            .collect()
    }
}

impl Shared {
    /// Gets room at a provider for a delivery that is not begun yet. `false`: the delivery has gone to wait for it.
    pub(super) async fn get_room(&self, provider: &str, delivery: &Delivery) -> bool {
        let Some(limit) = self.limits.limits.get(provider).copied() else {
            return true;
        };
        let mut pause = Duration::from_millis(200);
        loop {
            match self.queue.enter_provider(provider, limit, delivery, true).await {
                Ok(Entry::Granted) => {
                    self.limits.hold(provider, delivery);
                    return true;
                }
                Ok(Entry::Parked | Entry::Lost) => return false,
                Ok(Entry::NotFor(time)) => {
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

    /// Gives back what room a delivery had.
    pub(super) async fn give_room_back(&self, delivery: &Delivery) {
        for provider in self.limits.give_up(delivery) {
            let limit = self.limits.limits.get(&provider).copied().unwrap_or_default();
            let ended = [delivery.id.clone()];
            if let Err(error) = self.queue.leave_provider(&provider, limit, &ended, &[]).await {
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
                .map(|held| held.intersection(&in_hand).cloned().collect())
                .unwrap_or_default();
            self.queue.leave_provider(provider, *limit, &[], &open).await?;
        }
        Ok(())
    }
}

impl Shared {
    /// Brings back what was parked for a provider that has no limit any more.
    pub(super) async fn free_parked(&self) -> Result<(), QueueError> {
        let unlimited: Vec<&str> = self
            .router
            .provider_names()
            .filter(|provider| !self.limits.limits.contains_key(*provider))
            .collect();
        if !self.queue.has_parked(&unlimited).await? {
            return Ok(());
        }
        for provider in unlimited {
            let none = Limit::default();
            while self.queue.leave_provider(provider, none, &[], &[]).await? > 0 {}
        }
        Ok(())
    }
}

/// The gate of one attempt: for providers that draw in place of the one that was meant.
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
        if limits.has(provider, self.delivery) {
            return Ok(());
        }
        let entry = self
            .shared
            .queue
            .enter_provider(provider, limit, self.delivery, false);
        match entry.await {
            Ok(Entry::Granted) => {
                limits.hold(provider, self.delivery);
                Ok(())
            }
            Ok(Entry::NotFor(time)) => Err(time),
            Ok(Entry::Parked | Entry::Lost) | Err(_) => Err(Duration::from_secs(1)),
        }
    }
}
