//! Who migrates now, and who keeps whoever does so from its tables.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::bail;
use diesel::sql_types::{Bool, Integer};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::connect::Single;
use super::super::locks::{WHO, named};

/// Any number that no other application is likely to lock: "gen_ai_w" in ASCII.
const LOCK: i64 = i64::from_be_bytes(*b"gen_ai_w");

/// So long another process that migrates is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this long it is said.
const SAID_AFTER: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);

#[derive(QueryableByName)]
struct Taken {
    #[diesel(sql_type = Bool)]
    is_taken: bool,
}

#[derive(QueryableByName)]
struct Process {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

/// The only one that migrates, until this is dropped: the lock ends with its transaction.
///
/// The transaction is idle, without a snapshot, as an index that is made beside the work of others waits for all
/// snapshots to end.
pub(super) struct First {
    _lock: AsyncPgConnection,
}

/// The same, while it is watched who holds the work up.
pub(super) struct Turn {
    _first: First,
    watch: JoinHandle<()>,
    held_up_by: Arc<Mutex<Option<String>>>,
}

/// Waits until nobody else migrates.
///
/// # Errors
/// When somebody else does for too long, in words that say who.
pub(super) async fn wait(single: Single) -> anyhow::Result<First> {
    let (begun, mut is_said) = (Instant::now(), false);
    // Whatever ends a transaction that only waits is not meant for this one. Not every server has both settings.
    let begin = format!(
        "BEGIN; {}; SELECT set_config(name, '0', true) FROM pg_settings
         WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')",
        single.manners.at_its_beginning().unwrap_or_default()
    );
    let mut connection = single.connection;
    loop {
        connection.batch_execute(&begin).await?;
        let lock = format!("SELECT pg_try_advisory_xact_lock({LOCK}) AS is_taken");
        let taken: Vec<Taken> = sql_query(lock).load(&mut connection).await?;
        if taken.iter().any(|row| row.is_taken) {
            // The portal of the query before keeps its snapshot until there is another.
            connection.batch_execute("SELECT 1").await?;
            return Ok(First { _lock: connection });
        }
        let waited = begun.elapsed();
        if waited > SAID_AFTER && !is_said {
            tracing::warn!("waiting for migrations of {}", holder(&mut connection).await?);
            is_said = true;
        }
        if waited > PATIENCE {
            bail!(
                "DATABASE_URL: for {} s {} has had the lock of migrations; wait for its end, or end it, and start again",
                PATIENCE.as_secs(),
                holder(&mut connection).await?
            );
        }
        connection.batch_execute("ROLLBACK").await?;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn holder(connection: &mut AsyncPgConnection) -> anyhow::Result<String> {
    let query = format!(
        "{WHO} WHERE pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
            AND (classid::bigint << 32) + objid::bigint = {LOCK})"
    );
    let sessions = sql_query(query).load(connection).await?;
    Ok(named(sessions).unwrap_or_else(|| "another process".to_owned()))
}

impl First {
    /// Watches over a connection of its own who keeps the work that is done over others from its tables, and says so.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub(super) async fn watch(self, mut watching: Single, working: [&mut Single; 2]) -> anyhow::Result<Turn> {
        let mut pids = Vec::new();
        for connection in working {
            let who = sql_query("SELECT pg_backend_pid() AS pid");
            let rows: Vec<Process> = connection
                .run(async |connection| who.load(connection).await)
                .await?;
            pids.extend(rows.into_iter().map(|row| row.pid.to_string()));
        }
        // An index that is made beside the work of others waits for this very look as well, which is over in a moment.
        let query = format!(
            "{WHO} WHERE pid <> pg_backend_pid()
                AND pid IN (SELECT unnest(pg_blocking_pids(waiting)) FROM unnest(ARRAY[{}]) AS waiting)",
            pids.join(", ")
        );
        let held_up_by = Arc::new(Mutex::new(None));
        let found = held_up_by.clone();
        let watch = tokio::spawn(async move {
            loop {
                tokio::time::sleep(PAUSE).await;
                // Whoever works notices by itself that Postgres is gone.
                let sessions = watching.run(async |connection| sql_query(&query).load(connection).await);
                let Ok(sessions) = sessions.await else {
                    return;
                };
                let Some(name) = named(sessions) else { continue };
                let mut known = found.lock().expect("nothing panics while it holds this lock");
                if known.as_ref() != Some(&name) {
                    tracing::warn!("a migration waits for tables that are locked by {name}");
                    *known = Some(name);
                }
            }
        });
        Ok(Turn {
            _first: self,
            watch,
            held_up_by,
        })
    }
}

impl Turn {
    /// Who was seen last to hold the work up.
    pub(super) fn held_up_by(&self) -> String {
        let known = self
            .held_up_by
            .lock()
            .expect("nothing panics while it holds this lock");
        known.clone().unwrap_or_else(|| "another transaction".to_owned())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
