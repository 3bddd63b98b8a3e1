//! Ending an attempt without a picture: with another attempt to come, until somebody decides, or for good.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Bytea, Integer, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::FutureExt;
use uuid::Uuid;

use super::statement::{Answers, Keyed, batch_statement};
use super::{Db, DbError};
use crate::failure::Failure;

/// What comes after an attempt that brought no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequel {
    /// Another attempt: this one counts as failed.
    Retry,
    /// The job goes on when something else has happened: a call that is open has come further, a provider may be called again.
    /// No attempt has failed.
    Wait,
    /// Nothing, until an operator decides. The attempt counts as failed.
    Hold,
}

/// An attempt that brought no picture, and is not the end of its job.
#[derive(Clone, Debug)]
pub struct RetryRequest {
    /// Row of `ac_background_jobs`.
    pub job_id: i32,
    /// The caller's fence.
    pub fence: i64,
    /// What comes next.
    pub sequel: Sequel,
    /// Until then.
    pub delay: Duration,
    /// Why.
    pub failure: Failure,
}

/// An attempt that failed and is the last one.
#[derive(Clone, Debug)]
pub struct BuryRequest {
    /// Row of `ac_background_jobs`.
    pub job_id: i32,
    /// The caller's fence.
    pub fence: i64,
    /// The package as it was pushed.
    pub payload: Vec<u8>,
    /// Why.
    pub failure: Failure,
    /// Who tried last.
    pub worker_id: String,
    /// Whether the person gets the reason; not where the application's row does not take it.
    pub is_shown: bool,
}

/// A package that has been kept as dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buried {
    /// Row of `generative_ai.dead_packages`.
    pub id: Uuid,
    /// Failed attempts.
    pub attempts: u32,
    /// When.
    pub dead_at: DateTime<Utc>,
}

impl Sequel {
    fn state(self) -> &'static str {
        match self {
            Self::Retry | Self::Wait => "retry_wait",
            Self::Hold => "held",
        }
    }
}

impl Db {
    /// Ends an attempt that is not the last; `None` when somebody else owns the job now.
    /// Returns how many attempts have failed.
    ///
    /// # Errors
    /// [`DbError`]; a second call finds the fence used and answers `None`.
    pub async fn retry(&self, request: RetryRequest) -> Result<Option<u32>, DbError> {
        self.retry.submit(request).await
    }

    /// Ends a job for good and tells the person why; `None` when somebody else owns the job now.
    ///
    /// # Errors
    /// [`DbError`]; a second call finds the fence used and answers `None`.
    pub async fn bury(&self, request: BuryRequest) -> Result<Option<Buried>, DbError> {
        self.bury.submit(request).await
    }
}

impl Keyed for RetryRequest {
    type Key = i32;
    fn key(&self) -> i32 {
        self.job_id
    }
}

impl Keyed for BuryRequest {
    type Key = i32;
    fn key(&self) -> i32 {
        self.job_id
    }

    fn shown_row(&self) -> Option<i32> {
        self.is_shown.then_some(self.job_id)
    }
}

batch_statement! {
    /// Fenced: an owner that was replaced changes nothing. A job that was begun shows that it was, also where the attempt was
    /// too short for its steps to be shown, unless its row is locked. What has become of a call is not this statement's business: an open one goes on.
    RetryJobs {
        job_id: i32 as Integer,
        fence: i64 as BigInt,
        state: &'v str as Text,
        failed_attempts: i32 as Integer,
        delay_ms: i64 as BigInt,
        error_class: &'v str as Text,
        error_message: Cow<'v, str> as Text,
        error_details: Option<Cow<'v, str>> as Nullable<Text>,
    } -> (Integer, Nullable<Integer>)
    "
    , failed AS (
        UPDATE generative_ai.jobs AS job SET
            state = asked.state, attempts = job.attempts + asked.failed_attempts,
            next_attempt_at = now() + asked.delay_ms * interval '1 millisecond',
            error_class = asked.error_class, error_message = asked.error_message, error_details = asked.error_details
        FROM asked
        WHERE job.job_id = asked.job_id AND job.fence = asked.fence AND job.state IS NOT DISTINCT FROM 'begun'
        RETURNING job.job_id, job.attempts
    ), free AS (
        SELECT shown_row.id FROM failed JOIN ac_background_jobs AS shown_row ON shown_row.id = failed.job_id
        WHERE coalesce(shown_row.progress, 0) < 10 FOR NO KEY UPDATE OF shown_row SKIP LOCKED
    ), shown AS (
        UPDATE ac_background_jobs AS shown_row SET progress = 10, updated_at = now()
        FROM free WHERE shown_row.id = free.id
    )
    SELECT asked.job_id, failed.attempts FROM asked LEFT JOIN failed ON failed.job_id = asked.job_id
    "
}

