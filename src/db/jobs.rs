//! Single statements: making and reading job rows, progress, and giving jobs back.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, Double, Integer, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};
use uuid::Uuid;

use super::schema::{ac_background_jobs, dead_packages, images, installation};
use super::statement::on_connection;
use super::{Buried, Db, DbError};
use crate::failure::ErrorClass;

/// What a producer sees of its job.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable)]
#[diesel(table_name = ac_background_jobs, check_for_backend(diesel::pg::Pg))]
pub struct JobRow {
    /// 5 (queued) to 100 (done).
    pub progress: Option<i32>,
    /// Why it has failed for good.
    pub error: Option<String>,
    /// With `imageId` and `imageUrl` once it is done.
    pub data: Option<Value>,
}

#[derive(QueryableByName)]
struct JobAge {
    #[diesel(sql_type = Integer)]
    id: i32,
    #[diesel(sql_type = Double)]
    seconds: f64,
}

/// Statements at once, where the steps of a batch are written one by one.
const STEPS_ALONE: usize = 4;

impl Db {
    /// Makes a job row, as a producer does before it pushes the package. Returns its id.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn create_job(&self, internal_data: Value) -> Result<i32, DbError> {
        use ac_background_jobs::dsl;
        let insert = diesel::insert_into(dsl::ac_background_jobs)
            .values((
                dsl::progress.eq(5),
                dsl::data.eq(json!({})),
                dsl::internal_data.eq(internal_data),
                dsl::created_at.eq(diesel::dsl::now),
                dsl::updated_at.eq(diesel::dsl::now),
            ))
            .returning(dsl::id);
        on_connection(&self.pool, async |connection| insert.get_result(connection).await).await
    }

    /// Reads a job row; `None` when there is none.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn job(&self, job_id: i32) -> Result<Option<JobRow>, DbError> {
        let select = ac_background_jobs::table.find(job_id).select(JobRow::as_select());
        on_connection(&self.pool, async |connection| {
            select.first(connection).await.optional()
        })
        .await
    }

    /// How long ago the rows of these jobs were made, in seconds by the server's clock, by job; those that have no
    /// row are left out.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn ages(&self, job_ids: Vec<i32>) -> Result<HashMap<i32, f64>, DbError> {
        let select = diesel::sql_query(
            "SELECT id, greatest(extract(epoch FROM now() - created_at), 0)::float8 AS seconds
             FROM ac_background_jobs WHERE id = ANY($1)",
        )
        .bind::<Array<Integer>, _>(job_ids);
        let rows: Vec<JobAge> =
            on_connection(&self.pool, async |connection| select.load(connection).await).await?;
        Ok(rows.into_iter().map(|row| (row.id, row.seconds)).collect())
    }

    /// The time by the clock of Postgres.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn now(&self) -> Result<chrono::DateTime<chrono::Utc>, DbError> {
        let select = diesel::select(diesel::dsl::now.into_sql::<diesel::sql_types::Timestamptz>());
        on_connection(&self.pool, async |connection| select.get_result(connection).await).await
    }

    /// How many rows there are in `images`.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn count_images(&self) -> Result<i64, DbError> {
        on_connection(&self.pool, async |connection| {
            images::table.count().get_result(connection).await
        })
        .await
    }

    /// The namespace that this database's object keys derive from.
    ///
    /// # Errors
    /// [`DbError`], also when the database has not been migrated.
    pub async fn key_namespace(&self) -> Result<Uuid, DbError> {
        let select = installation::table.select(installation::key_namespace);
        on_connection(&self.pool, async |connection| select.first(connection).await).await
    }

    /// Tells this database from others, and nothing else of it: object keys cannot be guessed from it.
    ///
    /// # Errors
    /// As [`Self::key_namespace`].
    pub async fn database_id(&self) -> Result<Uuid, DbError> {
        let namespace = self.key_namespace().await?;
        Ok(Uuid::new_v5(&namespace, b"database"))
    }

    /// Raises the progress of jobs, `(job id, percent)`; never lowers one. Rows that are locked or refused are left out.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn raise_progress(&self, steps: &[(i32, i32)]) -> Result<(), DbError> {
        match self.raise_some(steps).await {
            Err(error) if !error.is_nobodys() && steps.len() > 1 => {
                // It is about few of them. What is not shown of those is made up for by their next step.
                let alone = steps
                    .iter()
                    .copied()
                    .map(|step| async move { self.raise_some(&[step]).await });
                let all: Vec<_> = stream::iter(alone).buffer_unordered(STEPS_ALONE).collect().await;
                let error = all.into_iter().filter_map(Result::err).find(DbError::is_nobodys);
                error.map_or(Ok(()), Err)
            }
            Err(error) if error.is_nobodys() => Err(error),
            _ => Ok(()),
        }
    }

    async fn raise_some(&self, steps: &[(i32, i32)]) -> Result<(), DbError> {
        on_connection(&self.pool, async |connection| raise(connection, steps).await)
            .await
            .map(|_| ())
    }

    /// Gives back every job that this worker still owns, without counting an attempt. Nobody waits for its open
    /// calls any more, so the next owner need not wait either. `unsent`: jobs for which a call may have been intended
    /// that was not made. Returns how many.
    ///
    /// # Errors
    /// [`DbError`]; jobs that were not given back are taken over when the worker's lease has ended.
    pub async fn give_back(&self, worker_id: &str, unsent: Vec<i32>) -> Result<usize, DbError> {
        // An attempt may have been dropped while its job was being begun.
        self.begin.idle().await;
        let update = diesel::sql_query(
            "WITH given_back AS (
                UPDATE generative_ai.jobs SET state = 'waiting', worker_id = NULL
                WHERE state = 'begun' AND worker_id = $1
                RETURNING job_id
             ), overdue AS (
                UPDATE generative_ai.provider_calls AS call SET
                    deadline_at = now(),
                    state = CASE WHEN is_unsent THEN 'failed' ELSE call.state END,
                    ended_at = CASE WHEN is_unsent THEN now() END,
                    error_class = CASE WHEN is_unsent THEN 'network' END,
                    error_details = CASE WHEN is_unsent THEN 'it was never sent: the replica was stopped before' END
                FROM given_back, LATERAL (SELECT given_back.job_id = ANY($2) AS is_unsent) AS sent
                WHERE call.job_id = given_back.job_id
                    AND (call.state = 'intended' OR (call.state = 'accepted' AND NOT is_unsent))
             )
             SELECT FROM given_back",
        )
        .bind::<Text, _>(worker_id)
        .bind::<Array<Integer>, _>(unsent);
        on_connection(&self.pool, async |connection| update.execute(connection).await).await
    }

    /// What was kept of a job that has failed for good: its row, class, reason, last worker and package.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn buried(
        &self,
        job_id: i32,
    ) -> Result<Option<(Buried, ErrorClass, String, String, Vec<u8>)>, DbError> {
        use dead_packages::dsl;
        let select = dsl::dead_packages
            .filter(dsl::job_id.eq(job_id))
            // Without one it is a package that was refused beside the one that the job failed with.
            .filter(dsl::attempts.gt(0))
            .order(dsl::dead_at.desc())
            .select((
                dsl::id,
                dsl::attempts,
                dsl::dead_at,
                dsl::error_class,
                dsl::reason,
                dsl::worker_id,
                dsl::payload,
            ));
        type Row = (
            Uuid,
            i32,
            chrono::DateTime<chrono::Utc>,
            String,
            String,
            String,
            Vec<u8>,
        );
        let row: Option<Row> = on_connection(&self.pool, async |connection| {
            select.first(connection).await.optional()
        })
        .await?;
        Ok(
            row.map(|(id, attempts, dead_at, class, reason, worker_id, payload)| {
                let class = ErrorClass::ALL.into_iter().find(|known| known.as_str() == class);
                let buried = Buried {
                    id,
                    attempts: attempts.cast_unsigned(),
                    dead_at,
                };
                (
                    buried,
                    class.unwrap_or(ErrorClass::Internal),
                    reason,
                    worker_id,
                    payload,
                )
            }),
        )
    }
}

/// Returns how many rows were changed.
pub(super) fn raise<'c>(
    connection: &'c mut AsyncPgConnection,
    steps: &[(i32, i32)],
) -> BoxFuture<'c, diesel::QueryResult<usize>> {
    let (job_ids, percents): (Vec<i32>, Vec<i32>) = steps.iter().copied().unzip();
    let update = diesel::sql_query(
        "WITH free AS (
            SELECT shown_row.id, asked.percent
            FROM unnest($1, $2) AS asked(job_id, percent) JOIN ac_background_jobs AS shown_row ON shown_row.id = asked.job_id
            WHERE coalesce(shown_row.progress, 0) < asked.percent FOR NO KEY UPDATE OF shown_row SKIP LOCKED
         )
         UPDATE ac_background_jobs AS shown_row SET progress = free.percent, updated_at = now()
         FROM free WHERE shown_row.id = free.id",
    )
    .bind::<Array<Integer>, _>(job_ids)
    .bind::<Array<Integer>, _>(percents);
    update.execute(connection).boxed()
}
