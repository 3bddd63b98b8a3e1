//! The way to the queue's server, wherever it is now: looked for at first, and again whenever the answers of
//! the one in use leave a doubt.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::{AsyncCommands, PushInfo};
use secrecy::ExposeSecret;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, timeout};

use super::address::{Address, UnusableUrl};
use super::dead::DeadLimits;
use super::locate::{Found, Locator, NotFound};
use super::server::{Connection, Dedicated, Doubt, Server};
use super::{Keys, Priority, QueueError, QueueSettings};
use crate::measure::PoolUse;

/// Between two looks; doubled after each that finds nothing, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Whoever has waited for this long for somebody else's look looks for itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to one queue's server. Cloning it is cheap.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    locator: Locator,
    keys: Keys,
    dead_limits: DeadLimits,
    max_package_bytes: usize,
    state: Mutex<State>,
    /// Held by who looks, so that a failover is looked into once and not once per connection.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    server: Option<Arc<Server>>,
    looked_at: Option<Instant>,
    /// Looks in a row that have found nothing, and what the last of them says.
    failures: u32,
    failure: Option<NotFound>,
    looks_around_at: Option<Instant>,
}

impl State {
    /// Until when nobody looks again.
    fn rests_until(&self) -> Option<Instant> {
        let pause = PAUSE.saturating_mul(1 << self.failures.min(10));
        Some(self.looked_at? + pause.min(LONGEST_PAUSE))
    }
}

