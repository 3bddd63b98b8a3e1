//! What may be spent: calls that are written down only where each of their budgets has what they may cost, and how much of each is
//! used up. The migration `budgets` has the functions that take from budgets and settle.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Double, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::FutureExt;
use serde::Serialize;

use super::calls::{IntendRequest, Intended, WithinBudgets, next_number, own_call, patience_ms};
use super::statement::{Answers, Keyed, batch_statement, on_connection};
use super::{Db, DbError};

/// A budget that a call counts for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Charge {
    /// `total`, `user`, `collection`, or the name of a provider.
    pub scope: &'static str,
    /// Which user or collection; empty for the others.
    pub whose: String,
    /// `day` or `month`.
    pub period: &'static str,
    /// What may be spent in a period, in US dollars.
    pub limit_usd: f64,
    /// When periods begin, from the last one to the next but one: Postgres has the clock that says which it is.
    pub turns: Vec<DateTime<Utc>>,
}

impl Charge {
    /// `openai/day`, `user/7/day`, `collection/group/3/month`
    #[must_use]
    pub fn name(&self) -> String {
        let Self {
            scope, whose, period, ..
        } = self;
        match whose.as_str() {
            "" => format!("{scope}/{period}"),
            whose => format!("{scope}/{whose}/{period}"),
        }
    }
}

/// What a call is to take from which budgets.
#[derive(Clone, Debug, PartialEq)]
pub struct Reservation {
    /// What it may cost, in US dollars.
    pub usd: f64,
    /// All that it counts for.
    pub charges: Vec<Charge>,
}

/// A budget without the money for a call.
#[derive(Clone, Debug, PartialEq)]
pub struct SpentBudget {
    /// `openai/day`, `user/7/day`, `collection/group/3/month`
    pub name: String,
    /// When its next period begins.
    pub opens_at: DateTime<Utc>,
    /// How long until then.
    pub opens_in_s: f64,
}

/// How much of a budget is used up. Of users and collections it is the one that has used the most.
#[derive(Clone, Debug, PartialEq, Serialize, QueryableByName)]
#[serde(rename_all = "camelCase")]
pub struct BudgetUse {
    /// `total`, `user`, `collection`, or the name of a provider.
    #[diesel(sql_type = Text)]
    pub scope: String,
    /// `day` or `month`.
    #[diesel(sql_type = Text)]
    pub period: String,
    /// What may be spent.
    #[diesel(sql_type = Double)]
    pub limit_usd: f64,
    /// What ended calls have cost and open ones may cost.
    #[diesel(sql_type = Double)]
    pub used_usd: f64,
    /// Which user or collection.
    #[diesel(sql_type = Nullable<Text>)]
    pub whose: Option<String>,
    /// When the period ends; `None`: nothing was bought in it yet.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub ends_at: Option<DateTime<Utc>>,
    /// How many users or collections have used four fifths or more.
    #[diesel(sql_type = BigInt)]
    pub near: i64,
}

impl BudgetUse {
    /// Used up by so much that people should know.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.used_usd >= 0.8 * self.limit_usd
    }

    /// 82
    #[must_use]
    pub fn percent(&self) -> f64 {
        (self.used_usd / self.limit_usd * 100.0).floor()
    }
}

const USES: &str = "
    SELECT asked.scope, asked.period, asked.limit_usd, coalesce(most.used_usd, 0)::double precision AS used_usd,
        nullif(most.whose, '') AS whose, most.ends_at,
        (SELECT count(*) FROM generative_ai.budget_periods AS near WHERE near.scope = asked.scope AND near.period = asked.period
            AND near.ends_at > now() AND near.begins_at <= now()
            AND near.used_usd >= 0.8 * asked.limit_usd::numeric) AS near
    FROM unnest($1, $2, $3) WITH ORDINALITY AS asked(scope, period, limit_usd, place)
    LEFT JOIN LATERAL (SELECT used.used_usd, used.whose, used.ends_at FROM generative_ai.budget_periods AS used
        WHERE used.scope = asked.scope AND used.period = asked.period AND used.ends_at > now() AND used.begins_at <= now()
        ORDER BY used.used_usd DESC LIMIT 1) AS most ON true
    ORDER BY asked.place";

impl Db {
    /// How much of these budgets is used up, each a scope, a period and a limit, in this order.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn budget_uses(&self, budgets: &[(&str, &str, f64)]) -> Result<Vec<BudgetUse>, DbError> {
        if budgets.is_empty() {
            return Ok(Vec::new());
        }
        let scopes: Vec<&str> = budgets.iter().map(|budget| budget.0).collect();
        let periods: Vec<&str> = budgets.iter().map(|budget| budget.1).collect();
        let limits: Vec<f64> = budgets.iter().map(|budget| budget.2).collect();
        let select = sql_query(USES)
            .bind::<Array<Text>, _>(scopes)
            .bind::<Array<Text>, _>(periods)
            .bind::<Array<Double>, _>(limits);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }
}

