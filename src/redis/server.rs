//! The server in use, the connections to it, and what their answers say about whether it is still the right one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use deadpool_redis::{Manager, Pool, Runtime};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, Pipeline, ProtocolVersion, PushInfo,
    RedisError, RedisFuture, RedisResult, TlsCertificates, Value,
};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::locate::Found;
use super::{RedisFailure, diagnosis};
use crate::measure::PoolUse;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For commands that answer at once; a server that takes longer counts as unreachable.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
const POOL_SIZE: usize = 8;

/// The error of everything that is still asked of a server when another one has taken over.
pub(crate) const REPLACED: &str = "another server has taken over meanwhile";

pub(crate) fn is_replaced(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Client && error.to_string().starts_with(REPLACED)
}

/// What is to be thought of a server after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// It is the right one.
    None,
    /// It may have been replaced: look.
    Look,
    /// It is the wrong one, or was for a moment: no connection to it is used again.
    Gone,
}

impl Doubt {
    fn of_answer(code: &str, details: &str) -> Self {
        match code {
            "READONLY" | "MOVED" | "MASTERDOWN" | "UNBLOCKED" => Self::Gone,
            "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "NOREPLICAS" => Self::Look,
            // Before Redis 7 what a script meets is wrapped up.
            "ERR" if details.contains("-READONLY ") => Self::Gone,
            "ERR" if details.contains("-NOREPLICAS ") => Self::Look,
            _ => Self::None,
        }
    }

    fn of_value(value: &Value) -> Self {
        match value {
            Value::ServerError(error) => Self::of_answer(error.code(), error.details().unwrap_or_default()),
            _ => Self::None,
        }
    }

    fn of_error(error: &RedisError) -> Self {
        match error.clone().into_server_errors() {
            Some(errors) => errors
                .iter()
                .map(|(_, error)| Self::of_answer(error.code(), error.details().unwrap_or_default()))
                .max()
                .unwrap_or(Self::None),
            // Cut off, timed out, refused, or not to be understood.
            None => Self::Look,
        }
    }
}

/// The server in use.
pub(crate) struct Server {
    /// Rises whenever another server, or the same one anew, takes over.
    pub(crate) number: u64,
    /// `host:port`
    pub(crate) name: String,
    /// Whom to trust there and who this is; `None`: TLS is not spoken.
    pub(crate) certificates: Option<TlsCertificates>,
    pool: Pool,
    client: Client,
    doubt: AtomicU8,
    retired: CancellationToken,
}