impl Redis {
    /// Reads the URL, without connecting yet.
    ///
    /// # Errors
    /// When the URL cannot be used; the message never holds its password.
    pub fn new(settings: &QueueSettings) -> anyhow::Result<Self> {
        let address = Address::parse(settings.url.expose_secret())
            .map_err(|error| anyhow::anyhow!("REDIS_URL: {error}"))?;
        Ok(Self {
            shared: Arc::new(Shared {
                locator: Locator::new(address, &settings.name),
                keys: Keys::new(&settings.name),
                dead_limits: DeadLimits::new(settings),
                max_package_bytes: settings.max_package_bytes,
                state: Mutex::default(),
                looking: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// The names of this queue's keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
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
    /// [`QueueError`].
    pub async fn push(&self, package: &str) -> Result<(), QueueError> {
        let mut connection = self.connection().await?;
        let _: i64 = connection.lpush(self.keys().inbox(), package).await?;
        Ok(())
    }

    /// Whether the ping key is there: the service's, or with a worker name that of one of its replicas.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn has_ping(&self, worker_name: Option<&str>) -> Result<bool, QueueError> {
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
    /// [`QueueError`].
    pub async fn is_idle(&self) -> Result<bool, QueueError> {
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

    /// How the pool of connections to the server in use is used; `None` before there is one.
    #[must_use]
    pub fn pool_use(&self) -> Option<PoolUse> {
        let server = self.shared.lock().server.clone();
        server.map(|server| server.pool_use())
    }

    /// Whether the server in use answers a PING.
    pub async fn is_up(&self) -> bool {
        let ping = async {
            let mut connection = self.connection().await?;
            let _: String = redis::cmd("PING").query_async(&mut connection).await?;
            Ok::<_, QueueError>(())
        };
        ping.await.is_ok()
    }

    pub(super) async fn connection(&self) -> Result<Connection, QueueError> {
        self.server().await?.connection().await
    }

    /// A connection of its own, whose answers may take up to `response_timeout`.
    pub(super) async fn dedicated(&self, response_timeout: Duration) -> Result<Dedicated, QueueError> {
        self.server().await?.dedicated(response_timeout).await
    }

    /// A connection of its own in protocol version 3, over which the server also says what it was not asked for.
    pub(super) async fn listening(
        &self,
        response_timeout: Duration,
        pushes: UnboundedSender<PushInfo>,
    ) -> Result<Dedicated, QueueError> {
        self.server().await?.listening(response_timeout, pushes).await
    }

    /// Whether a connection leads to the server that is in use now. One that does not must not be used again.
    pub(super) fn is_in_use(&self, server: &Arc<Server>) -> bool {
        self.shared
            .sound()
            .is_some_and(|current| Arc::ptr_eq(&current, server))
    }

    /// The number of the server in use; 0 before the first.
    pub(super) fn server_number(&self) -> u64 {
        self.shared
            .lock()
            .server
            .as_ref()
            .map_or(0, |server| server.number)
    }

    /// Whether the URL names one server and nothing else.
    pub(super) fn is_fixed(&self) -> bool {
        self.shared.locator.is_fixed()
    }

    /// The server to use, looked for if there is none, or a doubt.
    pub(super) async fn server(&self) -> Result<Arc<Server>, NotFound> {
        let shared = &self.shared;
        if let Some(server) = shared.sound() {
            return Ok(server);
        }
        // Not for ever: who holds it may be on a runtime that does not turn.
        let _turn = timeout(PATIENCE, shared.looking.lock()).await;
        if let Some(server) = shared.sound() {
            return Ok(server);
        }
        let (rests_until, failure) = {
            let state = shared.lock();
            (state.rests_until(), state.failure.clone())
        };
        if let Some(rests_until) = rests_until.filter(|time| *time > Instant::now()) {
            match failure {
                Some(failure) => return Err(failure),
                None => tokio::time::sleep_until(rests_until).await,
            }
        }
        shared.lock().looked_at = Some(Instant::now());
        let found = Box::pin(shared.locator.locate(None)).await;
        shared.take_over(found)
    }

    /// Looks, now and then and in the background, whether another server has taken over without a word of the
    /// one in use. Called often; must be called within a tokio runtime.
    pub(super) fn look_around(&self) {
        if self.is_fixed() {
            return;
        }
        let now = Instant::now();
        {
            let mut state = self.shared.lock();
            if state.looks_around_at.is_some_and(|time| now < time) {
                return;
            }
            state.looks_around_at = Some(now + self.shared.locator.look_every());
        }
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let Ok(_turn) = shared.looking.try_lock() else {
                return;
            };
            // While nobody can tell, the server in use is the right one for all that is known.
            let trusted = shared.sound().map(|server| server.name.clone());
            if let Ok(found) = shared.locator.locate(trusted.as_deref()).await {
                let _ = shared.take_over(Ok(found));
            }
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// The server in use, when there is no doubt about it.
    fn sound(&self) -> Option<Arc<Server>> {
        // Where there is no other one to be found, an outage asks for nothing but patience.
        let bearable = if self.locator.is_fixed() {
            Doubt::Look
        } else {
            Doubt::None
        };
        let server = self.lock().server.clone()?;
        (server.doubt() <= bearable).then_some(server)
    }

    /// Goes on with what was found: the server in use if it is that one, with new connections otherwise.
    fn take_over(&self, found: Result<Found, NotFound>) -> Result<Arc<Server>, NotFound> {
        let mut state = self.lock();
        let found = match found {
            Ok(found) => found,
            Err(failure) => {
                state.failures += 1;
                state.failure = Some(failure.clone());
                return Err(failure);
            }
        };
        state.failures = 0;
        state.failure = None;
        let mut number = 1;
        if let Some(server) = &state.server {
            if server.name == found.name {
                server.trust();
                if server.doubt() == Doubt::None {
                    return Ok(server.clone());
                }
            } else {
                tracing::info!(
                    from = server.name,
                    to = found.name,
                    "another Redis has become the master"
                );
            }
            number = server.number + 1;
        }
        let server = Server::new(number, found).map_err(|error| NotFound::Away(error.to_string()))?;
        let server = Arc::new(server);
        if let Some(replaced) = state.server.replace(server.clone()) {
            replaced.retire();
        }
        Ok(server)
    }
}

impl From<NotFound> for QueueError {
    fn from(error: NotFound) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Whether a `REDIS_URL` can be used, without connecting.
///
/// # Errors
/// Says what is wrong with it and what would be right, and never holds its password.
pub fn check_url(url: &str) -> Result<(), UnusableUrl> {
    Address::parse(url).map(|_| ())
}

/// Whether a `REDIS_URL` is that of a cluster, in which all keys of a queue must share one hash tag.
#[must_use]
pub fn is_cluster(url: &str) -> bool {
    matches!(Address::parse(url), Ok(Address::Cluster { .. }))
}
