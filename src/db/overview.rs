//! What stands where in Postgres: jobs that have not ended, dead packages, and what providers have cost.

use std::collections::HashMap;

use diesel::sql_types::{Array, BigInt, Double, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::callbacks::COUNTS;
use super::calls::may_be_billed;
use super::statement::{Count, on_connection};
use super::{CallbackCounts, Db, DbError};

/// Jobs in one state.
#[derive(Clone, Debug, PartialEq, Serialize, QueryableByName)]
#[serde(rename_all = "camelCase")]
pub struct StateCount {
    /// `waiting`, `begun`, `retry_wait` or `held`.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// How many.
    #[diesel(sql_type = BigInt)]
    pub count: i64,
    /// How long ago the oldest of them was last begun.
    #[diesel(sql_type = Double)]
    pub oldest_s: f64,
}

/// Calls of a provider within the last 24 hours.
#[derive(Clone, Debug, PartialEq, Serialize, QueryableByName)]
#[serde(rename_all = "camelCase")]
pub struct Spending {
    /// Who was asked.
    #[diesel(sql_type = Text)]
    pub provider: String,
    /// How often.
    #[diesel(sql_type = BigInt)]
    pub calls: i64,
    /// Calls that were refused or have failed, and cost nothing.
    #[diesel(sql_type = BigInt)]
    pub refused: i64,
    /// Those that brought a picture.
    #[diesel(sql_type = BigInt)]
    pub succeeded: i64,
    /// Those of which nobody knows what they brought.
    #[diesel(sql_type = BigInt)]
    pub unknown: i64,
    /// US dollars, as far as known.
    #[diesel(sql_type = Double)]
    pub cost_usd: f64,
}

/// What stands where.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Jobs that have begun and not ended, by state.
    pub unfinished: Vec<StateCount>,
    /// Packages that failed for good and have not been pushed again.
    pub dead: i64,
    /// Ends of jobs that are posted to others.
    pub callbacks: CallbackCounts,
    /// Calls that cost money, by provider.
    pub spending_24h: Vec<Spending>,
}

/// What no replica works on any more although it should, and who was not told.
#[derive(Clone, Debug, Default, PartialEq, QueryableByName)]
pub struct Stuck {
    /// Jobs begun by workers that are not alive.
    #[diesel(sql_type = BigInt)]
    pub ownerless: i64,
    /// Calls that are open after their deadline, or, where the provider has the order, for more than a day.
    #[diesel(sql_type = BigInt)]
    pub overdue_calls: i64,
    /// Jobs that wait for an operator.
    #[diesel(sql_type = BigInt)]
    pub held: i64,
    /// The numbers of the first ten of them, with commas between; `None`: there are none.
    #[diesel(sql_type = Nullable<Text>)]
    pub held_jobs: Option<String>,
    /// Ends of jobs that are posted to others.
    #[diesel(embed)]
    pub callbacks: CallbackCounts,
    /// How long ago the rows of the jobs that were asked about were made, in seconds and in their order; `None`: there is no such row.
    #[diesel(sql_type = Array<Nullable<Double>>)]
    pub ages_s: Vec<Option<f64>>,
}

#[derive(QueryableByName)]
struct StateRow {
    #[diesel(sql_type = Integer)]
    job_id: i32,
    #[diesel(sql_type = Text)]
    state: String,
}

