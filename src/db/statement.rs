//! Statements over arrays: one for a whole batch, prepared once per connection.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::sql_types::Bool;
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{DbError, MAX_BATCH, STATEMENT_TIMEOUT};
use crate::batch::Batcher;

/// Declares a statement whose first part is `WITH asked AS (… unnest(arrays) …)`, one array per field, and
/// whose text goes on from there. Diesel prepares it once per connection, as its text never changes. It borrows its values
/// from the requests that it is made of.
macro_rules! batch_statement {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $rust:ty as $sql:ty),+ $(,)? } -> ($($column:ty),+ $(,)?) $text:literal) => {
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
}

impl<T: Keyed> Keyed for Arc<T> {
    type Key = T::Key;
    fn key(&self) -> T::Key {
        T::key(self)
    }
}

/// Answers of a statement, in any order, by the keys of their requests.
pub(super) type Answers<'c, I, O> = BoxFuture<'c, Result<HashMap<<I as Keyed>::Key, O>, DbError>>;

/// Starts the lane that runs `statement` for batches of requests.
///
/// Requests of the same key, and all those of a batch that a wrong value has spoiled, are run again one by one.
pub(super) fn lane<I, O, F>(pool: &Pool<AsyncPgConnection>, statement: F) -> Batcher<I, Result<O, DbError>>
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
            let mut answers = match run(&pool, &statement, &first).await {
                Ok(answers) => answers,
                Err(error) if error.is_transient() || requests.len() == 1 => {
                    return requests.iter().map(|_| Err(error.clone())).collect();
                }
                Err(_) => HashMap::new(),
            };
            let mut results = Vec::with_capacity(requests.len());
            for request in &requests {
                let key = request.key();
                results.push(match answers.remove(&key) {
                    Some(answer) => Ok(answer),
                    None => run(&pool, &statement, std::slice::from_ref(request))
                        .await
                        .and_then(|mut answers| {
                            answers
                                .remove(&key)
                                .ok_or_else(|| DbError::Refused("it answered nothing".to_owned()))
                        }),
                });
            }
            results
        }
    })
}

async fn run<I, O, F>(
    pool: &Pool<AsyncPgConnection>,
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
pub(super) async fn on_connection<T, E: Into<DbError>>(
    pool: &Pool<AsyncPgConnection>,
    statement: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, E>,
) -> Result<T, DbError> {
    on_connection_within(PATIENCE, pool, statement).await
}

/// The same, with another limit to the time it may take.
pub(super) async fn on_connection_within<T, E: Into<DbError>>(
    patience: Duration,
    pool: &Pool<AsyncPgConnection>,
    statement: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, E>,
) -> Result<T, DbError> {
    let silent = || DbError::Unavailable(format!("no answer within {} s", patience.as_secs()));
    let begun = Instant::now();
    // Boxed, as it is large, and part of every future that runs a statement.
    let connection = tokio::time::timeout(patience, Box::pin(pool.get()))
        .await
        .map_err(|_| silent())??;
    let mut held = Held(Some(connection));
    let connection = held.0.as_mut().expect("it is there until it has answered");
    match tokio::time::timeout_at(begun + patience, statement(connection)).await {
        Ok(result) => {
            // Back into the pool.
            drop(held.0.take());
            result.map_err(Into::into)
        }
        Err(_) => {
            // The others were opened over the same way, and nothing has been heard on them since.
            pool.retain(|_, _| false);
            Err(silent())
        }
    }
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

/// Whether the server answers and takes writes. One that was demoted answers as if nothing had happened.
pub(super) async fn ping(connection: &mut AsyncPgConnection) -> Result<(), DbError> {
    let is_read_only = sql::<Bool>("current_setting('transaction_read_only') = 'on'");
    if diesel::select(is_read_only).get_result(connection).await? {
        return Err(DbError::Unavailable(
            "it takes no writes: it is read-only".to_owned(),
        ));
    }
    Ok(())
}
