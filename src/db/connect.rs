//! Connections: time limits, TLS, and a name that an administrator recognizes.

use std::time::Duration;

use anyhow::Context;
use diesel::{ConnectionError, ConnectionResult};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use futures_util::FutureExt;
use secrecy::ExposeSecret;

use super::tls::{self, Target};
use super::{DbSettings, STATEMENT_TIMEOUT};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Statements are planned once per connection, and find rows by their keys. Without this a plan that was made while the
/// ledger was small reads all of it for every batch, until somebody analyzes the table.
///
/// What has no index to go by (a table of one row) looks so expensive then that Postgres would compile it first, at 90 ms.
///
/// Source: PostgreSQL, "Query Planning", `enable_seqscan`, `plan_cache_mode`, `jit`.
const PLANS: &str = "-c enable_seqscan=off -c plan_cache_mode=force_generic_plan -c jit=off";

/// Statements wait for rows that others change, and go on with what those have made of them, which only this level does.
/// As an option of the connection, like all here, since a setting that a statement makes would be inherited by whoever
/// gets its connection from a pooler next.
const ISOLATION: &str = "-c default_transaction_isolation=read\\ committed";
/// What the application has locked for longer is come back to later.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn pool(settings: &DbSettings) -> anyhow::Result<Pool<AsyncPgConnection>> {
    let (statements, locks) = (STATEMENT_TIMEOUT.as_millis(), LOCK_TIMEOUT.as_millis());
    let own = format!("-c statement_timeout={statements} {ISOLATION} -c lock_timeout={locks} {PLANS}");
    let target = target(settings, &own)?;
    let mut config = ManagerConfig::default();
    // A connection that has died is noticed when it is used; statements that met one are run again.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |_| establish(target.clone()).boxed());
    // The URL is in `target`; what is given here is never connected to.
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new_with_config("postgres://", config);
    Pool::builder(manager)
        .max_size(settings.pool_size)
        .wait_timeout(Some(Duration::from_secs(5)))
        .create_timeout(Some(CONNECT_TIMEOUT))
        .recycle_timeout(Some(Duration::from_secs(2)))
        .runtime(deadpool_redis::Runtime::Tokio1)
        .build()
        .context("the pool of Postgres connections cannot be made")
}

/// One connection outside the pool, for migrations. They may take as long as they need, and wait this long for a lock.
pub(super) async fn single(
    settings: &DbSettings,
    lock_timeout: Duration,
) -> anyhow::Result<AsyncPgConnection> {
    let own = format!(
        "-c statement_timeout=0 {ISOLATION} -c lock_timeout={}",
        lock_timeout.as_millis()
    );
    let target = target(settings, &own)?;
    let connection = tokio::time::timeout(CONNECT_TIMEOUT, establish(target))
        .await
        .context("DATABASE_URL: Postgres did not answer within 3 s")?;
    connection.context("DATABASE_URL: Postgres cannot be reached")
}

/// `own`: options of the connection that come before those of the URL, which stay as they were given and win.
fn target(settings: &DbSettings, own: &str) -> anyhow::Result<Target> {
    let mut target = tls::target(settings.url.expose_secret()).context("DATABASE_URL")?;
    let config = &mut target.config;
    let given = config.get_options().unwrap_or_default();
    let options = format!("{own} {given}");
    config.options(options);
    if config.get_application_name().is_none() {
        config.application_name("generative-ai-worker");
    }
    config
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(STATEMENT_TIMEOUT)
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3);
    Ok(target)
}

async fn establish(target: Target) -> ConnectionResult<AsyncPgConnection> {
    let (client, connection) = target
        .config
        .connect(target.tls)
        .await
        .map_err(|e| ConnectionError::BadConnection(with_causes(&e)))?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
