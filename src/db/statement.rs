//! Statements over arrays: one for a whole batch, prepared once per connection.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::QueryableByName;
use diesel::dsl::sql;
use diesel::sql_types::{BigInt, Bool, Timestamptz};
use diesel_async::pooled_connection::deadpool::Object;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::connect::Connections;
use super::{DbError, STATEMENT_TIMEOUT};

/// Declares a statement whose first part is `WITH asked AS (SELECT unnest(array) AS field, …)`, one array per field, and
/// whose text goes on from there. Diesel prepares it once per connection, as its text never changes. It borrows its values
/// from the requests that it is made of.
///
/// Rows are found by their keys. A state is compared in a way that no partial index is used for (`IS NOT DISTINCT FROM`,
/// `coalesce`): that of the unfinished jobs looks cheap to the planner while few are, and is read once for each request.
///
/// Locks are waited for no longer than others' commits take, as a whole batch waits with it: what the application holds for
/// longer is looked at again later.
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
                let mut separator = "WITH asked AS (SELECT unnest(";
                $(
                    out.push_sql(separator);
                    out.push_bind_param::<diesel::sql_types::Array<$sql>, _>(&self.$field)?;
                    out.push_sql(concat!(") AS ", stringify!($field)));
                    separator = ", unnest(";
                )+
                let _ = separator;
                out.push_sql(") ");
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

/// Runs one batch.
pub(super) async fn run<I, O, F>(
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
            let mut error = error.into();
            let connection = held.0.as_mut().expect("it is there until it has answered");
            if error.may_be_of_a_row() && ping(connection).await.is_ok() {
                error = DbError::Locked(error.to_string());
            }
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

/// The answer of a statement that counts.
#[derive(QueryableByName)]
pub(super) struct Count {
    #[diesel(sql_type = BigInt)]
    pub(super) count: i64,
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
