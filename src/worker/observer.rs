//! A look at a running replica from outside its loop: for probes, metrics and people.

use std::sync::Arc;

use super::health::Health;
use super::room::Room;
use crate::provider::catalog::Model;
use crate::queue::{ProviderState, ReplicaStatus};
use crate::router::Router;

/// A look at a replica. It stays valid while the replica drains and after it has ended. Cloning it is cheap.
#[derive(Clone)]
pub struct Observer {
    pub(super) status: Arc<ReplicaStatus>,
    pub(super) health: Arc<Health>,
    pub(super) room: Arc<Room>,
    pub(super) router: Arc<Router>,
}

impl Observer {
    /// What the replica knows of itself.
    #[must_use]
    pub fn status(&self) -> &ReplicaStatus {
        &self.status
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

    /// Names of all providers.
    pub fn provider_names(&self) -> impl Iterator<Item = &'static str> {
        self.router.pipeline().providers().names()
    }

    /// Models of the providers that are configured.
    pub fn models(&self) -> impl Iterator<Item = &'static Model> {
        self.router.pipeline().providers().models()
    }
}
