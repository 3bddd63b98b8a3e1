//! Lanes: requests of many callers, run in batches, so that nobody's fails or waits for another's.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use diesel::sql_types::{Integer, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connect::Connections;
use super::statement::{Answers, Keyed, on_connection, run};
use super::{DbError, MAX_BATCH};
use crate::batch::Batcher;

/// Statements that are run aside at once, so that a batch which was not taken soon is: most of its requests are well.
const ASIDE: usize = 4;
/// So often what has collided is run again at once.
const COLLISIONS: u32 = 5;

/// What has waited is asked for again within seconds, or has been ended by another replica.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Runs one request by itself.
type RunAlone<I, O> = Box<dyn Fn(I) -> BoxFuture<'static, Result<O, DbError>> + Send + Sync>;

/// Where requests are run in batches, and one by one where Postgres does not take a batch. The next batch does not wait for
/// those.
pub(super) struct Lane<I: Keyed, O> {
    /// `None`: the request is to be run by itself.
    batches: Batcher<I, Option<Result<O, DbError>>>,
    run_alone: RunAlone<I, O>,
    /// Of those that are run by themselves. Who asked may be gone before Postgres has answered.
    alone: TaskTracker,
    aside: Semaphore,
    /// Requests that were not taken by themselves either, and come again, each since when: no batch is to fail with them once
    /// more, nor is whoever was in a batch with others like them to wait.
    waiting: Mutex<HashMap<I::Key, Instant>>,
    one_of_waiting: Semaphore,
}

