//! Packages that cannot become a job's attempt: kept with their reason, and the job told where there is one.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Bytea, Integer, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::FutureExt;
use uuid::Uuid;

use super::fail::storable;
use super::statement::{Answers, Keyed, batch_statement, on_connection};
use super::{Buried, Db, DbError};
use crate::failure::Failure;

/// A package that is refused.
#[derive(Clone, Debug)]
pub struct RejectRequest {
    /// Names the row to be made; a second call with the same id changes nothing.
    pub id: Uuid,
    /// The job, where the package let one be read.
    pub job_id: Option<i32>,
    /// Whether its row gets the reason; not where it does not take it.
    pub is_shown: bool,
    /// The bytes as they were pushed.
    pub payload: Vec<u8>,
    /// Why.
    pub failure: Failure,
    /// Who refused it.
    pub worker_id: String,
    /// The queue that it came from.
    pub queue: String,
    /// To whom that is told, where the package let that be read.
    pub callback_url: Option<String>,
}

impl Keyed for RejectRequest {
    type Key = Uuid;
    fn key(&self) -> Uuid {
        self.id
    }

    fn shown_row(&self) -> Option<i32> {
        self.job_id.filter(|_| self.is_shown)
    }
}

impl Db {
    /// Keeps a refused package. A job that another package has begun, however that ended, is left as it is.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn reject(&self, request: RejectRequest) -> Result<Buried, DbError> {
        self.reject.submit(request).await
    }
}

impl Db {
    /// Has the row of a job say why its package will not be read. `false`: it says something already, or another package has begun it.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn tell_unread(&self, job_id: i32, reason: &str) -> Result<bool, DbError> {
        let update = diesel::sql_query(
            "UPDATE ac_background_jobs AS shown_row SET error = $2, updated_at = now()
             WHERE shown_row.id = $1 AND shown_row.error IS NULL AND coalesce(shown_row.progress, 0) < 100
                AND NOT EXISTS (SELECT FROM generative_ai.jobs AS job WHERE job.job_id = shown_row.id)",
        )
        .bind::<Integer, _>(job_id)
        .bind::<Text, _>(storable(reason));
        let told = on_connection(&self.pool, async |connection| update.execute(connection).await).await?;
        Ok(told > 0)
    }
}

/// One of the two statements that keep refused packages: what they say of the application's rows makes the difference.
macro_rules! reject_statement {
    ($(#[$doc:meta])* $name:ident, $ready:literal, $shown:literal) => {
        batch_statement! {
            $(#[$doc])*
            $name {
                id: Uuid as diesel::sql_types::Uuid,
                job_id: Option<i32> as Nullable<Integer>,
                payload: &'v [u8] as Bytea,
                error_class: &'v str as Text,
                reason: Cow<'v, str> as Text,
                details: Option<Cow<'v, str>> as Nullable<Text>,
                worker_id: &'v str as Text,
                queue: &'v str as Text,
                callback_url: Option<&'v str> as Nullable<Text>,
            } -> (diesel::sql_types::Uuid, Timestamptz)
            concat!("
            , ", $ready, ", kept AS (
                INSERT INTO generative_ai.dead_packages (id, job_id, payload, reason, details, error_class, attempts, worker_id)
                SELECT asked.id, asked.job_id, asked.payload, asked.reason, asked.details, asked.error_class, 0, asked.worker_id
                FROM asked JOIN ready ON ready.id = asked.id
                ON CONFLICT (id) DO NOTHING
            ), posted AS (
                INSERT INTO generative_ai.callbacks AS callback
                    (id, job_id, queue, url, origin, outcome, error_class, error_message, ended_at)
                SELECT DISTINCT ON (1)
                    generative_ai.callback_id(asked.job_id, encode(sha256(asked.payload), 'hex'), asked.callback_url),
                    asked.job_id, asked.queue, asked.callback_url, substring(asked.callback_url FROM '^[a-z]+://[^/?#]+'),
                    'dead', asked.error_class, asked.reason, now()
                FROM asked JOIN ready ON ready.id = asked.id WHERE asked.callback_url IS NOT NULL
                ON CONFLICT (id) DO UPDATE SET state = 'waiting', due_at = now(), tries = 0, settled_at = NULL
                    WHERE callback.state <> 'waiting'
            )", $shown, "
            SELECT asked.id, now() FROM asked JOIN ready ON ready.id = asked.id
            ")
        }
    };
}

reject_statement! {
    /// A job that has ever been begun under a valid package keeps its status: the wrong one was pushed beside it. So does one that is
    /// done and that the ledger has forgotten. Those whose rows others have locked are left out.
    RejectPackages,
    "told AS (
        SELECT asked.id, shown_row.id AS job_id FROM asked JOIN ac_background_jobs AS shown_row ON shown_row.id = asked.job_id
        WHERE NOT EXISTS (SELECT FROM generative_ai.jobs AS job WHERE job.job_id = shown_row.id)
            AND NOT coalesce(shown_row.progress = 100 AND shown_row.error IS NULL, false)
    ), free AS (
        SELECT shown_row.id FROM told JOIN ac_background_jobs AS shown_row ON shown_row.id = told.job_id
        FOR NO KEY UPDATE OF shown_row SKIP LOCKED
    ), ready AS (
        SELECT asked.id FROM asked LEFT JOIN told ON told.id = asked.id
        WHERE told.id IS NULL OR told.job_id IN (SELECT id FROM free)
    )",
    ", shown AS (
        UPDATE ac_background_jobs AS shown_row SET error = asked.reason, updated_at = now()
        FROM asked JOIN told ON told.id = asked.id JOIN free ON free.id = told.job_id
        WHERE shown_row.id = free.id
    )"
}

reject_statement! {
    /// The same where the job's row does not take the reason: the kept package alone has it.
    RejectUnshownPackages, "ready AS (SELECT id FROM asked)", ""
}

macro_rules! bind_all {
    ($statement:ident, $requests:expr) => {
        for request in $requests {
            $statement.id.push(request.id);
            $statement.job_id.push(request.job_id);
            $statement.payload.push(&request.payload);
            $statement.error_class.push(request.failure.class.as_str());
            $statement.reason.push(storable(&request.failure.message));
            let details = request.failure.details.as_deref();
            $statement.details.push(details.map(storable));
            $statement.worker_id.push(&request.worker_id);
            $statement.queue.push(&request.queue);
            $statement.callback_url.push(request.callback_url.as_deref());
        }
    };
}

pub(super) fn run<'c>(
    connection: &'c mut AsyncPgConnection,
    requests: &'c [RejectRequest],
) -> Answers<'c, RejectRequest, Buried> {
    async move {
        let (shown, unshown): (Vec<_>, Vec<_>) = requests.iter().partition(|request| request.is_shown);
        let mut rows: Vec<(Uuid, DateTime<Utc>)> = Vec::new();
        if !shown.is_empty() {
            let mut statement = RejectPackages::default();
            bind_all!(statement, shown);
            rows = statement.load(connection).await?;
        }
        if !unshown.is_empty() {
            let mut statement = RejectUnshownPackages::default();
            bind_all!(statement, unshown);
            let unshown: Vec<(Uuid, DateTime<Utc>)> = statement.load(connection).await?;
            rows.extend(unshown);
        }
        Ok(rows
            .into_iter()
            .map(|(id, dead_at)| {
                (
                    id,
                    Buried {
                        id,
                        attempts: 0,
                        dead_at,
                    },
                )
            })
            .collect())
    }
    .boxed()
}
