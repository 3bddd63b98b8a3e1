//! Forgetting: what has ended long ago goes, in small chunks, and nothing is kept of prompts that nobody needs any
//! more.
//!
//! Each chore can be done by any number of processes at once, and a chunk is a statement: rows that others have locked
//! are left for later.

use std::ops::RangeInclusive;
use std::time::Duration;

use diesel::sql_types::{BigInt, Double, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::statement::{Count, on_connection};
use super::{Db, DbError};

/// How long what has ended is kept; `None` = for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Jobs, from their ends on (`JOBS_RETENTION`).
    pub jobs: Option<Duration>,
    /// Packages that failed for good, and posts of ends that were delivered or given up (`DEAD_RETENTION`).
    pub dead: Option<Duration>,
    /// Calls that cost money, from when they were made, and what operators' commands have done (`CALLS_RETENTION`). No prompt is in
    /// them.
    pub calls: Option<Duration>,
}

/// What is done to keep the ledger small. In the order in which it is done: a job whose dead package may still be
/// retried stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Jobs that have begun and not ended, and whose row in `ac_background_jobs` is gone, are ended.
    Ghosts,
    /// Packages of jobs that have ended are emptied: what versions before this one have left.
    Prompts,
    /// Packages that failed for good are removed.
    DeadPackages,
    /// Posts of ends are removed that were delivered or given up.
    Callbacks,
    /// Jobs that have ended are removed. Their calls stay; of one that is open nobody will learn how it ends.
    Jobs,
    /// Calls of providers are removed, unless their job still goes on.
    Calls,
    /// What is written down of operators' commands is removed.
    Actions,
    /// What was used of budgets in days and months that are over is removed.
    Budgets,
}

/// Rows of a chunk.
const CHUNK: i64 = 500;

/// Of so many job numbers and more, a turn of housekeeping looks through one part.
const MANY_NUMBERS: i64 = 100_000;
/// A day of turns looks through all.
const PARTS: i64 = 24;

/// What a chunk has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Rows that it was about.
    pub count: i64,
    /// Where the next chunk begins; `None`: this was the last one.
    pub next: Option<i32>,
}

#[derive(QueryableByName)]
struct ChunkRow {
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = BigInt)]
    looked_at: i64,
    #[diesel(sql_type = Nullable<Integer>)]
    last: Option<i32>,
}

#[derive(QueryableByName)]
struct NumbersRow {
    #[diesel(sql_type = Nullable<Integer>)]
    first: Option<i32>,
    #[diesel(sql_type = Nullable<Integer>)]
    last: Option<i32>,
    #[diesel(sql_type = Integer)]
    hour: i32,
}

/// A job whose row is gone is a ghost so long after it was begun. One that is being worked on may be it for a day, as
/// calls go on.
const GHOSTS: &str = "
    SELECT job.job_id FROM generative_ai.jobs AS job
    WHERE job.state IN ('waiting', 'begun', 'retry_wait', 'held')
        AND job.begun_at < now() - $1 * interval '1 second'
        AND (job.state <> 'begun' OR job.begun_at < now() - interval '1 day')
        AND NOT EXISTS (SELECT FROM ac_background_jobs AS shown_row WHERE shown_row.id = job.job_id)";
const PROMPTS: &str = "
    SELECT job.job_id FROM generative_ai.jobs AS job
    WHERE job.state IN ('done', 'dead', 'cancelled') AND job.package <> ''
        AND coalesce(job.finished_at <= now() - $1 * interval '1 second', true)";
const DEAD_PACKAGES: &str = "
    SELECT dead.id FROM generative_ai.dead_packages AS dead WHERE dead.dead_at < now() - $1 * interval '1 second'";
const CALLBACKS: &str = "
    SELECT callback.id FROM generative_ai.callbacks AS callback WHERE callback.settled_at < now() - $1 * interval '1 second'";
