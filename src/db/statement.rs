//! Statements over arrays: one for a whole batch, prepared once per connection.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::sql_types::{Bool, Integer, Timestamptz};
use diesel_async::pooled_connection::deadpool::Object;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::connect::Connections;
use super::{DbError, MAX_BATCH, STATEMENT_TIMEOUT};
use crate::batch::Batcher;

/// Declares a statement whose first part is `WITH asked AS (… unnest(arrays) …)`, one array per field, and
/// whose text goes on from there. Diesel prepares it once per connection, as its text never changes. It borrows its values
/// from the requests that it is made of.
macro_rules! batch_statement {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $rust:ty as $sql:ty),+ $(,)? } -> ($($column:ty),+ $(,)?) $text:expr) => {
        $(#[$doc])*
        #[derive(Default)]
        struct $name<'v> { $($field: Vec<$rust>,)+ borrowed: std::marker::PhantomData<&'v ()> }

        impl<'v> diesel::query_builder::QueryFragment<diesel::pg::Pg> for $name<'v> {
            fn walk_ast<'b>(
                &'b self,
                mut out: diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
            ) -> diesel::QueryResult<()> {
                let mut separator = "WITH asked AS (SELECT * FROM unnest(";
                $(
                    out.push_sql(separator);
                    out.push_bind_param::<diesel::sql_types::Array<$sql>, _>(&self.$field)?;
                    separator = ", ";
                )+
                let _ = separator;
                out.push_sql(concat!(") AS asked(", batch_statement!(@names $($field)+), ")) "));
                out.push_sql($text);
                Ok(())
            }
        }

        impl diesel::query_builder::QueryId for $name<'_> {
            type QueryId = $name<'static>;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl diesel::query_builder::Query for $name<'_> {
            type SqlType = ($($column,)+);
        }
    };
    (@names $first:ident $($rest:ident)*) => { concat!(stringify!($first) $(, ", ", stringify!($rest))*) };
}
pub(super) use batch_statement;

/// A request of a batch; at most one of a key goes into a statement.
pub(super) trait Keyed {
    type Key: Hash + Eq;
    fn key(&self) -> Self::Key;

    /// The row of `ac_background_jobs` that has to be free for it. A statement leaves out what it is not for.
    fn shown_row(&self) -> Option<i32> {
        None
    }
}

impl<T: Keyed> Keyed for Arc<T> {
    type Key = T::Key;
    fn key(&self) -> T::Key {
        T::key(self)
    }

    fn shown_row(&self) -> Option<i32> {
        T::shown_row(self)
    }
}

/// Answers of a statement, in any order, by the keys of their requests.
pub(super) type Answers<'c, I, O> = BoxFuture<'c, Result<HashMap<<I as Keyed>::Key, O>, DbError>>;

/// Starts the lane that runs `statement` for batches of requests.
///
/// Requests of the same key are run one by one, as is what the statement has left out.
pub(super) fn lane<I, O, F>(pool: &Connections, statement: F) -> Batcher<I, Result<O, DbError>>
where
    I: Keyed + Clone + Send + Sync + 'static,
    I::Key: Send,
    O: Send + 'static,
    F: for<'c> Fn(&'c mut AsyncPgConnection, &'c [I]) -> Answers<'c, I, O> + Clone + Send + Sync + 'static,
{
    let pool = pool.clone();
    Batcher::spawn(MAX_BATCH, move |requests: Vec<I>| {
        let (pool, statement) = (pool.clone(), statement.clone());
        async move {
            let mut seen = HashSet::with_capacity(requests.len());
            let is_first = |request: &&I| seen.insert(request.key());
            let first: Vec<I> = requests.iter().filter(is_first).cloned().collect();
            let (mut answers, mut errors) = (HashMap::new(), HashMap::new());
            let parts = apart(&first, |part| run(&pool, &statement, part).boxed());
            for (part, result) in parts.await {
                match result {
                    Ok(answered) => answers.extend(answered),
                    Err(error) => errors.extend(part.iter().map(|one| (one.key(), error.clone()))),
                }
            }
            let mut results = Vec::with_capacity(requests.len());
            for request in &requests {
                let key = request.key();
                results.push(match (answers.remove(&key), errors.get(&key)) {
                    (Some(answer), _) => Ok(answer),
                    (None, Some(error)) => Err(error.clone()),
                    (None, None) => match run(&pool, &statement, std::slice::from_ref(request)).await {
                        Ok(mut answers) => match answers.remove(&key) {
                            Some(answer) => Ok(answer),
                            None => Err(why_left_out(&pool, request.shown_row()).await),
                        },
                        Err(error) => Err(error),
                    },
                });
            }
            results
        }
    })
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

/// So long may locks hold up a batch that is taken apart.
const LOCK_PATIENCE: Duration = Duration::from_secs(4);
/// So often what has collided is run again at once.
const COLLISIONS: u32 = 5;

/// Runs a batch, and by halves if Postgres does not take it, until those stand alone that it is about. Returns all parts.
///
/// An error that is nobody's own ends all that is left, and so do locks that take too long: their requests come back.
pub(super) async fn apart<'r, I, T>(
    requests: &'r [I],
    run: impl Fn(&'r [I]) -> BoxFuture<'r, Result<T, DbError>>,
) -> Vec<(&'r [I], Result<T, DbError>)> {
    let begun = Instant::now();
    let (mut waiting, mut parts) = (vec![requests], Vec::new());
    while let Some(part) = waiting.pop() {
        let mut result = run(part).await;
        for _ in 0..COLLISIONS {
            if !matches!(result, Err(DbError::Collided(_))) {
                break;
            }
            result = run(part).await;
        }
        match result {
            Err(error)
                if error.is_transient()
                    || (matches!(error, DbError::Locked(_)) && begun.elapsed() > LOCK_PATIENCE) =>
            {
                parts.extend(waiting.drain(..).map(|rest| (rest, Err(error.clone()))));
                parts.push((part, Err(error)));
            }
            Err(_) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                waiting.extend([second, first]);
            }
            result => parts.push((part, result)),
        }
    }
    parts
}

