//! Jobs that have not ended, with their packages.

use diesel::sql_types::{Array, Bool, Integer, Text};
use diesel_async::RunQueryDsl;

use super::statement::on_connection;
use super::{Db, DbError};

/// A job that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, diesel::QueryableByName)]
pub struct Unfinished {
    /// Row of `ac_background_jobs`.
    #[diesel(sql_type = Integer)]
    pub job_id: i32,
    /// As it was pushed.
    #[diesel(sql_type = Text)]
    pub package: String,
}

/// Rows that are read at once.
const CHUNK: i32 = 500;

impl Db {
    /// Jobs that have not ended and are not in the hands of a live worker, by id, from `after` on; with `held`
    /// those that an operator has to decide on instead. Empty when there are no more. Those whose row is gone, or is another
    /// job's by now, are not among them, nor those whose package is kept as a dead one that is just being retried.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn unfinished(
        &self,
        after: i32,
        live_workers: &[String],
        held: bool,
    ) -> Result<Vec<Unfinished>, DbError> {
        let select = diesel::sql_query(
            "SELECT job.job_id, job.package
             FROM generative_ai.jobs AS job JOIN ac_background_jobs AS shown_row
                ON shown_row.id = job.job_id AND coalesce(job.row_created_at = shown_row.created_at, true)
             WHERE job.job_id > $1 AND job.package <> '' AND job.state IN ('waiting', 'begun', 'retry_wait', 'held')
                 AND CASE WHEN $3 THEN job.state = 'held' ELSE
                     job.state IN ('waiting', 'retry_wait') OR (job.state = 'begun' AND job.worker_id <> ALL($2)) END
             ORDER BY job.job_id LIMIT $4",
        )
        .bind::<Integer, _>(after)
        .bind::<Array<Text>, _>(live_workers)
        .bind::<Bool, _>(held)
        .bind::<Integer, _>(CHUNK);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }

    /// Lets held jobs wait for a worker again, which may buy another picture for each.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn release(&self, job_ids: &[i32]) -> Result<(), DbError> {
        let update = diesel::sql_query(
            "UPDATE generative_ai.jobs SET state = 'waiting', worker_id = NULL WHERE job_id = ANY($1) AND state = 'held'",
        )
        .bind::<Array<Integer>, _>(job_ids);
        on_connection(&self.pool, async |connection| update.execute(connection).await)
            .await
            .map(|_| ())
    }
}