/// No index has the times at which jobs have ended: it would cost every job more than looking through the table does.
const JOBS: &str = "
    SELECT job.job_id FROM generative_ai.jobs AS job
    WHERE job.finished_at < now() - $1 * interval '1 second' AND job.state IN ('done', 'dead', 'cancelled')
        AND NOT (job.state = 'dead' AND EXISTS (SELECT FROM generative_ai.dead_packages AS dead
            WHERE dead.job_id = job.job_id AND dead.retried_at IS NULL))";
const CALLS: &str = "
    SELECT call.job_id, call.call_no FROM generative_ai.provider_calls AS call
    WHERE call.sent_at < now() - $1 * interval '1 second'
        AND NOT EXISTS (SELECT FROM generative_ai.jobs AS job
            WHERE job.job_id = call.job_id AND job.state IN ('waiting', 'begun', 'retry_wait', 'held'))";

const ACTIONS: &str = "
    SELECT action.id FROM generative_ai.operator_actions AS action
    WHERE action.begun_at < now() - $1 * interval '1 second'";

const BUDGETS: &str = "
    SELECT budget.id FROM generative_ai.budget_periods AS budget WHERE budget.ends_at < now() - $1 * interval '1 second'";

/// What a person reads of such a job.
const GHOST: &str = "The row of this job in ac_background_jobs was deleted before the job had ended.";

/// Ends the jobs in `chosen`, as those of nobody.
macro_rules! end_ghosts {
    () => {
        "ended AS (
            UPDATE generative_ai.jobs AS job SET
                state = 'cancelled', fence = job.fence + 1, package = '', next_attempt_at = NULL, finished_at = now(),
                error_class = 'cancelled', error_message = $2, error_details = NULL
            FROM chosen WHERE job.job_id = chosen.job_id
            RETURNING job.job_id
        )"
    };
}

impl Chore {
    /// In the order in which they are done.
    pub const ALL: [Self; 8] = [
        Self::Ghosts,
        Self::Prompts,
        Self::DeadPackages,
        Self::Callbacks,
        Self::Jobs,
        Self::Calls,
        Self::Actions,
        Self::Budgets,
    ];

    /// How old has to be what it is about; `None`: it is kept for ever.
    #[must_use]
    pub fn older_than(self, retention: &Retention) -> Option<Duration> {
        match self {
            // The application's tables may be empty for a while, when they are restored say.
            Self::Ghosts => Some(Duration::from_secs(60 * 60)),
            Self::Prompts => Some(Duration::ZERO),
            Self::DeadPackages | Self::Callbacks => retention.dead,
            Self::Jobs => retention.jobs,
            Self::Calls | Self::Actions | Self::Budgets => retention.calls,
        }
    }