async fn run<I, O, F>(
    pool: &Connections,
    statement: &F,
    requests: &[I],
) -> Result<HashMap<I::Key, O>, DbError>
where
    I: Keyed,
    F: for<'c> Fn(&'c mut AsyncPgConnection, &'c [I]) -> Answers<'c, I, O>,
{
    on_connection(pool, async |connection| statement(connection, requests).await).await
}

/// After this long a server is gone without a word; its own statement timeout comes first.
const PATIENCE: Duration = Duration::from_secs(STATEMENT_TIMEOUT.as_secs() + 2);

/// Runs statements on a connection of the pool.
pub(super) async fn on_connection<T, E: Into<DbError> + From<diesel::result::Error>>(
    pool: &Connections,
    statement: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, E>,
) -> Result<T, DbError> {
    on_connection_within(PATIENCE, pool, statement).await
}

/// The same, with another limit to the time it may take.
pub(super) async fn on_connection_within<T, E: Into<DbError> + From<diesel::result::Error>>(
    patience: Duration,
    pool: &Connections,
    statement: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, E>,
) -> Result<T, DbError> {
    let silent = || DbError::Unavailable(format!("no answer within {} s", patience.as_secs()));
    let begun = Instant::now();
    // Boxed, as it is large, and part of every future that runs a statement.
    let connection = tokio::time::timeout(patience, Box::pin(pool.pool.get()))
        .await
        .map_err(|_| silent())??;
    let mut held = Held(Some(connection));
    let connection = held.0.as_mut().expect("it is there until it has answered");
    match tokio::time::timeout_at(begun + patience, pool.run(connection, statement)).await {
        Ok(Ok(value)) => {
            // Back into the pool.
            drop(held.0.take());
            Ok(value)
        }
        Ok(Err(error)) => {
            let error = error.into();
            let connection = held.0.as_mut().expect("it is there until it has answered");
            let is_well = !error.ends_connection() && answers(connection, begun + patience).await;
            if is_well {
                drop(held.0.take());
                return Err(error);
            }
            Err(match error {
                // Of a server that has said so and gone, in whichever language.
                DbError::Refused(message) => DbError::Unavailable(message),
                error => error,
            })
        }
        Err(_) => {
            // The others were opened over the same way, and nothing has been heard on them since.
            pool.pool.retain(|_, _| false);
            Err(silent())
        }
    }
}

async fn answers(connection: &mut AsyncPgConnection, until: Instant) -> bool {
    let asked = connection.batch_execute("SELECT 1");
    matches!(tokio::time::timeout_at(until, asked).await, Ok(Ok(())))
}

/// A connection that has not answered yet. Dropped before it has, it is closed, as whoever gets it next would wait
/// for the same answer.
struct Held(Option<Object<AsyncPgConnection>>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

/// Whether the server answers and takes writes, and when it was started. One that was demoted answers as if nothing had
/// happened.
pub(super) async fn ping(connection: &mut AsyncPgConnection) -> Result<DateTime<Utc>, DbError> {
    let asked = (
        sql::<Bool>("current_setting('transaction_read_only') = 'on'"),
        sql::<Timestamptz>("pg_postmaster_start_time()"),
    );
    let (is_read_only, started_at) = diesel::select(asked).get_result(connection).await?;
    if is_read_only {
        return Err(DbError::Demoted("it is read-only".to_owned()));
    }
    Ok(started_at)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn run_with(guilty: &'static [u32], error: DbError) -> impl Fn(&[u32]) -> Result<usize, DbError> {
        move |part| {
            let is_guilty = part.iter().any(|one| guilty.contains(one));
            if is_guilty {
                Err(error.clone())
            } else {
                Ok(part.len())
            }
        }
    }

    #[tokio::test]
    async fn the_guilty_stand_alone_and_the_others_are_answered() {
        let requests: Vec<u32> = (0..200).collect();
        let (run, runs) = (
            run_with(&[7, 120], DbError::Refused("no".to_owned())),
            AtomicUsize::new(0),
        );
        let parts = apart(&requests, |part| {
            runs.fetch_add(1, Ordering::Relaxed);
            let result = run(part);
            async { result }.boxed()
        });
        let (mut answered, mut refused) = (0, Vec::new());
        for (part, result) in parts.await {
            match result {
                Ok(count) => answered += count,
                Err(_) => refused.extend(part),
            }
        }
        assert_eq!((answered, refused), (198, vec![&7, &120]));
        let runs = runs.into_inner();
        assert!(runs < 40, "{runs}");
    }

    #[tokio::test]
    async fn an_error_that_is_nobodys_own_ends_the_batch() {
        let requests: Vec<u32> = (0..200).collect();
        let run = run_with(&[7], DbError::Unavailable("gone".to_owned()));
        let parts = apart(&requests, |part| {
            let result = run(part);
            async { result }.boxed()
        });
        assert_eq!(parts.await.len(), 1);
    }
}