impl Server {
    /// Makes the pool, without connecting yet.
    pub(crate) fn new(number: u64, found: Found) -> Result<Self, RedisFailure> {
        let manager = Manager::new_with_config(found.info.clone(), config(RESPONSE_TIMEOUT))?;
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .wait_timeout(Some(RESPONSE_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CONNECT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| RedisFailure::Failed(format!("no pool of connections can be made: {error}")))?;
        Ok(Self {
            number,
            name: found.name,
            certificates: found.certificates,
            pool,
            client: Client::open(found.info)?,
            doubt: AtomicU8::new(Doubt::None as u8),
            retired: CancellationToken::new(),
        })
    }

    /// How it is connected to.
    pub(crate) fn info(&self) -> &ConnectionInfo {
        self.client.get_connection_info()
    }

    pub(crate) fn doubt(&self) -> Doubt {
        match self.doubt.load(Ordering::Relaxed) {
            0 => Doubt::None,
            1 => Doubt::Look,
            _ => Doubt::Gone,
        }
    }

    pub(crate) fn pool_use(&self) -> PoolUse {
        let status = self.pool.status();
        PoolUse {
            max: status.max_size,
            open: status.size,
            idle: status.available,
            waiting: status.waiting,
        }
    }

    /// Takes it for the right one again, unless it has said that it is not.
    pub(crate) fn trust(&self) {
        let _ = self.doubt.compare_exchange(
            Doubt::Look as u8,
            Doubt::None as u8,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    pub(crate) fn note(&self, doubt: Doubt) {
        self.doubt.fetch_max(doubt as u8, Ordering::Relaxed);
    }

    /// Ends whatever is still asked of it: it may be frozen, and never answer.
    pub(crate) fn retire(&self) {
        self.retired.cancel();
    }

    /// Waits for an answer, and no longer than the server is in use.
    async fn heed<T, E>(&self, asking: impl Future<Output = Result<T, E>>) -> Result<T, RedisFailure>
    where
        RedisFailure: From<E>,
    {
        let answer = self.retired.run_until_cancelled(asking).await;
        match answer {
            Some(Err(_)) if self.retired.is_cancelled() => Err(RedisFailure::Replaced),
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => {
                self.note(Doubt::Look);
                match RedisFailure::from(error) {
                    RedisFailure::ShutOut(why) => {
                        let said = diagnosis::why_shut_out(self.client.get_connection_info()).await;
                        Err(said.unwrap_or(RedisFailure::ShutOut(why)))
                    }
                    failure => Err(failure),
                }
            }
            None => Err(RedisFailure::Replaced),
        }
    }

    /// What it says to whoever connects, before it hangs up.
    pub(crate) async fn says_unasked(&self) -> Option<RedisFailure> {
        diagnosis::says_unasked(self.client.get_connection_info()).await
    }

    /// Whether its silence has to do with TLS that is spoken where it should not be, or the reverse, or with what listens there.
    pub(crate) async fn wrong_protocol(&self) -> Option<RedisFailure> {
        let info = self.client.get_connection_info();
        match diagnosis::wrong_encryption(info).await {
            None => diagnosis::no_redis(info).await,
            found => found,
        }
    }

    pub(crate) async fn connection(self: Arc<Self>) -> Result<Connection, RedisFailure> {
        // Boxed, as it is large, and part of every future that asks Redis for something.
        let connection = self.heed(Box::pin(self.pool.get())).await?;
        Ok(Link {
            connection,
            server: self,
        })
    }

    /// A connection of its own, whose answers may take up to `response_timeout`.
    pub(crate) async fn dedicated(
        self: Arc<Self>,
        response_timeout: Duration,
    ) -> Result<Dedicated, RedisFailure> {
        let client = self.client.clone();
        self.open(&client, config(response_timeout)).await
    }

    /// One in protocol version 3, over which the server also says what it was not asked for.
    pub(crate) async fn listening(
        self: Arc<Self>,
        response_timeout: Duration,
        pushes: UnboundedSender<PushInfo>,
    ) -> Result<Dedicated, RedisFailure> {
        let info = self.client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        self.open(&client, config(response_timeout).set_push_sender(pushes))
            .await
    }

    async fn open(
        self: Arc<Self>,
        client: &Client,
        config: AsyncConnectionConfig,
    ) -> Result<Dedicated, RedisFailure> {
        let opening = client.get_multiplexed_async_connection_with_config(&config);
        let connection = self.heed(Box::pin(opening)).await?;
        Ok(Link {
            connection,
            server: self,
        })
    }

    /// Waits for an answer to a command, and no longer than the server is in use.
    ///
    /// What is given up may be done there all the same. Nobody asks that server again, and should it come back
    /// into use, every script looks first whether it has been run.
    async fn answer<T>(
        &self,
        asking: impl Future<Output = RedisResult<T>>,
        doubt: impl FnOnce(&T) -> Doubt,
    ) -> RedisResult<T> {
        let answer = self.retired.run_until_cancelled(asking).await;
        let doubt = match &answer {
            Some(Ok(value)) => doubt(value),
            Some(Err(error)) => Doubt::of_error(error),
            None => Doubt::Look,
        };
        if doubt > Doubt::None {
            if self.retired.is_cancelled() {
                return Err(RedisError::from((ErrorKind::Client, REPLACED)));
            }
            self.note(doubt);
        }
        answer.unwrap_or_else(|| Err(RedisError::from((ErrorKind::Client, REPLACED))))
    }
}

fn config(response_timeout: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(response_timeout))
}

/// A connection that tells its server's [`Doubt`] from every answer.
pub(crate) struct Link<C> {
    connection: C,
    server: Arc<Server>,
}

/// A connection that goes back into the pool.
pub(crate) type Connection = Link<deadpool_redis::Connection>;

/// A connection for one purpose.
pub(crate) type Dedicated = Link<MultiplexedConnection>;

impl<C> Link<C> {
    /// Which server it leads to.
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

impl Connection {
    /// Ends it. A broken connection must not go back into the pool.
    pub(crate) fn discard(self) {
        drop(deadpool_redis::Connection::take(self.connection));
    }
}

impl<C: ConnectionLike + Send> ConnectionLike for Link<C> {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        let asking = self.connection.req_packed_command(cmd);
        Box::pin(self.server.answer(asking, Doubt::of_value))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let asking = self.connection.req_packed_commands(cmd, offset, count);
        let doubt = |values: &Vec<Value>| values.iter().map(Doubt::of_value).max().unwrap_or(Doubt::None);
        Box::pin(self.server.answer(asking, doubt))
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_a_server_that_is_no_master_any_more_are_told_from_others() {
        for (answer, doubt) in [
            (
                "-READONLY You can't write against a read only replica.",
                Doubt::Gone,
            ),
            (
                "-READONLY You can't write against a read only replica. script: 1f, on @user_script:1.",
                Doubt::Gone,
            ),
            (
                "-ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write.",
                Doubt::Gone,
            ),
            (
                "-ERR Error running script (call to f_1): @user_script:1: -NOREPLICAS Not enough.",
                Doubt::Look,
            ),
            ("-MOVED 7 127.0.0.1:6380", Doubt::Gone),
            (
                "-UNBLOCKED force unblock from blocking operation, instance state changed",
                Doubt::Gone,
            ),
            ("-MASTERDOWN Link with MASTER is down", Doubt::Gone),
            ("-ASK 7 127.0.0.1:6380", Doubt::Look),
            (
                "-TRYAGAIN Multiple keys request during rehashing of slot",
                Doubt::Look,
            ),
            ("-CLUSTERDOWN The cluster is down", Doubt::Look),
            ("-LOADING Redis is loading the dataset in memory", Doubt::Look),
            ("-NOREPLICAS Not enough good replicas to write.", Doubt::Look),
            ("-NOSCRIPT No matching script.", Doubt::None),
            (
                "-OOM command not allowed when used memory > 'maxmemory'.",
                Doubt::None,
            ),
            ("-WRONGTYPE Operation against a key", Doubt::None),
            (":1", Doubt::None),
        ] {
            let value = redis::parse_redis_value(format!("{answer}\r\n").as_bytes());
            let found = match &value {
                Ok(value) => Doubt::of_value(value),
                Err(error) => Doubt::of_error(error),
            };
            assert_eq!(found, doubt, "{answer}: {value:?}");
        }
    }

    #[test]
    fn what_the_network_does_says_that_it_is_time_to_look() {
        let cut = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(Doubt::of_error(&cut), Doubt::Look);
    }
}
