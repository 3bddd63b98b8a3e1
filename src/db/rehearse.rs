//! What a replica does with the tables, tried in a transaction that is rolled back.
//!
//! The statements are those of a replica, for jobs that do not exist: Postgres looks at columns, types and rights of all that a
//! statement names before it looks for rows.

use std::sync::Arc;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_query;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use uuid::Uuid;

use super::begin::{self, BeginRequest};
use super::callbacks;
use super::calls::{self, IntendRequest};
use super::fail::{self, BuryRequest, RetryRequest, Sequel};
use super::look::{self, LookRequest};
use super::record::{self, PictureRecord};
use super::reject::{self, RejectRequest};
use super::statement::on_connection;
use super::{Db, DbError, jobs};
use crate::failure::{ErrorClass, Failure};

/// A step of a job that cannot be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What a replica would do.
    pub(super) step: &'static str,
    pub(super) error: DbError,
    /// Whether it depends on the row: other rows may be taken.
    pub(super) depends: bool,
}

/// No application gives out such a number.
const NOBODY: i32 = -1;

type Step<'c> = BoxFuture<'c, Result<(), DbError>>;
type Try = for<'c> fn(&'c mut AsyncPgConnection, &'c Requests) -> Step<'c>;

/// In the order in which a job meets them.
const STEPS: [(&str, Try); 9] = [
    ("look at a job", |connection, all| {
        look::run(connection, &all.look).map_ok(drop).boxed()
    }),
    ("begin a job", |connection, all| {
        begin::run(connection, &all.begin).map_ok(drop).boxed()
    }),
    ("show the progress of a job", |connection, all| {
        jobs::raise(connection, &all.progress)
            .map_ok(drop)
            .err_into()
            .boxed()
    }),
    ("write down a call", |connection, all| {
        calls::run_intend(connection, &all.intend).map_ok(drop).boxed()
    }),
    ("record a picture", |connection, all| {
        record::run_record(connection, &all.record).map_ok(drop).boxed()
    }),
    ("put a job off", |connection, all| {
        fail::run_retry(connection, &all.retry).map_ok(drop).boxed()
    }),
    ("end a job that has failed", |connection, all| {
        fail::run_bury(connection, &all.bury).map_ok(drop).boxed()
    }),
    ("refuse a package", |connection, all| {
        reject::run(connection, &all.reject).map_ok(drop).boxed()
    }),
    ("look for ends that are to be posted", |connection, all| {
        callbacks::claim(connection, &all.begin[0].queue, &all.room)
            .map_ok(drop)
            .boxed()
    }),
];

/// A row of `images` as a replica makes it, for somebody who has one already, as the application may take none that is nobody's.
const IMAGE_OF_SOMEBODY: &str = "
    INSERT INTO images (user_id, original_filename, formats, user_agent, ip_address, deleted, created_at, updated_at)
    SELECT (SELECT user_id FROM (SELECT user_id FROM images ORDER BY id DESC LIMIT 100) AS last WHERE user_id IS NOT NULL LIMIT 1),
        'n/a', '[]', 'AI worker', '127.0.0.1', false, now(), now()
    RETURNING id";
const IMAGE_OF_NOBODY: &str = "
    INSERT INTO images (user_id, original_filename, formats, user_agent, ip_address, deleted, created_at, updated_at)
    VALUES (NULL, 'n/a', '[]', 'AI worker', '127.0.0.1', false, now(), now())
    RETURNING id";

impl Db {
    /// Tries every step of a job, and returns those that Postgres does not let this account do.
    ///
    /// # Errors
    /// [`DbError`] when Postgres is away.
    pub(super) async fn rehearse(&self) -> Result<Vec<Refusal>, DbError> {
        let requests = Requests::of_nobody();
        let mut refusals = Vec::new();
        let tried = on_connection(&self.pool, async |connection| {
            connection
                .transaction(async |connection| {
                    for (step, attempt) in STEPS {
                        let done =
                            connection.transaction(async |connection| attempt(connection, &requests).await);
                        match done.await {
                            Ok(()) => {}
                            Err(error @ (DbError::Unavailable(_) | DbError::Demoted(_))) => {
                                return Err(error);
                            }
                            Err(error) => refusals.push(Refusal {
                                step,
                                error,
                                depends: false,
                            }),
                        }
                    }
                    // What the statement itself refuses has been said.
                    if refusals.is_empty() {
                        refusals.extend(image(connection).await?);
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

async fn image(connection: &mut AsyncPgConnection) -> Result<Option<Refusal>, DbError> {
    let mut last = None;
    for insert in [IMAGE_OF_SOMEBODY, IMAGE_OF_NOBODY] {
        let done = connection.transaction(async |connection| sql_query(insert).execute(connection).await);
        let error = match done.await {
            Ok(_) => return Ok(None),
            Err(error) => error,
        };
        // A key that nobody gives is missing in every row.
        let depends = match &error {
            DieselError::DatabaseError(DatabaseErrorKind::NotNullViolation, info) => {
                info.column_name() != Some("id")
            }
            DieselError::DatabaseError(
                DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ExclusionViolation,
                _,
            ) => true,
            _ => false,
        };
        let error = DbError::from(error);
        if matches!(error, DbError::Unavailable(_) | DbError::Demoted(_)) {
            return Err(error);
        }
        last = Some(Refusal {
            step: "make a row of images",
            error,
            depends,
        });
    }
    Ok(last)
}

struct Requests {
    look: [LookRequest; 1],
    begin: [Arc<BeginRequest>; 1],
    progress: [(i32, i32); 1],
    intend: [IntendRequest; 1],
    record: [Arc<PictureRecord>; 1],
    retry: [RetryRequest; 1],
    bury: [BuryRequest; 2],
    reject: [RejectRequest; 2],
    room: [(String, i32); 1],
}

impl Requests {
    fn of_nobody() -> Self {
        let name = || "rehearsal".to_owned();
        let failure = || Failure::new(ErrorClass::Internal, "a rehearsal");
        let bury = |is_shown| BuryRequest {
            job_id: NOBODY,
            fence: 0,
            payload: Vec::new(),
            failure: failure(),
            worker_id: name(),
            is_shown,
        };
        let reject = |is_shown| RejectRequest {
            id: Uuid::new_v4(),
            job_id: Some(NOBODY),
            is_shown,
            payload: Vec::new(),
            failure: failure(),
            worker_id: name(),
            queue: name(),
            callback_url: None,
        };
        Self {
            look: [LookRequest { job_id: NOBODY }],
            begin: [Arc::new(BeginRequest {
                job_id: NOBODY,
                worker_id: name(),
                queue: name(),
                package: String::new(),
                replaces_fence: 0,
                only_looks: false,
            })],
            progress: [(NOBODY, 5)],
            intend: [IntendRequest {
                job_id: NOBODY,
                fence: 0,
                worker_id: name(),
                provider: name(),
                model: name(),
                patience: Duration::ZERO,
            }],
            record: [Arc::new(PictureRecord {
                job_id: NOBODY,
                reuses: 0,
                user_id: None,
                urls: vec![name()],
                object_keys: Vec::new(),
                bucket: None,
                provenance_mark: None,
                provider: name(),
                model: name(),
                provider_request_id: None,
                usage: None,
                cost: None,
                call_no: None,
            })],
            retry: [RetryRequest {
                job_id: NOBODY,
                fence: 0,
                sequel: Sequel::Retry,
                delay: Duration::ZERO,
                failure: failure(),
            }],
            bury: [bury(true), bury(false)],
            reject: [reject(true), reject(false)],
            room: [(name(), 1)],
        }
    }
}
