//! What the ledger says of jobs that nobody works on although somebody should. Whether their packages still wait in
//! Redis, it cannot say.
//!
//! Of a queue alone: what another queue has begun is for its own replicas to judge, as their leases are nowhere else. A
//! row without a queue is from before there was one, and is any queue's; whether its worker lives is not known either,
//! so that one which was begun is left alone for as long as an attempt may take.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::statement::on_connection;
use super::{Db, DbError};

/// A job at a time: who begins it changes this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, QueryableByName)]
pub struct JobVersion {
    /// Row of `ac_background_jobs`.
    #[diesel(sql_type = Integer)]
    pub job_id: i32,
    /// Its last owner's.
    #[diesel(sql_type = BigInt)]
    pub fence: i64,
    /// How often its package has been delivered.
    #[diesel(sql_type = Integer)]
    pub deliveries: i32,
}

/// A job that nobody works on, as far as the ledger and the leases say. Equal ones have not changed in between.
#[derive(Clone, Debug, PartialEq, Eq, Hash, QueryableByName)]
pub struct Adrift {
    /// Which job, and when.
    #[diesel(embed)]
    pub version: JobVersion,
    /// `waiting`, `begun` or `retry_wait`.
    #[diesel(sql_type = Text)]
    pub state: String,
}

/// A package as it was pushed, from the ledger.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct KeptPackage {
    /// Which job, and when.
    #[diesel(embed)]
    pub version: JobVersion,
    /// The text.
    #[diesel(sql_type = Text)]
    pub package: String,
}

/// Rows that are read at once: ids and counters, without packages.
const PAGE: i32 = 10_000;

