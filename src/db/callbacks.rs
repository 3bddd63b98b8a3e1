//! The outbox of ends that are posted to a `callbackUrl`: who wants to be told, what is due, and what came of a try.
//!
//! The rows are made by a trigger of `generative_ai.jobs`, in the statement that ends the job. What is due is claimed for a time, so that a
//! replica that dies loses none.

mod operate;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz};
use diesel::{OptionalExtension, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use std::time::Duration;
use uuid::Uuid;

use super::fail::storable;
use super::statement::{Count, on_connection};
use super::{Db, DbError};

pub(super) use operate::{COUNTS, OF_JOB};
pub use operate::{CallbackChoice, CallbackCounts, CallbackRow};

/// A try takes 15 s at the most, and what comes of it is written down at once.
const LEASE_S: i32 = 30;

/// An end that is to be posted now.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct DueCallback {
    /// The same for the same end and URL.
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    pub id: Uuid,
    /// The job; `None`: none could be read from a package that was refused.
    #[diesel(sql_type = Nullable<Integer>)]
    pub job_id: Option<i32>,
    /// Where.
    #[diesel(sql_type = Text)]
    pub url: String,
    /// Its scheme, host and port.
    #[diesel(sql_type = Text)]
    pub origin: String,
    /// `done`, `dead` or `cancelled`.
    #[diesel(sql_type = Text)]
    pub outcome: String,
    /// Of one that is done.
    #[diesel(sql_type = Nullable<Integer>)]
    pub image_id: Option<i32>,
    /// Its public URL.
    #[diesel(sql_type = Nullable<Text>)]
    pub image_url: Option<String>,
    /// Of one that is not.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_class: Option<String>,
    /// Why.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_message: Option<String>,
    /// When the job ended.
    #[diesel(sql_type = Timestamptz)]
    pub ended_at: DateTime<Utc>,
    /// The trace of the package that asked, as its header has it.
    #[diesel(sql_type = Nullable<Text>)]
    pub traceparent: Option<String>,
    /// Tries before this one.
    #[diesel(sql_type = Integer)]
    pub tries: i32,
    /// Nobody else has it until then.
    #[diesel(sql_type = Timestamptz)]
    leased_until: DateTime<Utc>,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackSequel {
    /// It is told.
    Delivered,
    /// It is tried again after this time, unless the job has ended anew meanwhile.
    Again(Duration),
    /// It is left to operators.
    Failed,
}

#[derive(QueryableByName)]
struct State {
    #[diesel(sql_type = Text)]
    state: String,
}

/// Columns of what is told, from a row of `generative_ai.jobs` and a URL.
macro_rules! end_of_job {
    () => {
        "generative_ai.callback_id(job.job_id, extract(epoch FROM job.finished_at)::text, $2), job.job_id, job.row_created_at,
            coalesce(job.queue, $3), $2, substring($2 FROM '^[a-z]+://[^/?#]+'),
            job.state, job.image_id, job.image_url, job.error_class, job.error_message, job.finished_at, $5"
    };
}

impl Db {
    /// Has the end of a job told to a URL: when it ends, or now where it has ended. `again`: also where that URL has been told of this end
    /// already. `false`: the ledger does not know the job.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn want_callback(
        &self,
        job_id: i32,
        url: &str,
        queue: &str,
        traceparent: Option<&str>,
        again: bool,
    ) -> Result<bool, DbError> {
        // Locked, so that it does not end between the two.
        let update = sql_query(concat!(
            "WITH job AS (
                SELECT * FROM generative_ai.jobs WHERE job_id = $1 FOR NO KEY UPDATE
             ), kept AS (
                UPDATE generative_ai.jobs AS kept SET callback_urls = kept.callback_urls || $2, traceparent = $5
                FROM job WHERE kept.job_id = job.job_id AND job.state NOT IN ('done', 'dead', 'cancelled')
                    AND NOT coalesce($2 = ANY (kept.callback_urls), false)
             ), told AS (
                INSERT INTO generative_ai.callbacks AS callback
                    (id, job_id, row_created_at, queue, url, origin, outcome, image_id, image_url, error_class, error_message, ended_at,
                     traceparent)
                SELECT ",
            end_of_job!(),
            " FROM job WHERE job.state IN ('done', 'dead', 'cancelled') AND job.finished_at IS NOT NULL
                ON CONFLICT (id) DO UPDATE SET state = 'waiting', due_at = now(), tries = 0, settled_at = NULL
                    WHERE $4 AND callback.state <> 'waiting'
             )
             SELECT count(*) AS count FROM job"
        ))
        .bind::<Integer, _>(job_id)
        .bind::<Text, _>(url)
        .bind::<Text, _>(queue)
        .bind::<Bool, _>(again)
        .bind::<Nullable<Text>, _>(traceparent);
        let rows: Vec<Count> =
            on_connection(&self.pool, async |connection| update.load(connection).await).await?;
        Ok(rows.iter().any(|row| row.count > 0))
    }

    /// Has an end told of a job that the ledger has forgotten, and of which the application's row says that it is done.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn tell_forgotten(
        &self,
        job_id: i32,
        url: &str,
        queue: &str,
        traceparent: Option<&str>,
        image: (Option<i32>, Option<&str>),
    ) -> Result<(), DbError> {
        let insert = sql_query(
            "INSERT INTO generative_ai.callbacks AS callback (id, job_id, queue, url, origin, outcome, image_id, image_url, ended_at, traceparent)
             SELECT generative_ai.callback_id($1, 'image ' || coalesce($4::integer, 0), $2), $1, $3, $2, substring($2 FROM '^[a-z]+://[^/?#]+'), 'done',
                $4, $5, now(), $6
             ON CONFLICT (id) DO UPDATE SET state = 'waiting', due_at = now(), tries = 0, settled_at = NULL
                WHERE callback.state <> 'waiting'",
        )
        .bind::<Integer, _>(job_id)
        .bind::<Text, _>(url)
        .bind::<Text, _>(queue)
        .bind::<Nullable<Integer>, _>(image.0)
        .bind::<Nullable<Text>, _>(image.1)
        .bind::<Nullable<Text>, _>(traceparent);
        on_connection(&self.pool, async |connection| insert.execute(connection).await)
            .await
            .map(|_| ())
    }

    /// Claims what is due for these origins, no more of each than there is room for. Of a job and a URL only the first end that is not
    /// told yet, so that ends arrive in their order.
    ///
    /// # Errors
    /// [`DbError`]; what was claimed and lost on the way is due again after 30 s.
    pub async fn due_callbacks(
        &self,
        queue: &str,
        room: &[(String, i32)],
    ) -> Result<Vec<DueCallback>, DbError> {
        on_connection(&self.pool, async |connection| {
            claim(connection, queue, room).await
        })
        .await
    }

    /// Writes down what came of a try. Returns the state that the row has now; `None`: it is not the caller's any more.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn settle_callback(
        &self,
        due: &DueCallback,
        sequel: &CallbackSequel,
        status: Option<u16>,
        why: Option<&str>,
    ) -> Result<Option<String>, DbError> {
        let (state, pause) = match sequel {
            CallbackSequel::Delivered => ("delivered", Duration::ZERO),
            CallbackSequel::Again(pause) => ("waiting", *pause),
            CallbackSequel::Failed => ("failed", Duration::ZERO),
        };
        let update = sql_query(
            "WITH chosen AS (
                SELECT callback.id, CASE WHEN $3 = 'waiting' AND EXISTS (SELECT FROM generative_ai.callbacks AS later
                    WHERE later.job_id = callback.job_id AND later.row_created_at IS NOT DISTINCT FROM callback.row_created_at
                        AND later.url = callback.url AND later.ended_at > callback.ended_at) THEN 'superseded' ELSE $3 END AS state
                FROM generative_ai.callbacks AS callback
                WHERE callback.id = $1 AND callback.leased_until = $2 AND callback.state = 'waiting' FOR NO KEY UPDATE
             )
             UPDATE generative_ai.callbacks AS callback SET
                state = chosen.state, tries = callback.tries + 1, leased_until = NULL, due_at = now() + $4 * interval '1 millisecond',
                settled_at = CASE WHEN chosen.state <> 'waiting' THEN now() END, last_status = $5, last_error = $6
             FROM chosen WHERE callback.id = chosen.id
             RETURNING callback.state",
        )
        .bind::<diesel::sql_types::Uuid, _>(due.id)
        .bind::<Timestamptz, _>(due.leased_until)
        .bind::<Text, _>(state)
        .bind::<BigInt, _>(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
        .bind::<Nullable<Integer>, _>(status.map(i32::from))
        .bind::<Nullable<Text>, _>(why.map(storable));
        let row: Option<State> = on_connection(&self.pool, async |connection| {
            update.get_result(connection).await.optional()
        })
        .await?;
        Ok(row.map(|row| row.state))
    }
}

