//! The way to the right server, wherever it is now: looked for at first, and again whenever the answers of
//! the one in use leave a doubt.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::PushInfo;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, timeout};

use super::RedisFailure;
use super::address::{Address, UnusableUrl};
use super::locate::{Found, Locator, NotFound};
use super::server::{Connection, Dedicated, Doubt, Server};
use crate::measure::PoolUse;

/// Between two looks; doubled after each that finds nothing, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Whoever has waited for this long for somebody else's look looks for itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to the server of one hash slot. Cloning it is cheap.
#[derive(Clone)]
pub struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    locator: Locator,
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

impl Connector {
    /// Reads the URL, without connecting yet. `tag` is what the keys of interest have in braces: in a cluster it
    /// says whose server is the right one.
    ///
    /// # Errors
    /// When the URL cannot be used; the message never holds its password.
    pub fn new(url: &SecretString, tag: &str) -> Result<Self, UnusableUrl> {
        let address = Address::parse(url.expose_secret())?;
        Ok(Self {
            shared: Arc::new(Shared {
                locator: Locator::new(address, tag),
                state: Mutex::default(),
                looking: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// How the pool of connections to the server in use is used; `None` before there is one.
    #[must_use]
    pub fn pool_use(&self) -> Option<PoolUse> {
        let server = self.shared.lock().server.clone();
        server.map(|server| server.pool_use())
    }

    /// Whether the server in use answers a PING.
    ///
    /// # Errors
    /// [`RedisFailure`]: it does not answer, or refuses even that.
    pub async fn ping(&self) -> Result<(), RedisFailure> {
        let mut connection = self.connection().await?;
        Ok(redis::cmd("PING").query_async(&mut connection).await?)
    }

    pub(crate) async fn connection(&self) -> Result<Connection, RedisFailure> {
        self.server().await?.connection().await
    }

    /// A connection of its own, whose answers may take up to `response_timeout`.
    pub(crate) async fn dedicated(&self, response_timeout: Duration) -> Result<Dedicated, RedisFailure> {
        self.server().await?.dedicated(response_timeout).await
    }

    /// A connection of its own in protocol version 3, over which the server also says what it was not asked for.
    pub(crate) async fn listening(
        &self,
        response_timeout: Duration,
        pushes: UnboundedSender<PushInfo>,
    ) -> Result<Dedicated, RedisFailure> {
        self.server().await?.listening(response_timeout, pushes).await
    }

    /// Whether a connection leads to the server that is in use now. One that does not must not be used again.
    pub(crate) fn is_in_use(&self, server: &Arc<Server>) -> bool {
        self.shared
            .sound()
            .is_some_and(|current| Arc::ptr_eq(&current, server))
    }

    /// The number of the server in use; 0 before the first.
    pub(crate) fn server_number(&self) -> u64 {
        self.shared
            .lock()
            .server
            .as_ref()
            .map_or(0, |server| server.number)
    }

    /// Whether the URL names one server and nothing else.
    pub(crate) fn is_fixed(&self) -> bool {
        self.shared.locator.is_fixed()
    }

    /// The server to use, looked for if there is none, or a doubt.
    pub(crate) async fn server(&self) -> Result<Arc<Server>, NotFound> {
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
    pub(crate) fn look_around(&self) {
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

impl From<NotFound> for RedisFailure {
    fn from(error: NotFound) -> Self {
        match error {
            NotFound::Away(why) => Self::Failed(why),
            NotFound::Misnamed(why) => Self::ShutOut(why),
        }
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