impl Db {
    /// Jobs of `queue`, by id, from `after` on, that wait, were begun by none of the `live_workers`, or whose next
    /// attempt is overdue for so long (`None`: has yet to come). Empty when there are no more. Those whose row is gone,
    /// or is another job's by now, are not among them.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn adrift(
        &self,
        queue: &str,
        after: i32,
        live_workers: &[String],
        overdue: Option<Duration>,
    ) -> Result<Vec<Adrift>, DbError> {
        let select = sql_query(
            "WITH unfinished AS MATERIALIZED (
                SELECT job_id, fence, deliveries, state, row_created_at FROM generative_ai.jobs
                WHERE state IN ('waiting', 'begun', 'retry_wait', 'held')
                AND job_id > $1 AND package <> '' AND coalesce(queue, $2) = $2
                AND CASE state WHEN 'waiting' THEN true
                    WHEN 'retry_wait' THEN coalesce(next_attempt_at <= now() - $4 * interval '1 millisecond', true)
                    WHEN 'begun' THEN coalesce(worker_id <> ALL($3), true)
                        AND (queue IS NOT NULL OR begun_at < now() - interval '10 minutes')
                    ELSE false END
             )
             SELECT job.job_id, job.fence, job.deliveries, job.state
             FROM unfinished AS job JOIN ac_background_jobs AS shown_row
                ON shown_row.id = job.job_id AND coalesce(job.row_created_at = shown_row.created_at, true)
             ORDER BY job.job_id LIMIT $5",
        )
        .bind::<Integer, _>(after)
        .bind::<Text, _>(queue)
        .bind::<Array<Text>, _>(live_workers)
        .bind::<Nullable<BigInt>, _>(overdue.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
        .bind::<Integer, _>(PAGE);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }

    /// The packages of those of these jobs that have not changed since.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn kept_packages(&self, jobs: &[Adrift]) -> Result<Vec<KeptPackage>, DbError> {
        let (mut job_ids, mut fences, mut deliveries, mut states) = (vec![], vec![], vec![], vec![]);
        for job in jobs {
            job_ids.push(job.version.job_id);
            fences.push(job.version.fence);
            deliveries.push(job.version.deliveries);
            states.push(job.state.as_str());
        }
        let select = sql_query(
            "SELECT job_id, fence, deliveries, package
             FROM unnest($1, $2, $3, $4) AS asked(job_id, fence, deliveries, state)
             JOIN generative_ai.jobs USING (job_id, fence, deliveries, state) ORDER BY job_id",
        )
        .bind::<Array<Integer>, _>(job_ids)
        .bind::<Array<BigInt>, _>(fences)
        .bind::<Array<Integer>, _>(deliveries)
        .bind::<Array<Text>, _>(states);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }

    /// Lets the jobs wait for a worker that this one has begun, by the ledger, and does not have `in_hand`: their ends
    /// were lost with the server that they were told to. `before`: a time by [`Db::now`] from before the hand was
    /// looked into. Returns which.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn let_go(
        &self,
        worker_id: &str,
        in_hand: Vec<i32>,
        before: DateTime<Utc>,
    ) -> Result<Vec<i32>, DbError> {
        // Nobody waits for their open calls, so the next owner need not either. Another server's clock may be behind.
        let update = sql_query(
            "WITH let_go AS (
                UPDATE generative_ai.jobs SET state = 'waiting', worker_id = NULL
                WHERE state = 'begun' AND worker_id = $1 AND job_id <> ALL($2) AND begun_at < $3 - interval '5 seconds'
                RETURNING job_id
             ), overdue AS (
                UPDATE generative_ai.provider_calls AS call SET deadline_at = now()
                FROM let_go WHERE call.job_id = let_go.job_id AND call.state IN ('intended', 'accepted')
             )
             SELECT job_id FROM let_go ORDER BY job_id",
        )
        .bind::<Text, _>(worker_id)
        .bind::<Array<Integer>, _>(in_hand)
        .bind::<Timestamptz, _>(before);
        let rows: Vec<super::cancel::JobId> =
            on_connection(&self.pool, async |connection| update.load(connection).await).await?;
        Ok(rows.into_iter().map(|row| row.job_id).collect())
    }

    /// Jobs of `queue` that wait for an operator, by id.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn held(&self, queue: &str) -> Result<Vec<Adrift>, DbError> {
        let select = sql_query(
            "SELECT job.job_id, job.fence, job.deliveries, job.state
             FROM generative_ai.jobs AS job JOIN ac_background_jobs AS shown_row
                ON shown_row.id = job.job_id AND coalesce(job.row_created_at = shown_row.created_at, true)
             WHERE job.state = 'held' AND coalesce(job.queue, $1) = $1 ORDER BY job.job_id",
        )
        .bind::<Text, _>(queue);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }

    /// Lets held jobs wait for a worker again, which may buy another picture for each. Returns those that were still
    /// held.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn release(&self, jobs: &[Adrift]) -> Result<Vec<Adrift>, DbError> {
        let job_ids: Vec<i32> = jobs.iter().map(|job| job.version.job_id).collect();
        let update = sql_query(
            "UPDATE generative_ai.jobs SET state = 'waiting', worker_id = NULL WHERE job_id = ANY($1) AND state = 'held'
             RETURNING job_id, fence, deliveries, state",
        )
        .bind::<Array<Integer>, _>(job_ids);
        on_connection(&self.pool, async |connection| update.load(connection).await).await
    }

    /// Closes dead letters of jobs of `queue` that have ended otherwise since: their retry was cut off before it was
    /// noted. Those that were refused after the end of their job stay, as their producer has to know. Returns how many.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn close_letters(&self, queue: &str) -> Result<usize, DbError> {
        // A look-up for each letter, which are few. Joined, all jobs may be read for them.
        let update = sql_query(
            "UPDATE generative_ai.dead_packages AS dead SET retried_at = now()
             WHERE dead.retried_at IS NULL AND (
                SELECT job.state IN ('done', 'cancelled') AND dead.dead_at <= job.finished_at
                    AND coalesce(job.queue, $1) = $1
                FROM generative_ai.jobs AS job WHERE job.job_id = dead.job_id)",
        )
        .bind::<Text, _>(queue);
        on_connection(&self.pool, async |connection| update.execute(connection).await).await
    }
}
