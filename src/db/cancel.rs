//! Jobs that somebody has ended.

use diesel::OptionalExtension;
use diesel::sql_types::{Array, Bool, Integer, Nullable, Text};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;

use super::fail::storable;
use super::locks::patiently;
use super::statement::on_connection;
use super::{CallError, CallNews, CallTurn, Db, DbError};
use crate::failure::ErrorClass;

/// What came of ending a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// There is no such row in `ac_background_jobs`.
    NoSuchJob,
    /// It is ended. `worker_id`: who had it in hand.
    Now {
        /// The replica that works on it, until it has heard.
        worker_id: Option<String>,
    },
    /// It was ended before, as this says.
    Before(String),
    /// It has its picture already.
    Done,
    /// It has failed already, for this reason.
    Dead(String),
}

/// A call of a cancelled job that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, diesel::QueryableByName)]
pub struct AbandonedCall {
    /// How many other jobs had the job's number before.
    #[diesel(sql_type = Integer)]
    pub reuses: i32,
    /// Counts the calls of the job from 1.
    #[diesel(sql_type = Integer)]
    pub call_no: i32,
    /// Who was asked.
    #[diesel(sql_type = Text)]
    pub provider: String,
    /// What the provider knows it by.
    #[diesel(sql_type = Nullable<Text>)]
    pub handle: Option<String>,
}

#[derive(diesel::QueryableByName)]
struct CancelledRow {
    #[diesel(sql_type = Bool)]
    has_row: bool,
    #[diesel(sql_type = Bool)]
    is_now: bool,
    #[diesel(sql_type = Nullable<Text>)]
    state: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    worker_id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    message: Option<String>,
}

#[derive(diesel::QueryableByName)]
pub(super) struct JobId {
    #[diesel(sql_type = Integer)]
    pub(super) job_id: i32,
}

impl Db {
    /// Ends a job that has neither its picture nor failed, and tells the person. What the ledger knows under its number may be another
    /// job's, whose row is gone. Whoever works on it has no say any more:
    /// it can neither begin a call nor record a picture. Dead letters of the job are closed by [`Db::close_letters`].
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again. Rows that somebody has locked are waited for, and who has is said.
    pub async fn cancel(&self, job_id: i32, message: &str) -> Result<Cancelled, DbError> {
        let update = diesel::sql_query(
            "WITH shown AS (
                SELECT id, created_at, error, progress FROM ac_background_jobs WHERE id = $1
             ), before AS (
                SELECT state, worker_id, error_message FROM generative_ai.jobs WHERE job_id = $1
             ), cancelled AS (
                INSERT INTO generative_ai.jobs AS job
                    (job_id, state, deliveries, package, finished_at, error_class, error_message, row_created_at)
                SELECT id, 'cancelled', 0, '', now(), 'cancelled', $2, created_at FROM shown
                WHERE EXISTS (SELECT FROM before) OR error IS NULL AND progress IS DISTINCT FROM 100
                ON CONFLICT (job_id) DO UPDATE SET
                    state = 'cancelled', fence = job.fence + 1, package = '', next_attempt_at = NULL, finished_at = now(),
                    error_class = 'cancelled', error_message = excluded.error_message, error_details = NULL,
                    row_created_at = excluded.row_created_at,
                    callback_urls = CASE WHEN job.row_created_at <> excluded.row_created_at THEN '{}' ELSE job.callback_urls END,
                    reuses = job.reuses + coalesce(job.row_created_at <> excluded.row_created_at, false)::integer
                WHERE job.state NOT IN ('done', 'dead', 'cancelled') OR job.row_created_at <> excluded.row_created_at
                RETURNING job.job_id
             ), told AS (
                UPDATE ac_background_jobs AS shown_row SET error = $2, updated_at = now()
                FROM cancelled WHERE shown_row.id = cancelled.job_id
             )
             SELECT EXISTS (SELECT FROM shown) AS has_row, EXISTS (SELECT FROM cancelled) AS is_now,
                before.state, before.worker_id, coalesce(before.error_message, shown.error) AS message
             FROM (VALUES (1)) AS one LEFT JOIN before ON true LEFT JOIN shown ON true",
        )
        .bind::<Integer, _>(job_id)
        .bind::<Text, _>(storable(message));
        let row: CancelledRow = patiently(&self.pool, |connection| {
            update.clone().get_result(connection).boxed()
        })
        .await?;
        let message = row.message.unwrap_or_default();
        Ok(match row.state.as_deref() {
            _ if !row.has_row => Cancelled::NoSuchJob,
            state if row.is_now => Cancelled::Now {
                worker_id: row.worker_id.filter(|_| state == Some("begun")),
            },
            Some("cancelled") => Cancelled::Before(message),
            Some("dead") => Cancelled::Dead(message),
            // Refused before it was begun, or forgotten since: its row says how it ended.
            None if !message.is_empty() => Cancelled::Dead(message),
            _ => Cancelled::Done,
        })
    }

    /// Which of these jobs have been cancelled.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn cancelled_among(&self, job_ids: Vec<i32>) -> Result<Vec<i32>, DbError> {
        let select = diesel::sql_query(
            "SELECT job_id FROM generative_ai.jobs WHERE job_id = ANY($1) AND state = 'cancelled'",
        )
        .bind::<Array<Integer>, _>(job_ids);
        let rows: Vec<JobId> =
            on_connection(&self.pool, async |connection| select.load(connection).await).await?;
        Ok(rows.into_iter().map(|row| row.job_id).collect())
    }

    /// Ends the call of a cancelled job for whose answer nobody waits: its replica is gone, or has given the job back. Of one that
    /// has no handle nobody will ever know what it brought; any other is for whoever gets the job's package, who can tell the provider.
    /// Returns the call as it was, if one was open.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn end_abandoned_call(&self, job_id: i32) -> Result<Option<AbandonedCall>, DbError> {
        let call = self.abandoned_call(job_id).await?;
        if let Some(call) = call.as_ref().filter(|call| call.handle.is_none()) {
            let details = "the job was cancelled when the replica that had made this call was gone: only the provider knows what came of it";
            let error = CallError {
                class: ErrorClass::Cancelled.as_str(),
                details: details.to_owned(),
                provider_request_id: None,
            };
            let news = CallNews {
                job_id,
                call_no: call.call_no,
                turn: CallTurn::Unknown(error),
            };
            self.note_call(news).await?;
        }
        Ok(call)
    }

    /// The call of a cancelled job that has not ended.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn abandoned_call(&self, job_id: i32) -> Result<Option<AbandonedCall>, DbError> {
        let select = diesel::sql_query(
            "SELECT job.reuses, call.call_no, call.provider, call.handle
             FROM generative_ai.provider_calls AS call JOIN generative_ai.jobs AS job ON job.job_id = call.job_id
             WHERE call.job_id = $1 AND call.state IN ('intended', 'accepted') AND job.state = 'cancelled'",
        )
        .bind::<Integer, _>(job_id);
        on_connection(&self.pool, async |connection| {
            select.get_result(connection).await.optional()
        })
        .await
    }
}