impl Keyed for WithinBudgets {
    type Key = i32;
    fn key(&self) -> i32 {
        self.0.job_id
    }
}

batch_statement! {
    /// As `IntendCalls`, whose comments hold here too. What a call may cost is taken from its budgets under the lock on its job, and
    /// only where nothing keeps the call from being written down, so that nothing is taken for a call that is not made.
    IntendWithinBudgets {
        job_id: i32 as Integer,
        fence: i64 as BigInt,
        worker_id: &'v str as Text,
        provider: &'v str as Text,
        model: &'v str as Text,
        patience_ms: i64 as BigInt,
        usd: f64 as Double,
        charges: String as Text,
    } -> (Integer, Nullable<Integer>, Nullable<Text>, Nullable<Timestamptz>, Nullable<Double>, Nullable<Text>)
    concat!(own_call!(), ", wanted AS MATERIALIZED (
        SELECT asked.* FROM asked JOIN generative_ai.jobs AS job ON job.job_id = asked.job_id AND job.fence = asked.fence
        WHERE job.state IS NOT DISTINCT FROM 'begun'
            AND NOT EXISTS (SELECT FROM own WHERE own.job_id = asked.job_id)
            AND NOT EXISTS (SELECT FROM generative_ai.provider_calls AS call
                WHERE call.job_id = asked.job_id AND coalesce(call.state IN ('intended', 'accepted'), false))
        ORDER BY asked.job_id FOR UPDATE OF job
    ), reserved AS MATERIALIZED (
        SELECT wanted.*, verdict.* FROM wanted, LATERAL generative_ai.reserve(wanted.charges::jsonb, wanted.usd) AS verdict
    ), owned AS (
        UPDATE generative_ai.jobs AS job SET calls = ", next_number!(), "
        FROM reserved WHERE job.job_id = reserved.job_id AND reserved.spent IS NULL
        RETURNING job.job_id, job.calls
    ), intended AS (
        INSERT INTO generative_ai.provider_calls
            (job_id, call_no, state, provider, model, worker_id, fence, deadline_at, charged_to, charged_usd)
        SELECT reserved.job_id, owned.calls, 'intended', reserved.provider, reserved.model, reserved.worker_id, reserved.fence,
            now() + reserved.patience_ms * interval '1 millisecond', reserved.charged_to, reserved.usd::numeric
        FROM reserved JOIN owned ON owned.job_id = reserved.job_id
        RETURNING job_id, call_no
    )
    SELECT asked.job_id, coalesce(own.call_no, intended.call_no), reserved.spent, reserved.opens_at,
        extract(epoch FROM reserved.opens_at - now())::double precision, reserved.near
    FROM asked
    LEFT JOIN own ON own.job_id = asked.job_id
    LEFT JOIN intended ON intended.job_id = asked.job_id
    LEFT JOIN reserved ON reserved.job_id = asked.job_id
    ")
}

/// Job, number of the call, what is spent, until when, for how long, and what has just come near its end.
type IntendedRow = (
    i32,
    Option<i32>,
    Option<String>,
    Option<DateTime<Utc>>,
    Option<f64>,
    Option<String>,
);

pub(super) fn run_intend<'c>(
    connection: &'c mut AsyncPgConnection,
    requests: &'c [WithinBudgets],
) -> Answers<'c, WithinBudgets, Intended> {
    async move {
        let mut statement = IntendWithinBudgets::default();
        for WithinBudgets(request) in requests {
            let IntendRequest { reservation, .. } = request;
            statement.job_id.push(request.job_id);
            statement.fence.push(request.fence);
            statement.worker_id.push(&request.worker_id);
            statement.provider.push(&request.provider);
            statement.model.push(&request.model);
            statement.patience_ms.push(patience_ms(request));
            statement
                .usd
                .push(reservation.as_ref().map_or(0.0, |reservation| reservation.usd));
            let charges = reservation.iter().flat_map(|reservation| &reservation.charges);
            let charges: Vec<&Charge> = charges.collect();
            let charges = serde_json::to_string(&charges).expect("a charge has text keys only");
            statement.charges.push(charges);
        }
        let rows: Vec<IntendedRow> = statement.load(connection).await?;
        Ok(rows
            .into_iter()
            .map(|(job_id, call_no, spent, opens_at, opens_in_s, near)| {
                let spent = spent.zip(opens_at).zip(opens_in_s);
                let spent = spent.map(|((name, opens_at), opens_in_s)| SpentBudget {
                    name,
                    opens_at,
                    opens_in_s,
                });
                let intended = Intended { call_no, spent, near };
                (job_id, intended)
            })
            .collect())
    }
    .boxed()
}
