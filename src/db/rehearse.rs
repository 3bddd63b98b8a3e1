//! What a replica does with the tables, tried in a transaction that is rolled back.
//!
//! The statements are those of a replica, first for a job that does not exist: Postgres looks at columns, types and rights of all
//! that a statement names before it looks for rows. What shows on rows alone (policies, lengths, columns that nobody fills, triggers)
//! is tried with one that is made for it.

mod requests;
mod rows;

use diesel::result::Error as DieselError;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};

use super::record::Recorded;
use super::statement::on_connection;
use super::{Db, DbError, PictureNames, begin, budgets, callbacks, calls, fail, jobs, look, record, reject};
use requests::Requests;

/// A step of a job that cannot be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What a replica would do.
    pub(super) step: &'static str,
    pub(super) error: DbError,
    /// Whether it depends on the row: other rows may be taken.
    pub(super) depends: bool,
    /// The column of `images` that wants a value and that nobody gives one.
    pub(super) unfilled: Option<String>,
}

impl Refusal {
    fn of(step: &'static str, error: DbError) -> Self {
        Self {
            step,
            error,
            depends: false,
            unfilled: None,
        }
    }
}

/// No application gives out such a number.
const NOBODY: i32 = -1;

/// Returns whether there was a row to do it to.
type Step<'c> = BoxFuture<'c, Result<bool, DbError>>;
type Try = for<'c> fn(&'c mut AsyncPgConnection, &'c Requests) -> Step<'c>;

/// In the order in which a job meets them, for one that is not there: what a statement names is looked at all the same.
const STEPS: [(&str, Try); 10] = [
    ("look at a job", |connection, all| {
        look::run(connection, &all.look).map_ok(|_| true).boxed()
    }),
    ("begin a job", |connection, all| {
        begin::run(connection, &all.begin).map_ok(|_| true).boxed()
    }),
    ("show the progress of a job", |connection, all| {
        jobs::raise(connection, &all.progress)
            .map_ok(|_| true)
            .err_into()
            .boxed()
    }),
    (WRITE_DOWN_A_CALL, intend),
    ("keep a call within its budgets", |connection, all| {
        budgets::run_intend(connection, &all.within)
            .map_ok(|_| true)
            .boxed()
    }),
    (RECORD_A_PICTURE, record),
    (PUT_OFF, retry),
    (END, |connection, all| {
        fail::run_bury(connection, &all.bury).map_ok(|_| true).boxed()
    }),
    ("refuse a package", |connection, all| {
        reject::run(connection, &all.reject).map_ok(|_| true).boxed()
    }),
    ("look for ends that are to be posted", |connection, all| {
        callbacks::claim(connection, &all.begin[0].queue, &all.room)
            .map_ok(|_| true)
            .boxed()
    }),
];

const WRITE_DOWN_A_CALL: &str = "write down a call";
const RECORD_A_PICTURE: &str = "record a picture";
const PUT_OFF: &str = "put a job off";
const END: &str = "end a job that has failed";

fn intend<'c>(connection: &'c mut AsyncPgConnection, all: &'c Requests) -> Step<'c> {
    let intended = calls::run_intend(connection, &all.intend);
    intended
        .map_ok(|answers| answers.into_values().any(|intended| intended.call_no.is_some()))
        .boxed()
}

fn record<'c>(connection: &'c mut AsyncPgConnection, all: &'c Requests) -> Step<'c> {
    let recorded = record::run_record(connection, &all.record);
    let is_image = |recorded| matches!(recorded, Recorded::Image { .. });
    recorded
        .map_ok(move |answers| answers.into_values().any(is_image))
        .boxed()
}

fn retry<'c>(connection: &'c mut AsyncPgConnection, all: &'c Requests) -> Step<'c> {
    let put_off = fail::run_retry(connection, &all.retry);
    put_off
        .map_ok(|answers| answers.into_values().any(|attempts| attempts.is_some()))
        .boxed()
}

impl Db {
    /// Tries every step of a job, and returns those that Postgres does not let this account do.
    ///
    /// # Errors
    /// [`DbError`] when Postgres is away.
    pub(super) async fn rehearse(&self, names: &PictureNames) -> Result<Vec<Refusal>, DbError> {
        let mut refusals = Vec::new();
        let tried = on_connection(&self.pool, async |connection| {
            connection
                .transaction(async |connection| {
                    let nobodys = Requests::of(NOBODY, None, names);
                    for (step, attempt) in STEPS {
                        if let Err(error) = tried(connection, attempt, &nobodys, true).await? {
                            refusals.push(Refusal::of(step, error));
                        }
                    }
                    // What a statement itself refuses has been said.
                    if refusals.is_empty() {
                        refusals = rows::try_all(connection, names).await?;
                    }
                    Err::<(), _>(DbError::from(DieselError::RollbackTransaction))
                })
                .await
                .or_else(|error| if is_rollback(&error) { Ok(()) } else { Err(error) })
        });
        tried.await?;
        Ok(refusals)
    }
}

fn is_rollback(error: &DbError) -> bool {
    *error == DbError::from(DieselError::RollbackTransaction)
}

/// Tries a step, and takes back what it has done unless that is to be kept. Only what says nothing of the step is an error.
async fn tried(
    connection: &mut AsyncPgConnection,
    attempt: Try,
    requests: &Requests,
    is_kept: bool,
) -> Result<Result<bool, DbError>, DbError> {
    let mut was_there = None;
    let found = &mut was_there;
    let done = connection
        .transaction(async move |connection| {
            *found = Some(attempt(connection, requests).await?);
            if is_kept {
                Ok(())
            } else {
                Err(DbError::from(DieselError::RollbackTransaction))
            }
        })
        .await;
    match (done, was_there) {
        (Ok(()), was_there) => Ok(Ok(was_there.unwrap_or_default())),
        (Err(error), Some(was_there)) if is_rollback(&error) => Ok(Ok(was_there)),
        (Err(error @ (DbError::Unavailable(_) | DbError::Demoted(_))), _) => Err(error),
        (Err(error), _) => Ok(Err(error)),
    }
}
