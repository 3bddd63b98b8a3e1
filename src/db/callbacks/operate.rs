//! What operators see of the outbox, and do with it.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Double, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::statement::on_connection;
use super::super::{Db, DbError};

/// A row of the outbox.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName, Deserialize)]
pub struct CallbackRow {
    /// The same for the same end and URL.
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    pub id: Uuid,
    /// The job; `None`: none could be read from a package that was refused.
    #[diesel(sql_type = Nullable<Integer>)]
    pub job_id: Option<i32>,
    /// Where; whoever shows it leaves out what may be secret.
    #[diesel(sql_type = Text)]
    pub url: String,
    /// `waiting`, `delivered`, `failed` or `superseded`.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// `done`, `dead` or `cancelled`.
    #[diesel(sql_type = Text)]
    pub outcome: String,
    /// When the job ended.
    #[diesel(sql_type = Timestamptz)]
    pub ended_at: DateTime<Utc>,
    /// Tries so far.
    #[diesel(sql_type = Integer)]
    pub tries: i32,
    /// When it is tried next, where it waits.
    #[diesel(sql_type = Timestamptz)]
    pub due_at: DateTime<Utc>,
    /// When it was delivered or given up.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub settled_at: Option<DateTime<Utc>>,
    /// Of the last answer.
    #[diesel(sql_type = Nullable<Integer>)]
    pub last_status: Option<i32>,
    /// Why the last try told nobody.
    #[diesel(sql_type = Nullable<Text>)]
    pub last_error: Option<String>,
}

/// How many wait and have failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, QueryableByName)]
#[serde(rename_all = "camelCase")]
pub struct CallbackCounts {
    /// Those that are to be told.
    #[diesel(sql_type = BigInt)]
    pub waiting: i64,
    /// How long ago the job of the oldest of them ended, in seconds; 0 where none waits.
    #[diesel(sql_type = Double)]
    pub oldest_s: f64,
    /// Those that were given up.
    #[diesel(sql_type = BigInt)]
    pub failed: i64,
}

/// Which rows of the outbox a command is about, besides the queue's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallbackChoice {
    /// Beginnings of ids. Where neither these nor jobs are named, all are meant.
    pub ids: Vec<String>,
    /// Jobs.
    pub job_ids: Vec<i32>,
    /// Only those that were given up.
    pub failed: bool,
    /// Also those that were delivered or superseded.
    pub with_settled: bool,
}

const COLUMNS: &str =
    "id, job_id, url, state, outcome, ended_at, tries, due_at, settled_at, last_status, last_error";

const CHOSEN: &str = "queue = $1 AND (state = 'failed' OR (state = 'waiting' AND NOT $4) OR $5)
    AND ((cardinality($2) = 0 AND cardinality($3) = 0) OR job_id = ANY ($3)
        OR EXISTS (SELECT FROM unnest($2) AS beginning WHERE starts_with(id::text, beginning)))";

/// The parameters that [`CHOSEN`] has in common with whatever stands around it.
macro_rules! bound {
    ($query:expr, $queue:expr, $choice:expr) => {
        sql_query($query)
            .bind::<Text, _>($queue)
            .bind::<Array<Text>, _>(&$choice.ids)
            .bind::<Array<Integer>, _>(&$choice.job_ids)
            .bind::<Bool, _>($choice.failed)
            .bind::<Bool, _>($choice.with_settled)
    };
}

impl Db {
    /// The chosen ones, the latest first.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn callbacks(
        &self,
        queue: &str,
        choice: &CallbackChoice,
        most: i64,
    ) -> Result<Vec<CallbackRow>, DbError> {
        let query = format!(
            "SELECT {COLUMNS} FROM generative_ai.callbacks WHERE {CHOSEN} ORDER BY ended_at DESC, id LIMIT $6"
        );
        let select = bound!(query, queue, choice).bind::<BigInt, _>(most);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }

    /// Has the chosen ones tried again, as if for the first time. What is being tried at this moment is left alone. Returns how many.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn retry_callbacks(&self, queue: &str, choice: &CallbackChoice) -> Result<usize, DbError> {
        let query = format!(
            "UPDATE generative_ai.callbacks SET state = 'waiting', tries = 0, due_at = now(), settled_at = NULL
             WHERE {CHOSEN} AND coalesce(leased_until <= now(), true)"
        );
        let update = bound!(query, queue, choice);
        on_connection(&self.pool, async |connection| update.execute(connection).await).await
    }

    /// Forgets the chosen ones: nobody is told. Returns how many.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn drop_callbacks(&self, queue: &str, choice: &CallbackChoice) -> Result<usize, DbError> {
        let query = format!("DELETE FROM generative_ai.callbacks WHERE {CHOSEN}");
        let delete = bound!(query, queue, choice);
        on_connection(&self.pool, async |connection| delete.execute(connection).await).await
    }

    /// How many of this queue wait and have failed.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn callback_counts(&self, queue: &str) -> Result<CallbackCounts, DbError> {
        let select = sql_query(COUNTS).bind::<Text, _>(queue);
        let rows: Vec<CallbackCounts> =
            on_connection(&self.pool, async |connection| select.load(connection).await).await?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }
}

/// Of the queue `$1`.
pub(in crate::db) const COUNTS: &str = "
    SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(ended_at)), 0)::double precision AS oldest_s,
        (SELECT count(*) FROM generative_ai.callbacks WHERE queue = $1 AND state = 'failed') AS failed
    FROM generative_ai.callbacks WHERE queue = $1 AND state = 'waiting'";

/// Of the job `$1`, in the order in which they came.
pub(in crate::db) const OF_JOB: &str = "
    SELECT id, job_id, url, state, outcome, ended_at, tries, due_at, settled_at, last_status, last_error
    FROM generative_ai.callbacks WHERE job_id = $1 ORDER BY ended_at, id";