pub(super) async fn claim(
    connection: &mut AsyncPgConnection,
    queue: &str,
    room: &[(String, i32)],
) -> Result<Vec<DueCallback>, DbError> {
    let (origins, free): (Vec<&str>, Vec<i32>) =
        room.iter().map(|(origin, free)| (origin.as_str(), *free)).unzip();
    let update = sql_query(
        "WITH chosen AS (
            SELECT due.id FROM unnest($2, $3) AS room(origin, free) CROSS JOIN LATERAL (
                SELECT callback.id FROM generative_ai.callbacks AS callback
                WHERE callback.queue = $1 AND callback.origin = room.origin AND callback.state = 'waiting' AND callback.due_at <= now()
                    AND coalesce(callback.leased_until <= now(), true)
                    AND NOT EXISTS (SELECT FROM generative_ai.callbacks AS earlier
                        WHERE earlier.job_id = callback.job_id AND earlier.row_created_at IS NOT DISTINCT FROM callback.row_created_at
                            AND earlier.url = callback.url AND earlier.state = 'waiting' AND earlier.ended_at < callback.ended_at)
                ORDER BY callback.due_at LIMIT room.free FOR NO KEY UPDATE OF callback SKIP LOCKED
            ) AS due
         )
         UPDATE generative_ai.callbacks AS callback SET leased_until = now() + $4 * interval '1 second'
         FROM chosen WHERE callback.id = chosen.id
         RETURNING callback.id, callback.job_id, callback.url, callback.origin, callback.outcome, callback.image_id, callback.image_url,
            callback.error_class, callback.error_message, callback.ended_at, callback.traceparent, callback.tries, callback.leased_until",
    )
    .bind::<Text, _>(queue)
    .bind::<Array<Text>, _>(origins)
    .bind::<Array<Integer>, _>(free)
    .bind::<Integer, _>(LEASE_S);
    Ok(update.load(connection).await?)
}