    /// A query for the keys of what it is about, with the age in seconds as its first value.
    fn chosen(self) -> &'static str {
        match self {
            Self::Ghosts => GHOSTS,
            Self::Prompts => PROMPTS,
            Self::DeadPackages => DEAD_PACKAGES,
            Self::Callbacks => CALLBACKS,
            Self::Jobs => JOBS,
            Self::Calls => CALLS,
            Self::Actions => ACTIONS,
            Self::Budgets => BUDGETS,
        }
    }

    /// One chunk of it.
    fn statement(self) -> String {
        let (table, oldest, done) = match self {
            Self::Ghosts => (
                "job",
                "job.begun_at",
                concat!(
                    end_ghosts!(),
                    ", given_up AS (
                        UPDATE generative_ai.provider_calls AS call SET state = 'unknown', ended_at = now(), error_details = $2
                        FROM ended WHERE call.job_id = ended.job_id AND call.state IN ('intended', 'accepted'))"
                ),
            ),
            Self::Prompts => (
                "job",
                "job.job_id",
                "ended AS (UPDATE generative_ai.jobs AS job SET package = ''
                    FROM chosen WHERE job.job_id = chosen.job_id RETURNING job.job_id)",
            ),
            Self::DeadPackages => (
                "dead",
                "dead.dead_at",
                "ended AS (DELETE FROM generative_ai.dead_packages AS dead
                    USING chosen WHERE dead.id = chosen.id RETURNING dead.id)",
            ),
            Self::Callbacks => (
                "callback",
                "callback.settled_at",
                "ended AS (DELETE FROM generative_ai.callbacks AS callback
                    USING chosen WHERE callback.id = chosen.id RETURNING callback.id)",
            ),
            Self::Jobs => (
                "job",
                "job.job_id",
                "given_up AS (UPDATE generative_ai.provider_calls AS call
                    SET state = 'unknown', ended_at = now(), error_details = 'its job was forgotten before it had ended'
                    FROM chosen WHERE call.job_id = chosen.job_id AND call.state IN ('intended', 'accepted')
                 ), ended AS (DELETE FROM generative_ai.jobs AS job
                    USING chosen WHERE job.job_id = chosen.job_id RETURNING job.job_id)",
            ),
            Self::Calls => (
                "call",
                "call.sent_at",
                "ended AS (DELETE FROM generative_ai.provider_calls AS call
                    USING chosen WHERE call.job_id = chosen.job_id AND call.call_no = chosen.call_no RETURNING call.job_id)",
            ),
            Self::Actions => (
                "action",
                "action.begun_at",
                "ended AS (DELETE FROM generative_ai.operator_actions AS action
                    USING chosen WHERE action.id = chosen.id RETURNING action.id)",
            ),
            Self::Budgets => (
                "budget",
                "budget.id",
                "ended AS (DELETE FROM generative_ai.budget_periods AS budget
                    USING chosen WHERE budget.id = chosen.id RETURNING budget.id)",
            ),
        };
        let chosen = self.chosen();
        // Its rows are looked through by their numbers, the others are found by an index.
        let (looked, among) = match self {
            Self::Jobs => (
                format!(
                    "looked AS (SELECT job_id FROM generative_ai.jobs WHERE job_id BETWEEN $2 AND $3 ORDER BY job_id LIMIT {CHUNK}), "
                ),
                "AND job.job_id IN (SELECT job_id FROM looked)",
            ),
            _ => (String::new(), ""),
        };
        let end = match self {
            Self::Jobs => {
                "(SELECT count(*) FROM looked) AS looked_at, (SELECT max(job_id) FROM looked) AS last"
            }
            _ => "(SELECT count(*) FROM chosen) AS looked_at, NULL::integer AS last",
        };
        format!(
            "WITH {looked}chosen AS ({chosen} {among} ORDER BY {oldest} LIMIT {CHUNK} FOR UPDATE OF {table} SKIP LOCKED), {done}
             SELECT (SELECT count(*) FROM ended) AS count, {end}"
        )
    }
}

impl Db {
    /// Does a chunk of a chore, of the jobs with these `numbers` where it looks through all of them.
    ///
    /// # Errors
    /// [`DbError`]; `Refused` where this account lacks a right, which a worker can do without.
    pub async fn tidy(
        &self,
        chore: Chore,
        older_than: Duration,
        numbers: &RangeInclusive<i32>,
    ) -> Result<Chunk, DbError> {
        let statement = sql_query(chore.statement()).bind::<Double, _>(older_than.as_secs_f64());
        let rows: Vec<ChunkRow> = on_connection(&self.pool, async |connection| match chore {
            Chore::Ghosts => statement.bind::<Text, _>(GHOST).load(connection).await,
            Chore::Jobs => {
                let statement = statement
                    .bind::<Integer, _>(numbers.start())
                    .bind::<Integer, _>(numbers.end());
                statement.load(connection).await
            }
            _ => statement.load(connection).await,
        })
        .await?;
        Ok(rows
            .into_iter()
            .next()
            .map_or(Chunk { count: 0, next: None }, |row| {
                let next = row
                    .last
                    .map_or(Some(*numbers.start()), |last| last.checked_add(1));
                Chunk {
                    count: row.count,
                    next: next.filter(|_| row.looked_at == CHUNK),
                }
            }))
    }

