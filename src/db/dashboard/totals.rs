//! The numbers that stand on every page.

use diesel::sql_types::{BigInt, Bool, Double, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::super::calls::may_be_billed;
use super::super::statement::on_connection;
use super::super::{Db, DbError};

/// What has come to an end lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, QueryableByName)]
pub struct Totals {
    /// Jobs that were done within the last hour, among the latest.
    #[diesel(sql_type = BigInt)]
    pub done: i64,
    /// Whether there may be more of them, as not all jobs were looked at.
    #[diesel(sql_type = Bool)]
    pub done_is_least: bool,
    /// Packages that failed for good within the last hour.
    #[diesel(sql_type = BigInt)]
    pub failed: i64,
    /// Dollars since midnight UTC, of all queues, as far as known, of the latest calls.
    #[diesel(sql_type = Double)]
    pub spent_usd: f64,
    /// Whether it may be more, as not all calls were looked at.
    #[diesel(sql_type = Bool)]
    pub spent_is_least: bool,
    /// Calls since then of which nobody knows what they cost.
    #[diesel(sql_type = BigInt)]
    pub unknown_calls: i64,
}

/// The latest jobs stand for all: their numbers rise, and few take longer than an hour. No more calls of a day are looked at than
/// take a moment.
const TOTALS: &str = concat!("
    WITH latest AS (
        SELECT state, finished_at, queue FROM generative_ai.jobs ORDER BY job_id DESC LIMIT 20000
    ), calls AS (
        SELECT coalesce(sum(cost_usd), 0)::double precision AS usd, count(*) = 50000 AS is_least,
            count(*) FILTER (WHERE ", may_be_billed!("today"), ") AS unknown
        FROM (SELECT * FROM generative_ai.provider_calls
            WHERE sent_at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
            ORDER BY sent_at DESC LIMIT 50000) AS today
    )
    SELECT count(*) FILTER (WHERE state = 'done' AND finished_at > now() - interval '1 hour' AND coalesce(queue, $1) = $1) AS done,
        count(*) = 20000 AND coalesce(min(finished_at) > now() - interval '1 hour', false) AS done_is_least,
        (SELECT count(*) FROM generative_ai.dead_packages AS dead LEFT JOIN generative_ai.jobs AS job ON job.job_id = dead.job_id
            WHERE dead.dead_at > now() - interval '1 hour' AND coalesce(job.queue, $1) = $1) AS failed,
        (SELECT usd FROM calls) AS spent_usd, (SELECT is_least FROM calls) AS spent_is_least,
        (SELECT unknown FROM calls) AS unknown_calls
    FROM latest");

impl Db {
    /// Counts what has come to an end lately.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn totals(&self, queue: &str) -> Result<Totals, DbError> {
        let select = sql_query(TOTALS).bind::<Text, _>(queue);
        on_connection(&self.pool, async |connection| select.get_result(connection).await).await
    }
}
