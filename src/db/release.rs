//! Ending the wait of one job: that of a held one, or the one for a call whose caller is gone.

use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use diesel::{OptionalExtension, QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;

use super::locks::patiently;
use super::reconcile::Adrift;
use super::statement::on_connection;
use super::{Db, DbError};

/// What a job waits for, as far as the ledger says.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Wait {
    /// Which job, and when.
    #[diesel(embed)]
    pub job: Adrift,
    /// The queue that it was begun under.
    #[diesel(sql_type = Nullable<Text>)]
    pub queue: Option<String>,
    /// Who has begun it.
    #[diesel(sql_type = Nullable<Text>)]
    pub worker_id: Option<String>,
    /// Whether its row in `ac_background_jobs` is there, and its own.
    #[diesel(sql_type = Bool)]
    pub has_row: bool,
    /// Number of the call that is open.
    #[diesel(sql_type = Nullable<Integer>)]
    pub call_no: Option<i32>,
    /// Who was asked.
    #[diesel(sql_type = Nullable<Text>)]
    pub provider: Option<String>,
    /// Who has asked, and may still wait for the answer.
    #[diesel(sql_type = Nullable<Text>)]
    pub caller: Option<String>,
    /// Whether the provider can be asked for the picture again.
    #[diesel(sql_type = Bool)]
    pub has_handle: bool,
}

impl Db {
    /// What a job waits for; `None`: the ledger does not know it.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn wait_of(&self, job_id: i32) -> Result<Option<Wait>, DbError> {
        let select = sql_query(
            "SELECT job.job_id, job.fence, job.deliveries, job.state, job.queue,
                CASE job.state WHEN 'begun' THEN job.worker_id END AS worker_id,
                EXISTS (SELECT FROM ac_background_jobs AS shown_row
                    WHERE shown_row.id = job.job_id AND coalesce(job.row_created_at = shown_row.created_at, true)) AS has_row,
                call.call_no, call.provider, CASE WHEN call.deadline_at > now() THEN call.worker_id END AS caller,
                call.handle IS NOT NULL AS has_handle
             FROM generative_ai.jobs AS job LEFT JOIN generative_ai.provider_calls AS call
                ON call.job_id = job.job_id AND call.state IN ('intended', 'accepted')
             WHERE job.job_id = $1",
        )
        .bind::<Integer, _>(job_id);
        on_connection(&self.pool, async |connection| {
            select.get_result(connection).await.optional()
        })
        .await
    }

    /// Lets a job wait for nothing but a worker, and nobody wait any longer for its open call. A retry stays one that is due, as what
    /// limits purchases holds for it. `false`: the job has changed since.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again, and finds the job changed where it had taken effect. A row that somebody has
    /// locked is waited for.
    pub async fn end_wait(&self, job: &Adrift) -> Result<bool, DbError> {
        let update = sql_query(
            "WITH open AS (
                SELECT FROM generative_ai.provider_calls WHERE job_id = $1 AND state IN ('intended', 'accepted')
             ), released AS (
                UPDATE generative_ai.jobs SET worker_id = NULL,
                    state = CASE WHEN state = 'retry_wait' AND NOT EXISTS (SELECT FROM open) THEN state ELSE 'waiting' END,
                    next_attempt_at = CASE WHEN state = 'retry_wait' AND NOT EXISTS (SELECT FROM open) THEN now() END
                WHERE job_id = $1 AND fence = $2 AND deliveries = $3 AND state = $4
                RETURNING job_id
             ), overdue AS (
                UPDATE generative_ai.provider_calls AS call SET deadline_at = least(deadline_at, now())
                FROM released WHERE call.job_id = released.job_id AND call.state IN ('intended', 'accepted')
             )
             SELECT job_id FROM released",
        )
        .bind::<Integer, _>(job.version.job_id)
        .bind::<BigInt, _>(job.version.fence)
        .bind::<Integer, _>(job.version.deliveries)
        .bind::<Text, _>(job.state.clone());
        let rows: Vec<super::cancel::JobId> =
            patiently(&self.pool, |connection| update.clone().load(connection).boxed()).await?;
        Ok(!rows.is_empty())
    }
}