pub(super) fn run_retry<'c>(
    connection: &'c mut AsyncPgConnection,
    requests: &'c [RetryRequest],
) -> Answers<'c, RetryRequest, Option<u32>> {
    async move {
        let mut statement = RetryJobs::default();
        for request in requests {
            statement.job_id.push(request.job_id);
            statement.fence.push(request.fence);
            statement.state.push(request.sequel.state());
            statement
                .failed_attempts
                .push(i32::from(request.sequel != Sequel::Wait));
            statement
                .delay_ms
                .push(i64::try_from(request.delay.as_millis()).unwrap_or(i64::MAX));
            statement.error_class.push(request.failure.class.as_str());
            statement.error_message.push(storable(&request.failure.message));
            statement
                .error_details
                .push(request.failure.details.as_deref().map(storable));
        }
        let rows: Vec<(i32, Option<i32>)> = statement.load(connection).await?;
        Ok(rows
            .into_iter()
            .map(|(job_id, attempts)| (job_id, attempts.map(i32::cast_unsigned)))
            .collect())
    }
    .boxed()
}

/// One of the two statements that bury jobs: what they say of the application's rows makes the difference.
macro_rules! bury_statement {
    ($(#[$doc:meta])* $name:ident, $ready:literal, $shown:literal) => {
        batch_statement! {
            $(#[$doc])*
            $name {
                job_id: i32 as Integer,
                fence: i64 as BigInt,
                dead_id: Uuid as diesel::sql_types::Uuid,
                payload: &'v [u8] as Bytea,
                error_class: &'v str as Text,
                error_message: Cow<'v, str> as Text,
                error_details: Option<Cow<'v, str>> as Nullable<Text>,
                worker_id: &'v str as Text,
            } -> (Integer, Nullable<diesel::sql_types::Uuid>, Nullable<Integer>, Nullable<Timestamptz>)
            concat!("
            , owned AS (
                SELECT job.job_id FROM generative_ai.jobs AS job JOIN asked ON asked.job_id = job.job_id AND asked.fence = job.fence
                WHERE job.state IS NOT DISTINCT FROM 'begun' ORDER BY job.job_id FOR UPDATE OF job
            ), ", $ready, ", dead AS (
                UPDATE generative_ai.jobs AS job SET
                    state = 'dead', attempts = job.attempts + 1, finished_at = now(), package = '', next_attempt_at = NULL,
                    error_class = asked.error_class, error_message = asked.error_message, error_details = asked.error_details
                FROM asked JOIN ready ON ready.job_id = asked.job_id
                WHERE job.job_id = asked.job_id
                RETURNING job.job_id, job.attempts
            ), kept AS (
                INSERT INTO generative_ai.dead_packages (id, job_id, payload, reason, details, error_class, attempts, worker_id)
                SELECT asked.dead_id, asked.job_id, asked.payload, asked.error_message, asked.error_details,
                    asked.error_class, dead.attempts, asked.worker_id
                FROM asked JOIN dead ON dead.job_id = asked.job_id
                RETURNING id, job_id, attempts, dead_at
            ), ended AS (
                UPDATE generative_ai.provider_calls AS call SET
                    state = 'unknown', ended_at = now(), error_class = asked.error_class, error_details = asked.error_details
                FROM asked JOIN dead ON dead.job_id = asked.job_id
                WHERE call.job_id = asked.job_id AND call.state = 'intended'
            )", $shown, "
            SELECT asked.job_id, kept.id, kept.attempts, kept.dead_at
            FROM asked LEFT JOIN kept ON kept.job_id = asked.job_id
            WHERE NOT EXISTS (SELECT FROM owned WHERE owned.job_id = asked.job_id
                AND NOT EXISTS (SELECT FROM ready WHERE ready.job_id = owned.job_id))
            ")
        }
    };
}

bury_statement! {
    /// Fenced like a retry; the person's sentence, the ledger and the kept package are one commit. From then on the package is kept
    /// there alone. Jobs whose rows others have locked are left out.
    ///
    /// A call that the provider has accepted stays open: should the job be started again, its picture is asked for and not bought
    /// again. Of one that may or may not have been sent nobody will learn more.
    BuryJobs,
    "free AS (
        SELECT shown_row.id FROM owned JOIN ac_background_jobs AS shown_row ON shown_row.id = owned.job_id
        FOR NO KEY UPDATE OF shown_row SKIP LOCKED
    ), ready AS (
        SELECT owned.job_id FROM owned LEFT JOIN free ON free.id = owned.job_id
        WHERE free.id IS NOT NULL OR NOT EXISTS (SELECT FROM ac_background_jobs AS shown_row WHERE shown_row.id = owned.job_id)
    )",
    ", shown AS (
        UPDATE ac_background_jobs AS shown_row SET
            error = asked.error_message, progress = greatest(coalesce(shown_row.progress, 0), 10), updated_at = now()
        FROM asked JOIN dead ON dead.job_id = asked.job_id WHERE shown_row.id = asked.job_id
    )"
}

bury_statement! {
    /// The same for jobs whose rows do not take the reason: the kept package alone has it.
    BuryUnshownJobs, "ready AS (SELECT job_id FROM owned)", ""
}

macro_rules! bind_all {
    ($statement:ident, $requests:expr) => {
        for request in $requests {
            $statement.job_id.push(request.job_id);
            $statement.fence.push(request.fence);
            $statement.dead_id.push(Uuid::new_v4());
            $statement.payload.push(&request.payload);
            $statement.error_class.push(request.failure.class.as_str());
            $statement.error_message.push(storable(&request.failure.message));
            let details = request.failure.details.as_deref();
            $statement.error_details.push(details.map(storable));
            $statement.worker_id.push(&request.worker_id);
        }
    };
}

type BuriedRow = (i32, Option<Uuid>, Option<i32>, Option<DateTime<Utc>>);

pub(super) fn run_bury<'c>(
    connection: &'c mut AsyncPgConnection,
    requests: &'c [BuryRequest],
) -> Answers<'c, BuryRequest, Option<Buried>> {
    async move {
        let (shown, unshown): (Vec<_>, Vec<_>) = requests.iter().partition(|request| request.is_shown);
        let mut rows: Vec<BuriedRow> = Vec::new();
        if !shown.is_empty() {
            let mut statement = BuryJobs::default();
            bind_all!(statement, shown);
            rows = statement.load(connection).await?;
        }
        if !unshown.is_empty() {
            let mut statement = BuryUnshownJobs::default();
            bind_all!(statement, unshown);
            let unshown: Vec<BuriedRow> = statement.load(connection).await?;
            rows.extend(unshown);
        }
        Ok(rows
            .into_iter()
            .map(|(job_id, id, attempts, dead_at)| {
                let buried = id
                    .zip(attempts)
                    .zip(dead_at)
                    .map(|((id, attempts), dead_at)| Buried {
                        id,
                        attempts: attempts.cast_unsigned(),
                        dead_at,
                    });
                (job_id, buried)
            })
            .collect())
    }
    .boxed()
}

/// Text as Postgres takes it: it has no NUL character.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}").into()
    } else {
        text.into()
    }
}
