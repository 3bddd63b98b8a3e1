//! How calls to providers have gone, and what they have cost.

use diesel::sql_types::{BigInt, Bool, Double, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::super::calls::may_be_billed;
use super::super::statement::on_connection;
use super::super::{Db, DbError};

/// Calls of a provider within the last 24 hours, or of one of its models on a day.
#[derive(Clone, Debug, PartialEq, QueryableByName)]
pub struct CallCounts {
    /// `2026-11-30`, UTC; `None`: the last 24 hours.
    #[diesel(sql_type = Nullable<Text>)]
    pub day: Option<String>,
    /// Who was asked.
    #[diesel(sql_type = Text)]
    pub provider: String,
    /// For which model; `None`: any.
    #[diesel(sql_type = Nullable<Text>)]
    pub model: Option<String>,
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
    /// Those of which nobody knows what they cost.
    #[diesel(sql_type = BigInt)]
    pub unknown: i64,
    /// US dollars, as far as known.
    #[diesel(sql_type = Double)]
    pub cost_usd: f64,
    /// Half of the pictures took no longer; known of the last 24 hours.
    #[diesel(sql_type = Nullable<Double>)]
    pub p50_s: Option<f64>,
    /// 95 of 100 took no longer; the same.
    #[diesel(sql_type = Nullable<Double>)]
    pub p95_s: Option<f64>,
    /// Whether there may be more calls than were looked at.
    #[diesel(sql_type = Bool)]
    pub is_part: bool,
}

/// What is counted of calls in every row.
macro_rules! counts {
    () => {
        concat!(
            "count(*) AS calls, count(*) FILTER (WHERE state IN ('intended', 'accepted')) AS open,
            count(*) FILTER (WHERE state = 'succeeded') AS succeeded, count(*) FILTER (WHERE state = 'failed') AS failed,
            count(*) FILTER (WHERE ",
            may_be_billed!("latest"),
            ") AS unknown, coalesce(sum(cost_usd), 0)::double precision AS cost_usd"
        )
    };
}

/// No more calls are looked at than take a moment.
const CALLS: &str = concat!(
    "WITH latest AS MATERIALIZED (
        SELECT provider, model, state, error_class, cost_usd, sent_at, extract(epoch FROM ended_at - sent_at)::double precision AS took_s
        FROM generative_ai.provider_calls
        WHERE sent_at >= (date_trunc('day', now() AT TIME ZONE 'UTC') - ($1 - 1) * interval '1 day') AT TIME ZONE 'UTC'
        ORDER BY sent_at DESC LIMIT $2
    ), part AS (SELECT count(*) >= $2 AS is_part FROM latest)
    SELECT counted.*, part.is_part FROM (
        SELECT NULL AS day, provider, NULL AS model, ", counts!(), ",
            percentile_cont(0.5) WITHIN GROUP (ORDER BY took_s) FILTER (WHERE state = 'succeeded') AS p50_s,
            percentile_cont(0.95) WITHIN GROUP (ORDER BY took_s) FILTER (WHERE state = 'succeeded') AS p95_s
        FROM latest WHERE sent_at > now() - interval '24 hours' GROUP BY provider
        UNION ALL
        SELECT (sent_at AT TIME ZONE 'UTC')::date::text, provider, model, ", counts!(), ", NULL, NULL
        FROM latest GROUP BY 1, 2, 3
    ) AS counted, part ORDER BY day DESC NULLS FIRST, cost_usd DESC, provider, model"
);

impl Db {
    /// How the latest calls of `days` days have gone, at the most [`CallCounts::MOST`] of them, of all queues: those of the last 24
    /// hours by provider, then all by day and model, the latest day first.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn call_counts(&self, days: i32) -> Result<Vec<CallCounts>, DbError> {
        let select = sql_query(CALLS)
            .bind::<Integer, _>(days)
            .bind::<BigInt, _>(CallCounts::MOST);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }
}

impl CallCounts {
    /// So many calls are looked at.
    pub const MOST: i64 = 20_000;
}
