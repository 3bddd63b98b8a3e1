//! A look at a running replica from outside its loop: for probes, metrics and people.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::budgets::Budgets;
use super::health::Health;
use super::room::{Room, parked_for};
use crate::provider::catalog::Model;
use crate::queue::{ProviderState, ReplicaStatus, SUSPECTS};
use crate::router::Router;
use crate::work_package::WORK_TYPES;

/// A look at a replica. It stays valid while the replica drains and after it has ended. Cloning it is cheap.
#[derive(Clone)]
pub struct Observer {
    pub(super) status: Arc<ReplicaStatus>,
    pub(super) health: Arc<Health>,
    pub(super) room: Arc<Room>,
    pub(super) router: Arc<Router>,
    pub(super) budgets: Arc<Budgets>,
}

impl Observer {
    /// What the replica knows of itself.
    #[must_use]
    pub fn status(&self) -> &ReplicaStatus {
        &self.status
    }

    /// How many more packages the replica could begin now; none while it takes none.
    #[must_use]
    pub fn room(&self) -> usize {
        let status = &self.status;
        let takes = self.health.may_take()
            && self.health.redis_is_up()
            && status.has_begun()
            && !status.is_paused.load(Ordering::Relaxed)
            && !status.is_draining.load(Ordering::Relaxed);
        let in_hand = status.in_flight.load(Ordering::Relaxed);
        if takes {
            status.concurrency().saturating_sub(in_hand)
        } else {
            0
        }
    }

    /// Whether Redis answered when the replica last asked it something.
    #[must_use]
    pub fn redis_is_up(&self) -> bool {
        self.health.redis_is_up()
    }

    /// What Redis refuses this replica while it does the rest: a sentence each.
    #[must_use]
    pub fn redis_refusals(&self) -> Vec<String> {
        self.health.redis_refusals()
    }

    /// How it stands with a provider; `None` = it is well.
    #[must_use]
    pub fn provider_state(&self, provider: &str) -> Option<ProviderState> {
        self.room.state_of(provider)
    }

    /// What may be spent.
    #[must_use]
    pub fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// Names of all providers.
    pub fn provider_names(&self) -> impl Iterator<Item = &'static str> {
        self.router.pipeline().providers().names()
    }

    /// Everything that packages can be parked for, each with its word in metrics.
    pub fn parking_places(&self) -> impl Iterator<Item = (String, &'static str)> {
        let words = self.provider_names().chain(WORK_TYPES).chain([SUSPECTS]);
        parked_for(self.provider_names()).into_iter().zip(words)
    }

    /// Models of the providers that are configured.
    pub fn models(&self) -> impl Iterator<Item = &'static Model> {
        self.router.pipeline().providers().models()
    }
}
