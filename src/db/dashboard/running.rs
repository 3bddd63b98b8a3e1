//! Jobs that have begun and not ended.

use diesel::sql_types::{BigInt, Double, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::super::statement::{Count, on_connection};
use super::super::{Db, DbError};

/// A job that has begun and not ended.
#[derive(Clone, Debug, PartialEq, QueryableByName)]
pub struct UnfinishedJob {
    /// Which.
    #[diesel(sql_type = Integer)]
    pub job_id: i32,
    /// `begun`, `held`, `retry_wait` or `waiting`.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// Who works on it, or has last.
    #[diesel(sql_type = Nullable<Text>)]
    pub worker_id: Option<String>,
    /// Attempts that have failed.
    #[diesel(sql_type = Integer)]
    pub attempts: i32,
    /// Since it was last begun.
    #[diesel(sql_type = Double)]
    pub for_s: f64,
    /// Until it is due again.
    #[diesel(sql_type = Nullable<Double>)]
    pub due_in_s: Option<f64>,
    /// Class of its last failure.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_class: Option<String>,
    /// The sentence of that.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_message: Option<String>,
    /// What the person who waits sees, in percent.
    #[diesel(sql_type = Nullable<Integer>)]
    pub progress: Option<i32>,
    /// The provider of its open call, or else the one that the package names.
    #[diesel(sql_type = Nullable<Text>)]
    pub provider: Option<String>,
    /// The model of its open call.
    #[diesel(sql_type = Nullable<Text>)]
    pub model: Option<String>,
    /// State of its open call.
    #[diesel(sql_type = Nullable<Text>)]
    pub call_state: Option<String>,
}

impl Db {
    /// The jobs of this queue that have begun and not ended, those that are worked on first, of these the oldest: `most` of them after
    /// the first `after`, and how many there are in all.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn unfinished(
        &self,
        queue: &str,
        after: i64,
        most: i64,
    ) -> Result<(Vec<UnfinishedJob>, i64), DbError> {
        let select = sql_query(
            r#"SELECT job.job_id, job.state, job.worker_id, job.attempts, shown.progress, job.error_class, job.error_message,
                extract(epoch FROM now() - job.begun_at)::double precision AS for_s,
                CASE job.state WHEN 'retry_wait' THEN extract(epoch FROM job.next_attempt_at - now())::double precision END AS due_in_s,
                coalesce(call.provider, substring(job.package FROM '"imageProvider"\s*:\s*"([A-Za-z0-9_-]+)"')) AS provider,
                call.model, call.state AS call_state
             FROM (
                SELECT job_id, state, worker_id, attempts, error_class, error_message, begun_at, next_attempt_at, package
                FROM generative_ai.jobs WHERE state IN ('waiting', 'begun', 'retry_wait', 'held') AND coalesce(queue, $1) = $1
                ORDER BY state = 'waiting', state, begun_at, job_id LIMIT $2 OFFSET $3
             ) AS job
             LEFT JOIN ac_background_jobs AS shown ON shown.id = job.job_id
             LEFT JOIN generative_ai.provider_calls AS call ON call.job_id = job.job_id AND call.state IN ('intended', 'accepted')
             ORDER BY job.state = 'waiting', job.state, job.begun_at, job.job_id"#,
        )
        .bind::<Text, _>(queue)
        .bind::<BigInt, _>(most)
        .bind::<BigInt, _>(after);
        let count = sql_query(
            "SELECT count(*) AS count FROM generative_ai.jobs
             WHERE state IN ('waiting', 'begun', 'retry_wait', 'held') AND coalesce(queue, $1) = $1",
        )
        .bind::<Text, _>(queue);
        on_connection(&self.pool, async |connection| {
            let counts: Vec<Count> = count.load(connection).await?;
            let jobs = select.load(connection).await?;
            Ok::<_, diesel::result::Error>((jobs, counts.iter().map(|row| row.count).sum()))
        })
        .await
    }
}
