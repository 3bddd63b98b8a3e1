//! What has been spent: calls that cost money, summed by what somebody asks for.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Double, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::calls::may_be_billed;
use super::statement::on_connection;
use super::{Db, DbError};

/// What calls are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostsBy {
    /// Who was asked.
    Provider,
    /// With which model.
    Model,
    /// Whose picture it became; none for calls that brought none.
    User,
    /// For which collection, likewise.
    Collection,
    /// The day on which it was sent, UTC.
    Day,
}

impl CostsBy {
    /// What names a sum, from a call, its job and its picture.
    fn expression(self) -> &'static str {
        match self {
            Self::Provider => "call.provider",
            Self::Model => "call.provider || ' ' || call.model",
            Self::User => "image.user_id::text",
            // Source: `generator/keys`, how object keys are made.
            Self::Collection => "substring(job.object_keys[1] FROM '^ypGenAi/([^/]+/[^/]+)/')",
            Self::Day => "to_char(call.sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
        }
    }

    /// Only what is summed by it is joined: the others' rows may be gone, and are not needed.
    fn joins(self) -> &'static str {
        match self {
            Self::User => {
                "LEFT JOIN generative_ai.jobs AS job ON job.job_id = call.job_id AND call.state = 'succeeded'
                 LEFT JOIN images AS image ON image.id = job.image_id"
            }
            Self::Collection => {
                "LEFT JOIN generative_ai.jobs AS job ON job.job_id = call.job_id AND call.state = 'succeeded'"
            }
            Self::Provider | Self::Model | Self::Day => "",
        }
    }
}

/// A sum of calls.
#[derive(Clone, Debug, PartialEq, Serialize, QueryableByName)]
#[serde(rename_all = "camelCase")]
pub struct Costs {
    /// Of what; `None`: of calls of which it is not known.
    #[diesel(sql_type = Nullable<Text>)]
    pub name: Option<String>,
    /// Calls that were made.
    #[diesel(sql_type = BigInt)]
    pub calls: i64,
    /// Those that brought a picture.
    #[diesel(sql_type = BigInt)]
    pub pictures: i64,
    /// US dollars, all that is known.
    #[diesel(sql_type = Double)]
    pub usd: f64,
    /// Of it: as the provider has reported.
    #[diesel(sql_type = Double)]
    pub reported_usd: f64,
    /// Of it: computed from the usage that the provider has reported.
    #[diesel(sql_type = Double)]
    pub computed_usd: f64,
    /// Of it: estimated by the table of models.
    #[diesel(sql_type = Double)]
    pub estimated_usd: f64,
    /// Pictures whose price nobody knows.
    #[diesel(sql_type = BigInt)]
    pub without_price: i64,
    /// Calls that may be billed beyond: nobody knows what they brought, or it could not be used.
    #[diesel(sql_type = BigInt)]
    pub unknown: i64,
    /// Calls that are under way.
    #[diesel(sql_type = BigInt)]
    pub open: i64,
}

impl Db {
    /// Sums the calls since a time, of all queues; the largest sum first, days in their order.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn costs(&self, by: CostsBy, since: DateTime<Utc>) -> Result<Vec<Costs>, DbError> {
        let order = if by == CostsBy::Day {
            "name"
        } else {
            "usd DESC, name"
        };
        let select = sql_query(format!(
            "SELECT {} AS name, count(*) AS calls, count(*) FILTER (WHERE call.state = 'succeeded') AS pictures,
                coalesce(sum(call.cost_usd), 0) AS usd,
                coalesce(sum(call.cost_usd) FILTER (WHERE call.cost_basis = 'reported'), 0) AS reported_usd,
                coalesce(sum(call.cost_usd) FILTER (WHERE call.cost_basis = 'computed'), 0) AS computed_usd,
                coalesce(sum(call.cost_usd) FILTER (WHERE call.cost_basis = 'estimated'), 0) AS estimated_usd,
                count(*) FILTER (WHERE call.state = 'succeeded' AND call.cost_usd IS NULL) AS without_price,
                count(*) FILTER (WHERE {}) AS unknown,
                count(*) FILTER (WHERE call.state IN ('intended', 'accepted')) AS open
             FROM generative_ai.provider_calls AS call {}
             WHERE call.sent_at >= $1 GROUP BY 1 ORDER BY {order}",
            by.expression(),
            may_be_billed!("call"),
            by.joins(),
        ))
        .bind::<Timestamptz, _>(since);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }
}
