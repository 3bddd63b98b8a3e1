//! The deliveries of this worker that have room, and where.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

use crate::queue::Delivery;

/// What a delivery has at a provider.
#[derive(Clone, Copy)]
pub(super) struct Grant {
    /// Calls that were let through.
    pub(super) calls: u32,
    /// Whether the last of them is still to be made.
    pub(super) is_spare: bool,
    /// When the last of them was.
    pub(super) at: Instant,
}

/// By provider, then by delivery.
#[derive(Default)]
pub(super) struct Grants(Mutex<BTreeMap<String, HashMap<String, Grant>>>);

impl Grants {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, HashMap<String, Grant>>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    /// How many deliveries have room.
    pub(super) fn count(&self, name: &str) -> u32 {
        let count = self.lock().get(name).map_or(0, HashMap::len);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    pub(super) fn get(&self, name: &str, delivery: &Delivery) -> Option<Grant> {
        self.lock().get(name)?.get(&delivery.id).copied()
    }

    /// Reserves room of this replica itself, until the delivery is given up. `false`: `most` have it already.
    pub(super) fn reserve(&self, name: &str, delivery: &Delivery, most: u32) -> bool {
        // Looked at and taken under one lock, so that of two that come together one has it.
        let mut all = self.lock();
        let grants = all.entry(name.to_owned()).or_default();
        let has_room = grants.contains_key(&delivery.id) || grants.len() < most as usize;
        if has_room {
            grants.entry(delivery.id.clone()).or_insert_with(|| Grant {
                calls: 0,
                is_spare: false,
                at: Instant::now(),
            });
        }
        has_room
    }

    pub(super) fn forget(&self, name: &str, delivery: &Delivery) {
        if let Some(grants) = self.lock().get_mut(name) {
            grants.remove(&delivery.id);
        }
    }

    /// Notes a call that was let through, and whether it is still to be made.
    pub(super) fn hold(&self, name: &str, delivery: &Delivery, is_spare: bool) {
        let mut all = self.lock();
        let grant = all.get_mut(name).and_then(|grants| grants.get_mut(&delivery.id));
        if let Some(grant) = grant {
            grant.calls += 1;
            grant.is_spare = is_spare;
            grant.at = Instant::now();
        }
    }

    /// Uses the call that was let through and not made, where there is one.
    pub(super) fn spend(&self, name: &str, delivery: &Delivery) -> bool {
        let mut all = self.lock();
        let grant = all.get_mut(name).and_then(|grants| grants.get_mut(&delivery.id));
        grant.is_some_and(|grant| std::mem::take(&mut grant.is_spare))
    }

    /// The call that was let through last is not made after all.
    pub(super) fn unspend(&self, name: &str, delivery: &Delivery) {
        let mut all = self.lock();
        let grant = all.get_mut(name).and_then(|grants| grants.get_mut(&delivery.id));
        if let Some(grant) = grant {
            grant.is_spare = true;
        }
    }

    /// The calls of a delivery that were let through and not made, by provider; they count as used from now on.
    pub(super) fn spares(&self, delivery: &Delivery) -> Vec<(String, u32)> {
        let mut all = self.lock();
        let spares = all.iter_mut().filter_map(|(provider, grants)| {
            let grant = grants.get_mut(&delivery.id)?;
            std::mem::take(&mut grant.is_spare).then(|| (provider.clone(), grant.calls))
        });
        spares.collect()
    }

    /// Forgets what a delivery has at some providers, and returns those at which it had something.
    pub(super) fn give_up(&self, delivery: &Delivery, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
        let mut all = self.lock();
        let given_up = all.iter_mut().filter_map(|(provider, grants)| {
            let had_room = is_meant(provider) && grants.remove(&delivery.id).is_some();
            had_room.then(|| provider.clone())
        });
        given_up.collect()
    }

    /// The deliveries that have room, by provider. What an attempt that broke down has left behind is not in hand any more.
    pub(super) fn open(&self, in_hand: &HashSet<String>) -> HashMap<String, Vec<String>> {
        let all = self.lock();
        let open = all.iter().map(|(name, grants)| {
            let open = grants.keys().filter(|id| in_hand.contains(*id));
            (name.clone(), open.cloned().collect::<Vec<String>>())
        });
        open.filter(|(_, open)| !open.is_empty()).collect()
    }
}
