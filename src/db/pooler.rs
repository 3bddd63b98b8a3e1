//! What stands between this process and Postgres: nothing, or a pooler that lends sessions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Error, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Target;
use super::options::{Setting, at_startup, quoted};

/// How long what a connection has asked for stays in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sessions {
    /// As long as the connection.
    Own,
    /// Until the end of the transaction. Settings are refused at the beginning, or left out.
    Lent {
        /// Whether a statement that was prepared can be run in the next transaction: the pooler gives a session to one connection
        /// alone (PgBouncer's `pool_mode = session`), or prepares the statement on the next session too (`max_prepared_statements`).
        keeps_statements: bool,
    },
}

type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

impl Target {
    /// Connects to the first host that will have it.
    pub(super) async fn connect(
        &self,
        options: Option<&str>,
    ) -> Result<(Client, Connection<Socket, TlsStream>), Error> {
        let mut last = None;
        for host in &self.hosts {
            let mut host = host.clone();
            if let Some(options) = options {
                host.options(options);
            }
            match self.connect_to(host).await {
                Ok(connected) => return Ok(connected),
                // What a server says tells more than that another one does not answer.
                Err(error) if error.as_db_error().is_some() || last.is_none() => last = Some(error),
                Err(_) => {}
            }
        }
        Err(last.expect("there is a host, or the URL had been refused"))
    }

    /// A server may speak TLS and let an account in without it alone, or fail to speak it: where TLS is only preferred, it is
    /// asked once more without, as libpq does.
    async fn connect_to(&self, mut host: Config) -> Result<(Client, Connection<Socket, TlsStream>), Error> {
        let error = match host.connect(self.tls.clone()).await {
            Err(error) if host.get_ssl_mode() == SslMode::Prefer && is_about_tls(&error) => error,
            result => return result,
        };
        host.ssl_mode(SslMode::Disable);
        // What it says without is about what nobody has asked for.
        host.connect(self.tls.clone()).await.map_err(|_| error)
    }

    /// The same; the connection is seen to beside.
    pub(super) async fn client(&self, options: Option<&str>) -> Result<Client, Error> {
        let (client, connection) = self.connect(options).await?;
        // It ends with its client, which is told why.
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Finds out whose the sessions are; `has_pooler` is set as soon as that is known.
pub(super) async fn look(
    target: &Target,
    settings: &[Setting],
    has_pooler: &AtomicBool,
) -> Result<Sessions, Error> {
    match target.client(Some(&at_startup(settings))).await {
        Ok(client) if is_told(&client, settings).await? => return Ok(Sessions::Own),
        Ok(_) => {}
        Err(error) if is_about_options(&error) => {}
        Err(error) => return Err(error),
    }
    has_pooler.store(true, Ordering::Relaxed);
    let keeps_statements = keeps_statements(target).await?;
    tracing::info!(
        keeps_statements,
        "Postgres is reached through a pooler that leaves out settings of connections; they go with each transaction"
    );
    Ok(Sessions::Lent { keeps_statements })
}

fn is_about_tls(error: &Error) -> bool {
    match error.as_db_error() {
        Some(said) => *said.code() == SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        // Its kinds have no other way out.
        None => error.to_string().starts_with("error performing TLS handshake"),
    }
}

/// A pooler refuses what it does not know (protocol violation), or does not do (feature not supported). A server refuses a
/// setting that is wrong by other codes.
fn is_about_options(error: &Error) -> bool {
    let Some(said) = error.as_db_error() else {
        return false;
    };
    [SqlState::PROTOCOL_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED].contains(said.code())
        || said.message().contains("startup parameter")
}

/// Whether the server has been told the settings as those of the connection, as far as it lists them.
async fn is_told(client: &Client, settings: &[Setting]) -> Result<bool, Error> {
    let names: Vec<String> = settings
        .iter()
        .map(|setting| quoted(&setting.name.to_ascii_lowercase()))
        .collect();
    let left_out = format!(
        "SELECT count(*) FROM pg_settings WHERE lower(name) IN ({}) AND source <> 'client'",
        names.join(", ")
    );
    Ok(first(client, &left_out).await?.as_deref() == Some("0"))
}

/// So often it is looked whether two connections get the same session: others may be quicker.
const LOOKS: usize = 3;
/// A pool of one session has no other to lend.
const PATIENCE: Duration = Duration::from_millis(500);

async fn keeps_statements(target: &Target) -> Result<bool, Error> {
    const WHO: &str = "SELECT pg_backend_pid()";
    let (one, other) = (target.client(None).await?, target.client(None).await?);
    // Somebody else's statement of this name may stand there, which is as much of an answer as what follows.
    let Ok(statement) = one.prepare("SELECT 1").await else {
        return Ok(false);
    };
    for _ in 0..LOOKS {
        let lent = first(&one, WHO).await?;
        other.batch_execute("BEGIN").await?;
        let is_same = first(&other, WHO).await? == lent;
        if is_same {
            // Now there is another session for it, or none.
            let run = tokio::time::timeout(PATIENCE, one.query(&statement, &[])).await;
            return Ok(matches!(run, Ok(Ok(_))));
        }
        other.batch_execute("ROLLBACK").await?;
    }
    Ok(one.query(&statement, &[]).await.is_ok())
}

async fn first(client: &Client, query: &str) -> Result<Option<String>, Error> {
    let answers = client.simple_query(query).await?;
    Ok(answers.into_iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