    /// Numbers of the jobs of the ledger: all of them, or the part that is looked through in this hour of Postgres's day.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn job_numbers(&self, all: bool) -> Result<RangeInclusive<i32>, DbError> {
        let select = "SELECT min(job_id) AS first, max(job_id) AS last,
                extract(hour FROM now() AT TIME ZONE 'UTC')::integer AS hour
            FROM generative_ai.jobs";
        let rows: Vec<NumbersRow> = on_connection(&self.pool, async |connection| {
            sql_query(select).load(connection).await
        })
        .await?;
        let numbers = rows.into_iter().next();
        let numbers = numbers.and_then(|row| Some((row.first?, row.last?, row.hour)));
        Ok(match numbers {
            None => RangeInclusive::new(1, 0),
            Some((first, last, _)) if all => first..=last,
            Some((first, last, hour)) => part(first..=last, hour),
        })
    }

    /// How many rows a chore is about.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn count_untidy(&self, chore: Chore, older_than: Duration) -> Result<i64, DbError> {
        let query = format!("SELECT count(*) AS count FROM ({}) AS chosen", chore.chosen());
        let select = sql_query(query).bind::<Double, _>(older_than.as_secs_f64());
        let counts: Vec<Count> =
            on_connection(&self.pool, async |connection| select.load(connection).await).await?;
        Ok(counts.into_iter().next().map_or(0, |row| row.count))
    }

    /// Ends a job whose row in `ac_background_jobs` is gone, where the ledger knows it as one that has not ended; a
    /// call of it that is open is for the caller to give up. Returns what a person reads of it, also where it was ended
    /// so before; `None`: the ledger knows nothing of it, or how it has ended.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn end_ghost(&self, job_id: i32) -> Result<Option<String>, DbError> {
        let statement = concat!(
            "WITH known AS (
                SELECT job.job_id, job.state = 'cancelled' AS is_ended FROM generative_ai.jobs AS job
                WHERE job.job_id = $1 AND job.state IN ('waiting', 'begun', 'retry_wait', 'held', 'cancelled')
                    AND NOT EXISTS (SELECT FROM ac_background_jobs AS shown_row WHERE shown_row.id = job.job_id)
                FOR UPDATE OF job
             ), chosen AS (SELECT job_id FROM known WHERE NOT is_ended), ",
            end_ghosts!(),
            " SELECT count(*) AS count FROM known"
        );
        let statement = sql_query(statement)
            .bind::<Integer, _>(job_id)
            .bind::<Text, _>(GHOST);
        let counts: Vec<Count> =
            on_connection(&self.pool, async |connection| statement.load(connection).await).await?;
        let is_ghost = counts.into_iter().any(|row| row.count > 0);
        Ok(is_ghost.then(|| GHOST.to_owned()))
    }
}

/// The part of these numbers whose turn it is in an hour of the day; all of them where there are not many.
fn part(numbers: RangeInclusive<i32>, hour: i32) -> RangeInclusive<i32> {
    let (first, last) = (i64::from(*numbers.start()), i64::from(*numbers.end()));
    let count = last - first + 1;
    if count < MANY_NUMBERS {
        return numbers;
    }
    let border = |hour: i64| i32::try_from(first + count * hour / PARTS).unwrap_or(i32::MAX);
    let hour = i64::from(hour);
    if hour + 1 == PARTS {
        return border(hour)..=*numbers.end();
    }
    border(hour)..=border(hour + 1) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_turns_looks_through_every_number_once() {
        for numbers in [1..=99_999, 7..=100_006, -5..=1_234_567, i32::MIN..=i32::MAX] {
            let parts = (0..24).map(|hour| part(numbers.clone(), hour));
            if numbers == (1..=99_999) {
                assert!(parts.into_iter().all(|part| part == numbers));
                continue;
            }
            let mut next = i64::from(*numbers.start());
            for part in parts {
                assert_eq!(i64::from(*part.start()), next);
                next = i64::from(*part.end()) + 1;
            }
            assert_eq!(next, i64::from(*numbers.end()) + 1);
        }
    }
}
