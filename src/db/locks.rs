//! Locks that others hold: who that is, and commands of operators that wait for them.

use std::time::Duration;

use super::connect::Connections;
use diesel::sql_types::{Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::DbError;
use super::statement::on_connection;

/// What a session is known by to an operator. Of other people's sessions no more than this may be seen.
pub(super) const WHO: &str = "SELECT format('process %s of Postgres (%s, user %s)', pid,
        coalesce(nullif(application_name, ''), 'without a name'), coalesce(usename, '?')) AS who
    FROM pg_stat_activity";

/// So long a command waits for rows that somebody has locked.
const PATIENCE: Duration = Duration::from_secs(20);
/// A statement that takes longer most likely waits for a lock. Less than the lock timeout of a connection.
const LOOK_AFTER: Duration = Duration::from_millis(30);
const PAUSE: Duration = Duration::from_millis(200);

#[derive(QueryableByName)]
pub(super) struct Session {
    #[diesel(sql_type = Text)]
    who: String,
}

#[derive(QueryableByName)]
struct Process {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

/// All of them in one phrase; `None`: there is none.
pub(super) fn named(sessions: Vec<Session>) -> Option<String> {
    let names: Vec<String> = sessions.into_iter().map(|session| session.who).collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// Runs what an operator has asked for again and again while somebody has locked what it needs, and says who has.
///
/// # Errors
/// [`DbError`]; [`DbError::Locked`] after 20 s, in words that say who has locked it.
pub(super) async fn patiently<T>(
    pool: &Connections,
    statement: impl for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, diesel::QueryResult<T>>,
) -> Result<T, DbError> {
    let begun = Instant::now();
    let mut holder = None;
    loop {
        let attempt = async |connection: &mut AsyncPgConnection| {
            let own: Process = sql_query("SELECT pg_backend_pid() AS pid")
                .get_result(connection)
                .await?;
            let mut running = statement(connection);
            tokio::select! {
                result = &mut running => return result,
                () = tokio::time::sleep(LOOK_AFTER) => {}
            }
            let (result, found) = tokio::join!(running, blocking(pool, own.pid));
            if found.is_some() && found != holder {
                tracing::warn!(
                    "waiting for rows that are locked by {}",
                    found.as_deref().unwrap_or_default()
                );
                holder = found;
            }
            result
        };
        match on_connection(pool, attempt).await {
            Err(DbError::Locked(said)) => {
                if begun.elapsed() >= PATIENCE {
                    return Err(DbError::Locked(format!(
                        "{said}: {} has had it locked for {} s; wait for its end, or end it, and run this again",
                        holder.as_deref().unwrap_or("another transaction"),
                        PATIENCE.as_secs()
                    )));
                }
            }
            result => return result,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Who keeps a process from going on.
async fn blocking(pool: &Connections, pid: i32) -> Option<String> {
    let query = format!("{WHO} WHERE pid = ANY(pg_blocking_pids({pid}))");
    let sessions = on_connection(pool, async |connection| sql_query(query).load(connection).await).await;
    named(sessions.ok()?)
}
