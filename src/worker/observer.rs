//! A look at a running replica from outside its loop: for probes, metrics and people.

use std::sync::Arc;

use super::Shared;
use crate::provider::models::Model;
use crate::queue::{ProviderState, ReplicaStatus};

/// A look at a replica. It stays valid while the replica drains and after it has ended. Cloning it is cheap.
#[derive(Clone)]
pub struct Observer(pub(super) Arc<Shared>);

impl Observer {
    /// What the replica knows of itself.
    #[must_use]
    pub fn status(&self) -> &ReplicaStatus {
        &self.0.status
    }

    /// Whether Redis answered when the replica last asked it something.
    #[must_use]
    pub fn redis_is_up(&self) -> bool {
        self.0.health.redis_is_up()
    }

    /// How it stands with a provider; `None` = it is well.
    #[must_use]
    pub fn provider_state(&self, provider: &str) -> Option<ProviderState> {
        self.0.room.state_of(provider)
    }

    /// Names of all providers.
    pub fn provider_names(&self) -> impl Iterator<Item = &'static str> {
        self.0.router.provider_names()
    }

    /// Models of the providers that are configured.
    pub fn models(&self) -> impl Iterator<Item = &'static Model> {
        self.0.router.models()
    }
}