impl<I, O> Lane<I, O>
where
    I: Keyed + Clone + Send + Sync + 'static,
    I::Key: Send,
    O: Send + 'static,
{
    /// Starts the lane that runs `statement`. It is given one request of a key at the most; what it leaves out is run alone.
    pub(super) fn start<F>(pool: &Connections, statement: F) -> Arc<Self>
    where
        F: for<'c> Fn(&'c mut AsyncPgConnection, &'c [I]) -> Answers<'c, I, O>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let batches = Batcher::spawn(MAX_BATCH, {
            let (pool, statement) = (pool.clone(), statement.clone());
            move |requests: Vec<I>| {
                let (pool, statement) = (pool.clone(), statement.clone());
                async move { run_batch(&pool, &statement, &requests).await }
            }
        });
        let pool = pool.clone();
        let run_alone = Box::new(move |request: I| {
            let (pool, statement) = (pool.clone(), statement.clone());
            async move { run_alone(&pool, &statement, request).await }.boxed()
        });
        Arc::new(Self {
            batches,
            run_alone,
            alone: TaskTracker::new(),
            aside: Semaphore::new(ASIDE),
            waiting: Mutex::default(),
            one_of_waiting: Semaphore::new(1),
        })
    }

    /// Runs one request with the next batch, or by itself.
    pub(super) async fn submit(&self, request: I) -> Result<O, DbError> {
        let key = request.key();
        let has_waited = self.waiting().contains_key(&key);
        if !has_waited {
            let answer = self.batches.submit(request.clone()).await;
            if let Some(result) = answer.unwrap_or_else(|| Some(Err(DbError::lane_ended()))) {
                return result;
            }
        }
        let room = if has_waited {
            &self.one_of_waiting
        } else {
            &self.aside
        };
        let _place = room.acquire().await.expect("the semaphore is never closed");
        let run = self.alone.spawn((self.run_alone)(request));
        let result = run.await.unwrap_or_else(|_| Err(DbError::lane_ended()));
        match &result {
            Err(DbError::Locked(_)) => remember(&mut self.waiting(), key),
            Err(error) if error.is_nobodys() => {}
            _ => _ = self.waiting().remove(&key),
        }
        result
    }

    /// Waits until no statement is under way, also of what nobody waits for any more.
    pub(super) async fn idle(&self) {
        self.batches.idle().await;
        // It takes requests all the same.
        self.alone.close();
        self.alone.wait().await;
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<I::Key, Instant>> {
        self.waiting
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

fn remember<K: Hash + Eq>(waiting: &mut HashMap<K, Instant>, key: K) {
    waiting.retain(|_, since| since.elapsed() < REMEMBERED);
    waiting.insert(key, Instant::now());
}

/// Whatever it is that Postgres does not take, it is about few of the requests: those are found by running each alone.
async fn run_batch<I, O, F>(
    pool: &Connections,
    statement: &F,
    requests: &[I],
) -> Vec<Option<Result<O, DbError>>>
where
    I: Keyed + Clone,
    F: for<'c> Fn(&'c mut AsyncPgConnection, &'c [I]) -> Answers<'c, I, O>,
{
    let mut seen = HashSet::with_capacity(requests.len());
    let is_first = |request: &&I| seen.insert(request.key());
    let first: Vec<I> = requests.iter().filter(is_first).cloned().collect();
    match run(pool, statement, &first).await {
        Ok(mut answers) => {
            let answer = |request: &I| answers.remove(&request.key()).map(Ok);
            requests.iter().map(answer).collect()
        }
        Err(error) if error.is_nobodys() => requests.iter().map(|_| Some(Err(error.clone()))).collect(),
        Err(_) => requests.iter().map(|_| None).collect(),
    }
}

async fn run_alone<I, O, F>(pool: &Connections, statement: &F, request: I) -> Result<O, DbError>
where
    I: Keyed,
    F: for<'c> Fn(&'c mut AsyncPgConnection, &'c [I]) -> Answers<'c, I, O>,
{
    let only = std::slice::from_ref(&request);
    let mut result = run(pool, statement, only).await;
    for _ in 0..COLLISIONS {
        if !matches!(result, Err(DbError::Collided(_))) {
            break;
        }
        result = run(pool, statement, only).await;
    }
    match result {
        Ok(mut answers) => match answers.remove(&request.key()) {
            Some(answer) => Ok(answer),
            None => Err(why_left_out(pool, request.shown_row()).await),
        },
        // It may say so for ever.
        Err(DbError::Collided(said)) => Err(DbError::Locked(said)),
        Err(DbError::Locked(said)) => match lock_on_a_table(pool).await {
            Ok(Some(table)) => Err(DbError::Demoted(format!(
                "somebody else has locked the table {table}, or is about to"
            ))),
            _ => Err(DbError::Locked(said)),
        },
        Err(error) => Err(error),
    }
}

#[derive(diesel::QueryableByName)]
struct LockedTable {
    #[diesel(sql_type = Text)]
    name: String,
}

/// A table of the application that nobody else may write to now: not one row is locked but all are, and none that comes later is
/// taken either.
///
/// Source: PostgreSQL, "Table-Level Locks", what conflicts with ROW EXCLUSIVE.
async fn lock_on_a_table(pool: &Connections) -> Result<Option<String>, DbError> {
    let select = diesel::sql_query(
        "SELECT name FROM (VALUES ('ac_background_jobs'), ('images')) AS used(name)
         WHERE EXISTS (SELECT FROM pg_locks AS held JOIN pg_database ON pg_database.oid = held.database
             WHERE datname = current_database() AND held.relation = to_regclass(name) AND held.pid <> pg_backend_pid()
                AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))",
    );
    let locked: Vec<LockedTable> =
        on_connection(pool, async |connection| select.load(connection).await).await?;
    Ok(locked.into_iter().next().map(|table| table.name))
}

async fn why_left_out(pool: &Connections, shown_row: Option<i32>) -> DbError {
    let Some(id) = shown_row else {
        return DbError::Refused("it answered nothing".to_owned());
    };
    let select = diesel::sql_query("SELECT FROM ac_background_jobs WHERE id = $1 FOR NO KEY UPDATE NOWAIT");
    let select = select.bind::<Integer, _>(id);
    match on_connection(pool, async |connection| select.execute(connection).await).await {
        Ok(0) => {
            DbError::Refused("its row in ac_background_jobs is hidden from updates by a policy".to_owned())
        }
        // It is free by now.
        Ok(_) => DbError::Locked("its row in ac_background_jobs was locked".to_owned()),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_row_that_nobody_asks_about_again_is_forgotten() {
        let mut waiting = HashMap::new();
        remember(&mut waiting, 1);
        tokio::time::advance(REMEMBERED / 2).await;
        remember(&mut waiting, 2);
        assert!(waiting.contains_key(&1));
        tokio::time::advance(REMEMBERED / 2).await;
        remember(&mut waiting, 3);
        assert!(!waiting.contains_key(&1));
        assert!(waiting.contains_key(&2));
    }
}
