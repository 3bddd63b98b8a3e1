//! Connections to Redis: a pool for everything that does not block, and dedicated ones for what does.

use std::time::Duration;

use anyhow::Context;
use deadpool_redis::{Manager, Pool, Runtime};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncCommands, AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo};
use secrecy::ExposeSecret;

use super::{Keys, QueueError, QueueSettings};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For commands that answer at once; a server that takes longer counts as unreachable.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
const POOL_SIZE: usize = 8;

/// The way to one queue's server. Cloning it is cheap.
#[derive(Clone)]
pub struct Redis {
    pool: Pool,
    client: Client,
    keys: Keys,
}

impl Redis {
    /// Makes the pool, without connecting yet.
    ///
    /// # Errors
    /// When the URL cannot be used; the message never holds its password.
    pub fn new(settings: &QueueSettings) -> anyhow::Result<Self> {
        let info = connection_info(settings.url.expose_secret()).context("REDIS_URL cannot be used")?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let manager = Manager::new_with_config(info.clone(), config).map_err(QueueError::from)?;
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .wait_timeout(Some(RESPONSE_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CONNECT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .context("the pool of Redis connections cannot be made")?;
        let client = Client::open(info).map_err(QueueError::from)?;
        Ok(Self {
            pool,
            client,
            keys: Keys::new(&settings.name),
        })
    }

    /// The names of this queue's keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Pushes one package, as a producer does.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn push(&self, package: &str) -> Result<(), QueueError> {
        let mut connection = self.connection().await?;
        let _: i64 = connection.lpush(self.keys.inbox(), package).await?;
        Ok(())
    }

    /// Whether the ping key is there: the service's, or with a worker name that of one of its replicas.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn has_ping(&self, worker_name: Option<&str>) -> Result<bool, QueueError> {
        let mut connection = self.connection().await?;
        let Some(worker_name) = worker_name else {
            return Ok(connection.exists(self.keys.ping()).await?);
        };
        let workers: Vec<String> = connection.smembers(self.keys.workers()).await?;
        for worker_id in workers {
            // The random part has no dash in it, so the name is all before the last one.
            let is_self = worker_id
                .rsplit_once('-')
                .is_some_and(|(name, _)| name == worker_name);
            if is_self && connection.exists(self.keys.replica_ping(&worker_id)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether nothing waits, nothing is delayed and nothing is in hand anywhere.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn is_idle(&self) -> Result<bool, QueueError> {
        let mut connection = self.connection().await?;
        let workers: Vec<String> = connection.smembers(self.keys.workers()).await?;
        let mut pipeline = redis::pipe();
        // A transaction, so that a package on its way from one to the next is not missed.
        pipeline.atomic();
        let landing = workers.iter().map(|worker_id| self.keys.landing(worker_id));
        for list in self.keys.all_waiting().into_iter().chain(landing) {
            pipeline.llen(list);
        }
        pipeline.zcard(self.keys.delayed()).zcard(self.keys.in_flight());
        let counts: Vec<u64> = pipeline.query_async(&mut connection).await?;
        Ok(counts.iter().all(|count| *count == 0))
    }

    pub(super) async fn connection(&self) -> Result<deadpool_redis::Connection, QueueError> {
        Ok(self.pool.get().await?)
    }

    /// A connection of its own, whose answers may take up to `response_timeout`.
    pub(super) async fn dedicated(
        &self,
        response_timeout: Duration,
    ) -> Result<MultiplexedConnection, QueueError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(response_timeout));
        Ok(self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }

    /// `host:port`, for messages.
    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }
}

/// Whether a `REDIS_URL` can be used, without connecting.
///
/// # Errors
/// Says what is wrong with it and never holds its password.
pub fn check_url(url: &str) -> Result<(), QueueError> {
    connection_info(url).map(|_| ())
}

fn connection_info(url: &str) -> Result<ConnectionInfo, QueueError> {
    // A peer that vanishes without a word is otherwise noticed only by the response timeout.
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(redis::io::tcp::socket2::TcpKeepalive::new().with_time(Duration::from_secs(10)));
    Ok(url.into_connection_info()?.set_tcp_settings(tcp))
}
