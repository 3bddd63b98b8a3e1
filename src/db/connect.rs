//! Connections: time limits and settings, over whatever stands between this process and Postgres.
//!
//! A connection to Postgres itself is told its settings when it is opened, which costs nothing later. A pooler may refuse
//! them, or leave them out, and lends a session of Postgres for a transaction at a time: then nothing that is to last longer
//! than a transaction may be asked for, and the settings go with each transaction. Which of the two it is, the first connection
//! finds out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use diesel::connection::CacheSize;
use diesel::{ConnectionError, ConnectionResult};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager,
};
use futures_util::FutureExt;
use secrecy::ExposeSecret;
use tokio::sync::OnceCell;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::address::{self, Target};
use super::options::{Setting, at_startup, in_transaction};
use super::pooler::{self, Sessions};
use super::{DbError, DbSettings, STATEMENT_TIMEOUT, UnfitDatabase};

/// Statements are planned once per connection, and find rows by their keys. Without this a plan that was made while the
/// ledger was small reads all of it for every batch, until somebody analyzes the table.
///
/// What has no index to go by (a table of one row) looks so expensive then that Postgres would compile it first, at 90 ms.
///
/// Source: PostgreSQL, "Query Planning", `enable_seqscan`, `plan_cache_mode`, `jit`.
const PLANS: [(&str, &str); 3] = [
    ("enable_seqscan", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
];

/// Statements wait for rows that others change, and go on with what those have made of them, which only this level does.
const ISOLATION: (&str, &str) = ("default_transaction_isolation", "read committed");
/// What the application has locked for longer is come back to later.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// Source: PgBouncer, `server_login_retry`, 15 s.
const POOLER_PATIENCE: Duration = Duration::from_secs(20);

/// The way to the database that a URL names.
#[derive(Clone)]
pub(super) struct Way {
    target: Arc<Target>,
    sessions: Arc<OnceCell<Sessions>>,
    /// Whether a pooler has answered, whatever becomes of the connection.
    has_pooler: Arc<AtomicBool>,
    /// Connections that a replica opens at the most.
    most: usize,
}

/// A pool of connections, and how statements are run on them.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) pool: Pool<AsyncPgConnection>,
    manners: Manners,
}

/// Settings of a kind of work, and the way that says how they are told.
#[derive(Clone)]
pub(super) struct Manners {
    way: Way,
    /// Those of the URL come last, and win.
    settings: Arc<[Setting]>,
}

/// One connection outside the pool.
pub(super) struct Single {
    pub(super) connection: AsyncPgConnection,
    pub(super) manners: Manners,
}

impl Way {
    pub(super) fn of(settings: &DbSettings) -> anyhow::Result<Self> {
        let target = address::target(settings.url.expose_secret()).context("DATABASE_URL")?;
        Ok(Self {
            target: Arc::new(target),
            sessions: Arc::default(),
            has_pooler: Arc::default(),
            most: settings.pool_size,
        })
    }

    pub(super) fn pool(&self, size: usize) -> anyhow::Result<Connections> {
        let mut own = vec![
            Setting::new("statement_timeout", STATEMENT_TIMEOUT.as_millis()),
            Setting::new("lock_timeout", LOCK_TIMEOUT.as_millis()),
        ];
        own.extend(PLANS.map(|(name, value)| Setting::new(name, value)));
        let manners = self.manners(own);
        let mut config = ManagerConfig::default();
        // A connection that has died is noticed when it is used; statements that met one are run again.
        config.recycling_method = RecyclingMethod::Fast;
        let opening = manners.clone();
        config.custom_setup = Box::new(move |_| {
            let manners = opening.clone();
            async move { manners.open().await }.boxed()
        });
        // The URL is in `manners`; what is given here is never connected to.
        let manager =
            AsyncDieselConnectionManager::<AsyncPgConnection>::new_with_config("postgres://", config);
        let pool = Pool::builder(manager)
            .max_size(size)
            .wait_timeout(Some(Duration::from_secs(5)))
            .create_timeout(Some(self.target.patience))
            .recycle_timeout(Some(Duration::from_secs(2)))
            .runtime(deadpool_redis::Runtime::Tokio1)
            .build()
            .context("the pool of Postgres connections cannot be made")?;
        Ok(Connections { pool, manners })
    }

