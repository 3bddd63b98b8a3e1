//! How calls to providers have gone, and what they have cost.

use diesel::sql_types::{BigInt, Double, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::super::calls::may_be_billed;
use super::super::statement::on_connection;
use super::super::{Db, DbError};

/// Calls of a provider within the last 24 hours.
#[derive(Clone, Debug, PartialEq, QueryableByName)]
pub struct ProviderDay {
    /// Who was asked.
    #[diesel(sql_type = Text)]
    pub provider: String,
    /// How often.
    #[diesel(sql_type = BigInt)]
    pub calls: i64,
    /// Calls that are open.
    #[diesel(sql_type = BigInt)]
    pub open: i64,
    /// Those that brought a picture.
    #[diesel(sql_type = BigInt)]
    pub succeeded: i64,
    /// Those that have failed.
    #[diesel(sql_type = BigInt)]
    pub failed: i64,
    /// Those of which nobody knows what they brought.
    #[diesel(sql_type = BigInt)]
    pub unknown: i64,
    /// US dollars, as far as known.
    #[diesel(sql_type = Double)]
    pub cost_usd: f64,
    /// Half of the pictures took no longer.
    #[diesel(sql_type = Nullable<Double>)]
    pub p50_s: Option<f64>,
    /// 95 of 100 took no longer.
    #[diesel(sql_type = Nullable<Double>)]
    pub p95_s: Option<f64>,
}

/// Calls of a model on a day.
#[derive(Clone, Debug, PartialEq, QueryableByName)]
pub struct DaySpending {
    /// `2026-11-30`, UTC.
    #[diesel(sql_type = Text)]
    pub day: String,
    /// Who was asked.
    #[diesel(sql_type = Text)]
    pub provider: String,
    /// For which model.
    #[diesel(sql_type = Text)]
    pub model: String,
    /// How often.
    #[diesel(sql_type = BigInt)]
    pub calls: i64,
    /// US dollars, as far as known.
    #[diesel(sql_type = Double)]
    pub cost_usd: f64,
    /// Calls of which nobody knows what they cost.
    #[diesel(sql_type = BigInt)]
    pub unknown: i64,
}

impl Db {
    /// How calls of the last 24 hours have gone, by provider: of all queues.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn provider_day(&self) -> Result<Vec<ProviderDay>, DbError> {
        let select = sql_query(concat!(
            "SELECT provider, count(*) AS calls, count(*) FILTER (WHERE state IN ('intended', 'accepted')) AS open,
                count(*) FILTER (WHERE state = 'succeeded') AS succeeded, count(*) FILTER (WHERE state = 'failed') AS failed,
                count(*) FILTER (WHERE ", may_be_billed!("provider_calls"), ") AS unknown,
                coalesce(sum(cost_usd), 0)::double precision AS cost_usd,
                percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - sent_at)::double precision)
                    FILTER (WHERE state = 'succeeded') AS p50_s,
                percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - sent_at)::double precision)
                    FILTER (WHERE state = 'succeeded') AS p95_s
             FROM generative_ai.provider_calls WHERE sent_at > now() - interval '24 hours'
             GROUP BY provider ORDER BY provider",
        ));
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }

    /// What calls of the last days have cost, by day and model: of all queues, the latest day first.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn spending_by_day(&self, days: i32, most: i64) -> Result<Vec<DaySpending>, DbError> {
        let select = sql_query(concat!(
            "SELECT (sent_at AT TIME ZONE 'UTC')::date::text AS day, provider, model, count(*) AS calls,
                coalesce(sum(cost_usd), 0)::double precision AS cost_usd,
                count(*) FILTER (WHERE ", may_be_billed!("provider_calls"), ") AS unknown
             FROM generative_ai.provider_calls
             WHERE sent_at >= (date_trunc('day', now() AT TIME ZONE 'UTC') - ($1 - 1) * interval '1 day') AT TIME ZONE 'UTC'
             GROUP BY 1, 2, 3 ORDER BY 1 DESC, cost_usd DESC, 2, 3 LIMIT $2",
        ))
        .bind::<diesel::sql_types::Integer, _>(days)
        .bind::<BigInt, _>(most);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }
}
