//! Packages that cannot become a job's attempt: kept with their reason, and the job told where there is one.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Bytea, Integer, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::FutureExt;
use uuid::Uuid;

use super::fail::storable;
use super::statement::{Answers, Keyed, batch_statement};
use super::{Buried, Db, DbError};
use crate::failure::Failure;

/// A package that is refused.
#[derive(Clone, Debug)]
pub struct RejectRequest {
    /// Names the row to be made; a second call with the same id changes nothing.
    pub id: Uuid,
    /// The job to tell, where the package let one be read.
    pub job_id: Option<i32>,
    /// The bytes as they were pushed.
    pub payload: Vec<u8>,
    /// Why.
    pub failure: Failure,
    /// Who refused it.
    pub worker_id: String,
}

impl Keyed for RejectRequest {
    type Key = Uuid;
    fn key(&self) -> Uuid {
        self.id
    }
}

impl Db {
    /// Keeps a refused package. A job that another package has begun, however that ended, is left as it is.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn reject(&self, request: RejectRequest) -> Result<Buried, DbError> {
        self.reject
            .submit(request)
            .await
            .unwrap_or_else(|| Err(DbError::lane_ended()))
    }
}

batch_statement! {
    /// A job that has ever been begun under a valid package keeps its status: the wrong one was pushed beside it.
    RejectPackages {
        id: Uuid as diesel::sql_types::Uuid,
        job_id: Option<i32> as Nullable<Integer>,
        payload: &'v [u8] as Bytea,
        error_class: &'v str as Text,
        reason: Cow<'v, str> as Text,
        details: Option<Cow<'v, str>> as Nullable<Text>,
        worker_id: &'v str as Text,
    } -> (diesel::sql_types::Uuid, Timestamptz)
    "
    , kept AS (
        INSERT INTO generative_ai.dead_packages (id, job_id, payload, reason, details, error_class, attempts, worker_id)
        SELECT asked.id, asked.job_id, asked.payload, asked.reason, asked.details, asked.error_class, 0, asked.worker_id
        FROM asked
        ON CONFLICT (id) DO NOTHING
    ), shown AS (
        UPDATE ac_background_jobs AS shown_row SET error = asked.reason, updated_at = now()
        FROM asked
        WHERE shown_row.id = asked.job_id
            AND NOT EXISTS (SELECT FROM generative_ai.jobs AS job WHERE job.job_id = shown_row.id)
    )
    SELECT asked.id, now() FROM asked
    "
}

pub(super) fn run<'c>(
    connection: &'c mut AsyncPgConnection,
    requests: &'c [RejectRequest],
) -> Answers<'c, RejectRequest, Buried> {
    async move {
        let mut statement = RejectPackages::default();
        for request in requests {
            statement.id.push(request.id);
            statement.job_id.push(request.job_id);
            statement.payload.push(&request.payload);
            statement.error_class.push(request.failure.class.as_str());
            statement.reason.push(storable(&request.failure.message));
            statement
                .details
                .push(request.failure.details.as_deref().map(storable));
            statement.worker_id.push(&request.worker_id);
        }
        let rows: Vec<(Uuid, DateTime<Utc>)> = statement.load(connection).await?;
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