    /// One connection outside the pool, for migrations. They may take as long as they need, and wait this long for a lock.
    pub(super) async fn single(&self, lock_timeout: Duration) -> anyhow::Result<Single> {
        let manners = self.manners(vec![
            Setting::new("statement_timeout", 0),
            Setting::new("lock_timeout", lock_timeout.as_millis()),
        ]);
        let connection = self
            .within_patience(manners.open())
            .await
            .map_err(|seconds| DbError::Unavailable(format!("no answer within {seconds} s")))
            .context("DATABASE_URL: Postgres cannot be reached")?
            .map_err(|error| {
                if let Some((what, name)) = crowded(&error.to_string()) {
                    let most = self.most;
                    return UnfitDatabase::Crowded { what, name, most }.into();
                }
                let what = match error {
                    ConnectionError::InvalidConnectionUrl(_) => "refuses this connection",
                    _ => "cannot be reached",
                };
                anyhow::Error::new(error).context(format!("DATABASE_URL: Postgres {what}"))
            })?;
        Ok(Single { connection, manners })
    }

    /// Waits as long as is usual, and longer for a pooler: what its server has refused, it tells whoever comes next only when it has
    /// asked that once more.
    ///
    /// # Errors
    /// So many seconds were waited in vain.
    async fn within_patience<T>(&self, opening: impl Future<Output = T>) -> Result<T, u64> {
        let mut opening = std::pin::pin!(opening);
        let usual = self.target.patience;
        if let Ok(opened) = tokio::time::timeout(usual, &mut opening).await {
            return Ok(opened);
        }
        let more = POOLER_PATIENCE.saturating_sub(usual);
        if !self.has_pooler.load(Ordering::Relaxed) || more.is_zero() {
            return Err(usual.as_secs());
        }
        let opened = tokio::time::timeout(more, opening).await;
        opened.map_err(|_| POOLER_PATIENCE.as_secs())
    }

    fn manners(&self, own: Vec<Setting>) -> Manners {
        let isolation = Setting::new(ISOLATION.0, ISOLATION.1);
        let all = own
            .into_iter()
            .chain([isolation])
            .chain(self.target.settings.iter().cloned());
        Manners {
            way: self.clone(),
            settings: all.collect(),
        }
    }
}

impl Connections {
    /// Runs statements on a connection of this pool as a piece: what they are told first is gone after it.
    pub(super) async fn run<T, E: From<diesel::result::Error>>(
        &self,
        connection: &mut AsyncPgConnection,
        statements: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.manners.run(connection, statements).await
    }
}

impl Single {
    /// The same, on this connection.
    pub(super) async fn run<T, E: From<diesel::result::Error>>(
        &mut self,
        statements: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.manners.run(&mut self.connection, statements).await
    }
}

impl Manners {
    /// Connections that a replica opens at the most.
    pub(super) fn most(&self) -> usize {
        self.way.most
    }

    /// What a transaction is told first; `None` where its session knows it.
    pub(super) fn at_its_beginning(&self) -> Option<String> {
        let Some(Sessions::Lent { keeps_statements }) = self.way.sessions.get() else {
            return None;
        };
        // Names of statements that somebody else has left on the session would be in the way of those to come.
        let forget = if *keeps_statements { "" } else { "DEALLOCATE ALL; " };
        Some(format!("{forget}{}", in_transaction(&self.settings)))
    }

    async fn run<T, E: From<diesel::result::Error>>(
        &self,
        connection: &mut AsyncPgConnection,
        statements: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(told) = self.at_its_beginning() else {
            return statements(connection).await;
        };
        let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {told}");
        AnsiTransactionManager::begin_transaction_sql(connection, &begin).await?;
        match statements(connection).await {
            Ok(value) => {
                AnsiTransactionManager::commit_transaction(connection).await?;
                Ok(value)
            }
            Err(error) => {
                // Where that fails too, the connection is of no more use, and its pool sees so.
                let _ = AnsiTransactionManager::rollback_transaction(connection).await;
                Err(error)
            }
        }
    }

