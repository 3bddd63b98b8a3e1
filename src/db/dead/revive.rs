//! What operators do to dead packages: their jobs wait for a worker again, or their rows go.
//!
//! A retry has three steps, each of which can be done again: [`Db::revive`], the push to Redis,
//! [`Db::note_retried`]. After a crash between them the rows are still open, and the next retry finds them.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use uuid::Uuid;

use super::super::fail::storable;
use super::super::locks::patiently;
use super::super::statement::on_connection;
use super::super::{Db, DbError};

/// A dead package whose job has been asked to live again.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Revived {
    /// Row of `generative_ai.dead_packages`.
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    pub id: Uuid,
    /// The job, where the package let one be read.
    #[diesel(sql_type = Nullable<Integer>)]
    pub job_id: Option<i32>,
    /// When it died.
    #[diesel(sql_type = Timestamptz)]
    pub dead_at: DateTime<Utc>,
    /// State of the job before; `None` = it has never been begun, `another` = the row with its number was made after it had died, so
    /// that it is another job's by now.
    #[diesel(sql_type = Nullable<Text>)]
    pub state: Option<String>,
}

impl Revived {
    /// Whether the package is to be pushed: no other one of its job is under way or has brought the picture.
    #[must_use]
    pub fn may_be_pushed(&self) -> bool {
        matches!(self.state.as_deref(), None | Some("dead" | "waiting"))
    }
}

impl Db {
    /// Lets the jobs of these dead packages wait for a worker again, with a clean count, unless they are under way
    /// or done. Also returns the other open rows of the same jobs, which are history with them.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again. Rows that somebody has locked are waited for, and who has is said.
    pub async fn revive(&self, ids: &[Uuid]) -> Result<Vec<Revived>, DbError> {
        // `deliveries` stays: where it is above one the store is asked first whether the picture is there. The time of a row is by
        // the application's clock, so that a minute is allowed between the two.
        let update = sql_query(
            "WITH asked AS (
                SELECT DISTINCT dead.job_id
                FROM generative_ai.dead_packages AS dead
                LEFT JOIN ac_background_jobs AS shown_row ON shown_row.id = dead.job_id
                LEFT JOIN generative_ai.jobs AS known ON known.job_id = dead.job_id
                WHERE dead.id = ANY($1) AND dead.job_id IS NOT NULL
                    AND NOT coalesce(dead.dead_at < shown_row.created_at - interval '1 minute', false)
                    AND NOT coalesce(known.row_created_at <> shown_row.created_at, false)
             ), job AS (
                SELECT job.job_id, job.state FROM generative_ai.jobs AS job JOIN asked ON asked.job_id = job.job_id
                ORDER BY job.job_id FOR UPDATE OF job
             ), revived AS (
                UPDATE generative_ai.jobs AS row SET
                    state = 'waiting', worker_id = NULL, attempts = 0, crashes = 0, next_attempt_at = NULL,
                    finished_at = NULL, error_class = NULL, error_message = NULL, error_details = NULL
                FROM job WHERE row.job_id = job.job_id AND job.state = 'dead'
             ), shown AS (
                UPDATE ac_background_jobs AS shown_row SET error = NULL, updated_at = now()
                FROM asked LEFT JOIN job ON job.job_id = asked.job_id
                WHERE shown_row.id = asked.job_id AND shown_row.error IS NOT NULL
                    AND coalesce(job.state, 'dead') IN ('dead', 'waiting')
             )
             SELECT dead.id, dead.job_id, dead.dead_at,
                CASE WHEN dead.dead_at < shown_row.created_at - interval '1 minute' OR known.row_created_at <> shown_row.created_at
                    THEN 'another' ELSE job.state END AS state
             FROM generative_ai.dead_packages AS dead
             LEFT JOIN job ON job.job_id = dead.job_id
             LEFT JOIN generative_ai.jobs AS known ON known.job_id = dead.job_id
             LEFT JOIN ac_background_jobs AS shown_row ON shown_row.id = dead.job_id
             WHERE dead.id = ANY($1)
                OR (dead.retried_at IS NULL AND dead.job_id IN (SELECT job_id FROM asked))",
        )
        .bind::<Array<diesel::sql_types::Uuid>, _>(ids);
        patiently(&self.pool, |connection| update.clone().load(connection).boxed()).await
    }

    /// Notes that dead packages have been pushed again, and keeps what was pushed for which job until that is begun, for the day when
    /// Redis has lost it.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn note_retried(&self, ids: &[Uuid], pushed: &[(i32, Cow<'_, str>)]) -> Result<(), DbError> {
        let (job_ids, packages): (Vec<i32>, Vec<Cow<'_, str>>) = pushed
            .iter()
            .map(|(job_id, package)| (*job_id, storable(package)))
            .unzip();
        let update = sql_query(
            "WITH kept AS (
                UPDATE generative_ai.jobs AS job SET package = pushed.package
                FROM unnest($2, $3) AS pushed(job_id, package)
                WHERE job.job_id = pushed.job_id AND job.state = 'waiting' AND job.package = ''
             )
             UPDATE generative_ai.dead_packages SET retried_at = now() WHERE id = ANY($1)",
        )
        .bind::<Array<diesel::sql_types::Uuid>, _>(ids)
        .bind::<Array<Integer>, _>(job_ids)
        .bind::<Array<Text>, _>(packages);
        on_connection(&self.pool, async |connection| update.execute(connection).await)
            .await
            .map(|_| ())
    }

    /// Forgets dead packages. Returns how many there were.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn purge_dead(&self, ids: &[Uuid]) -> Result<usize, DbError> {
        let delete = sql_query("DELETE FROM generative_ai.dead_packages WHERE id = ANY($1)")
            .bind::<Array<diesel::sql_types::Uuid>, _>(ids);
        on_connection(&self.pool, async |connection| delete.execute(connection).await).await
    }
}
