//! What all that is done with a queue shares: the way to its server, the names of its keys, and its limits.

use std::ops::Deref;
use std::sync::Arc;

use redis::AsyncCommands;

use super::dead::DeadLimits;
use super::{Keys, Priority, QueueSettings};
use crate::redis::{Connector, RedisFailure, is_named_by};

/// A queue, for whoever is no worker of it too. Cloning it is cheap.
#[derive(Clone)]
pub struct Redis {
    connector: Connector,
    shared: Arc<Shared>,
}

struct Shared {
    keys: Keys,
    dead_limits: DeadLimits,
    max_package_bytes: usize,
    rooms: Vec<String>,
}

impl Deref for Redis {
    type Target = Connector;

    fn deref(&self) -> &Connector {
        &self.connector
    }
}

impl Redis {
    /// Reads the URL, without connecting yet.
    ///
    /// # Errors
    /// When the URL cannot be used; the message never holds its password.
    pub fn new(settings: &QueueSettings) -> anyhow::Result<Self> {
        is_named_by(settings.variable);
        let connector = Connector::new(&settings.url, &settings.name)
            .map_err(|error| anyhow::anyhow!("{}: {error}", settings.variable))?;
        Ok(Self {
            connector,
            shared: Arc::new(Shared {
                keys: Keys::new(&settings.name),
                dead_limits: DeadLimits::new(settings),
                max_package_bytes: settings.max_package_bytes,
                rooms: settings.rooms.clone(),
            }),
        })
    }

    /// The names of this queue's keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// What packages may be parked for.
    pub(super) fn rooms(&self) -> &[String] {
        &self.shared.rooms
    }

    pub(super) fn dead_limits(&self) -> DeadLimits {
        self.shared.dead_limits
    }

    /// The largest package that is taken out of Redis (`MAX_PACKAGE_BYTES`).
    pub(super) fn max_package_bytes(&self) -> usize {
        self.shared.max_package_bytes
    }

    /// Pushes one package, as a producer does.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn push(&self, package: &str) -> Result<(), RedisFailure> {
        let mut connection = self.connection().await?;
        let _: i64 = connection.lpush(self.keys().inbox(), package).await?;
        Ok(())
    }

    /// Whether the ping key is there: the service's, or with a worker name that of one of its replicas.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn has_ping(&self, worker_name: Option<&str>) -> Result<bool, RedisFailure> {
        let mut connection = self.connection().await?;
        let Some(worker_name) = worker_name else {
            return Ok(connection.exists(self.keys().ping()).await?);
        };
        let workers: Vec<String> = connection.smembers(self.keys().workers()).await?;
        for worker_id in workers {
            // The random part has no dash in it, so the name is all before the last one.
            let is_self = worker_id
                .rsplit_once('-')
                .is_some_and(|(name, _)| name == worker_name);
            if is_self && connection.exists(self.keys().replica_ping(&worker_id)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether nothing waits, nothing is delayed and nothing is in hand anywhere.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn is_idle(&self) -> Result<bool, RedisFailure> {
        let mut connection = self.connection().await?;
        let workers: Vec<String> = connection.smembers(self.keys().workers()).await?;
        let mut pipeline = redis::pipe();
        // A transaction, so that a package on its way from one to the next is not missed.
        pipeline.atomic();
        let landing = workers.iter().map(|worker_id| self.keys().landing(worker_id));
        for list in self.keys().all_waiting().into_iter().chain(landing) {
            pipeline.llen(list);
        }
        for priority in Priority::ALL {
            pipeline.zcard(self.keys().sorted(priority));
        }
        pipeline
            .zcard(self.keys().delayed())
            .zcard(self.keys().in_flight());
        let counts: Vec<u64> = pipeline.query_async(&mut connection).await?;
        Ok(counts.iter().all(|count| *count == 0))
    }
}