    async fn open(&self) -> ConnectionResult<AsyncPgConnection> {
        let target = &self.way.target;
        let sessions = self
            .way
            .sessions
            .get_or_try_init(|| pooler::look(target, &self.settings, &self.way.has_pooler));
        match sessions.await.map_err(|error| refused(&error))? {
            Sessions::Own => {
                let options = at_startup(&self.settings);
                let (client, connection) = target
                    .connect(Some(&options))
                    .await
                    .map_err(|error| refused(&error))?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
            Sessions::Lent { keeps_statements } => {
                let client = target.client(None).await.map_err(|error| refused(&error))?;
                lent(client, *keeps_statements).await
            }
        }
    }
}

/// The library sets a time zone and an encoding, which whoever gets the session next is not to inherit: so it does in a
/// transaction that is rolled back. The encoding is UTF-8 from the beginning, and times come without a zone.
async fn lent(client: Client, keeps_statements: bool) -> ConnectionResult<AsyncPgConnection> {
    let forget = if keeps_statements { "" } else { "; DEALLOCATE ALL" };
    client
        .batch_execute(&format!("BEGIN{forget}"))
        .await
        .map_err(|error| refused(&error))?;
    let mut connection = AsyncPgConnection::try_from(client).await?;
    connection
        .batch_execute("ROLLBACK")
        .await
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    if !keeps_statements {
        connection.set_prepared_statement_cache_size(CacheSize::Disabled);
    }
    Ok(connection)
}

/// Whether a server answers and will not have this connection until somebody mends the URL, the account or the certificate.
/// PgBouncer says so under other codes than Postgres, and the driver of itself and of TLS in words alone.
///
/// Source: PostgreSQL, "Error Codes".
fn is_refusal(error: &tokio_postgres::Error, text: &str) -> bool {
    let codes = [
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    let words = [
        "authentication failed",
        "no such database",
        "no such user",
        // A pooler hands on what its server has said, and not its code.
        "does not exist",
        "password missing",
        "server does not support TLS",
        "invalid peer certificate",
    ];
    let is_told = error
        .as_db_error()
        .is_some_and(|said| codes.contains(said.code()));
    is_told || words.iter().any(|word| text.contains(word))
}

/// Of whom the server says that it has all the connections that it may have: `role` or `database`, and its name.
fn crowded(said: &str) -> Option<(String, String)> {
    let (_, whose) = said.split_once("too many connections for ")?;
    let (what, rest) = whose.split_once(" \"")?;
    let (name, _) = rest.split_once('"')?;
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let name = if name.chars().all(is_plain) {
        name.to_owned()
    } else {
        format!("\"{name}\"")
    };
    Some((what.to_owned(), name))
}

fn refused(error: &tokio_postgres::Error) -> ConnectionError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    // What the driver says before the words of the server.
    if let Some(said) = text.strip_prefix("db error: ") {
        text = said.to_owned();
    }
    if error
        .as_db_error()
        .is_some_and(|said| *said.code() == SqlState::TOO_MANY_CONNECTIONS)
    {
        text.push_str("; raise max_connections of the server, or end connections of others");
    }
    match is_refusal(error, &text) {
        true => ConnectionError::InvalidConnectionUrl(text),
        false => ConnectionError::BadConnection(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_connections_are_used_up_is_read_from_what_the_server_says() {
        let of = |said: &str| crowded(said).map(|(what, name)| format!("{what} {name}"));
        for (said, whose) in [
            (
                "FATAL: too many connections for role \"worker\"",
                Some("role worker"),
            ),
            (
                "FATAL: too many connections for database \"App\"",
                Some("database \"App\""),
            ),
            ("FATAL: sorry, too many clients already", None),
        ] {
            assert_eq!(of(said).as_deref(), whose, "{said}");
        }
    }
}