impl Db {
    /// Counts what stands where: jobs of this queue, and what has been spent, which is for all queues.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn figures(&self, queue: &str) -> Result<Figures, DbError> {
        on_connection(&self.pool, async |connection| {
            let unfinished = sql_query(
                "SELECT state, count(*) AS count, extract(epoch FROM now() - min(begun_at))::double precision AS oldest_s
                 FROM generative_ai.jobs
                 WHERE state IN ('waiting', 'begun', 'retry_wait', 'held') AND coalesce(queue, $1) = $1
                 GROUP BY state ORDER BY state",
            )
            .bind::<Text, _>(queue)
            .load(connection)
            .await?;
            let dead: Vec<Count> = sql_query(
                "SELECT count(*) AS count FROM generative_ai.dead_packages AS dead
                 LEFT JOIN generative_ai.jobs AS job ON job.job_id = dead.job_id
                 WHERE dead.retried_at IS NULL AND coalesce(job.queue, $1) = $1",
            )
            .bind::<Text, _>(queue)
            .load(connection)
            .await?;
            let callbacks: Vec<CallbackCounts> =
                sql_query(COUNTS).bind::<Text, _>(queue).load(connection).await?;
            let spending_24h = sql_query(concat!(
                "SELECT provider, count(*) AS calls, count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
                    count(*) FILTER (WHERE state = 'failed' AND coalesce(cost_usd, 0) = 0 AND NOT ",
                may_be_billed!("provider_calls"),
                ") AS refused, count(*) FILTER (WHERE ",
                may_be_billed!("provider_calls"),
                ") AS unknown, coalesce(sum(cost_usd), 0) AS cost_usd
                 FROM generative_ai.provider_calls WHERE sent_at > now() - interval '24 hours'
                 GROUP BY provider ORDER BY provider",
            ))
            .load(connection)
            .await?;
            Ok::<_, diesel::result::Error>(Figures {
                unfinished,
                dead: dead.into_iter().next().map_or(0, |row| row.count),
                callbacks: callbacks.into_iter().next().unwrap_or_default(),
                spending_24h,
            })
        })
        .await
    }

    /// The states of those of these jobs that the ledger knows.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn states_of(&self, job_ids: Vec<i32>) -> Result<HashMap<i32, String>, DbError> {
        let select = sql_query("SELECT job_id, state FROM generative_ai.jobs WHERE job_id = ANY($1)")
            .bind::<Array<Integer>, _>(job_ids);
        let rows: Vec<StateRow> =
            on_connection(&self.pool, async |connection| select.load(connection).await).await?;
        Ok(rows.into_iter().map(|row| (row.job_id, row.state)).collect())
    }

    /// Counts what no replica of this queue works on although it should, and looks at the rows of the jobs `ages_of`.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn stuck(
        &self,
        queue: &str,
        live_workers: &[String],
        ages_of: &[i32],
    ) -> Result<Stuck, DbError> {
        let query = format!(
            "SELECT * FROM (
                SELECT count(*) FILTER (WHERE state = 'begun' AND worker_id <> ALL($2)) AS ownerless,
                    count(*) FILTER (WHERE state = 'held') AS held,
                    array_to_string((array_agg(job_id ORDER BY begun_at, job_id) FILTER (WHERE state = 'held'))[1:10], ', ')
                        AS held_jobs
                FROM generative_ai.jobs
                WHERE state IN ('waiting', 'begun', 'retry_wait', 'held') AND coalesce(queue, $1) = $1
             ) AS jobs, (
                SELECT count(*) AS overdue_calls FROM generative_ai.provider_calls AS call
                JOIN generative_ai.jobs AS job ON job.job_id = call.job_id AND coalesce(job.queue, $1) = $1
                WHERE (call.state = 'intended' AND call.deadline_at < now())
                    OR (call.state = 'accepted' AND call.sent_at < now() - interval '1 day')
             ) AS calls, ({COUNTS}) AS callbacks, (
                SELECT coalesce(array_agg(extract(epoch FROM now() - shown_row.created_at)::double precision ORDER BY place), '{{}}') AS ages_s
                FROM unnest($3) WITH ORDINALITY AS asked(id, place) LEFT JOIN ac_background_jobs AS shown_row USING (id)
             ) AS ages"
        );
        let select = sql_query(query)
            .bind::<Text, _>(queue)
            .bind::<Array<Text>, _>(live_workers)
            .bind::<Array<Integer>, _>(ages_of);
        let rows: Vec<Stuck> =
            on_connection(&self.pool, async |connection| select.load(connection).await).await?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }
}
