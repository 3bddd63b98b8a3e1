//! Statements over arrays: one for a whole batch, prepared once per connection.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;

use diesel::dsl::sql;
use diesel::sql_types::Integer;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::future::BoxFuture;

use super::{DbError, MAX_BATCH, STATEMENT_TIMEOUT};
use crate::batch::Batcher;

/// Declares a statement whose first part is `WITH asked AS (… unnest(arrays) …)`, one array per field, and
/// whose text goes on from there. Diesel prepares it once per connection, as its text never changes.
macro_rules! batch_statement {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $rust:ty as $sql:ty),+ $(,)? } -> ($($column:ty),+ $(,)?) $text:literal) => {
        $(#[$doc])*
        #[derive(Default)]
        struct $name { $($field: Vec<$rust>),+ }

        impl diesel::query_builder::QueryFragment<diesel::pg::Pg> for $name {
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

        impl diesel::query_builder::QueryId for $name {
            type QueryId = Self;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl diesel::query_builder::Query for $name {
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

/// Starts the lane that runs `statement` for batches of requests.
///
/// `statement` answers in any order, by key. Requests of the same key, and all those of a batch that a
/// wrong value has spoiled, are run again one by one.
pub(super) fn lane<I, O, F>(pool: &Pool<AsyncPgConnection>, statement: F) -> Batcher<I, Result<O, DbError>>
where
    I: Keyed + Clone + Send + Sync + 'static,
    I::Key: Send,
    O: Send + 'static,
    F: for<'a> Fn(&'a mut AsyncPgConnection, Vec<I>) -> BoxFuture<'a, Result<HashMap<I::Key, O>, DbError>>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let pool = pool.clone();
    Batcher::spawn(MAX_BATCH, move |requests: Vec<I>| {
        let (pool, statement) = (pool.clone(), statement.clone());
        async move {
            let mut answers = match run(&pool, &statement, requests.clone()).await {
                Ok(answers) => answers,
                Err(error) if error.is_transient() || requests.len() == 1 => {
                    return requests.iter().map(|_| Err(error.clone())).collect();
                }
                Err(_) => HashMap::new(),
            };
            let mut results = Vec::with_capacity(requests.len());
            for request in requests {
                let key = request.key();
                results.push(match answers.remove(&key) {
                    Some(answer) => Ok(answer),
                    None => run(&pool, &statement, vec![request])
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
    requests: Vec<I>,
) -> Result<HashMap<I::Key, O>, DbError>
where
    I: Keyed,
    F: for<'a> Fn(&'a mut AsyncPgConnection, Vec<I>) -> BoxFuture<'a, Result<HashMap<I::Key, O>, DbError>>,
{
    let mut seen = std::collections::HashSet::new();
    let unique = requests
        .into_iter()
        .filter(|request| seen.insert(request.key()))
        .collect();
    let mut connection = pool.get().await?;
    within_timeout(statement(&mut connection, unique)).await
}

/// Ends a statement that Postgres no longer answers; its connection is thrown away by the pool.
pub(super) async fn within_timeout<T, E: Into<DbError>>(
    statement: impl Future<Output = Result<T, E>>,
) -> Result<T, DbError> {
    // The server's own statement timeout comes first; this one is for a server that is gone without a word.
    match tokio::time::timeout(STATEMENT_TIMEOUT + std::time::Duration::from_secs(2), statement).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(DbError::Unavailable(format!(
            "no answer within {} s",
            STATEMENT_TIMEOUT.as_secs() + 2
        ))),
    }
}

pub(super) async fn ping(connection: &mut AsyncPgConnection) -> Result<(), DbError> {
    diesel::select(sql::<Integer>("1")).execute(connection).await?;
    Ok(())
}
