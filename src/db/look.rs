//! A look at a job before it is begun: for packages for which nothing can be bought now anyway.

use diesel::sql_types::{Bool, Integer, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::FutureExt;

use super::statement::{Answers, Keyed, batch_statement};
use super::{Db, DbError};

/// Asks about a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookRequest {
    /// Row of `ac_background_jobs`.
    pub(super) job_id: i32,
}

impl Keyed for LookRequest {
    type Key = i32;
    fn key(&self) -> i32 {
        self.job_id
    }
}

impl Db {
    /// Whether all that can come next for a job is a purchase: it has not ended, no call of it is open, and no picture of it can
    /// be stored. `false` also where there is no row of it, which beginning it will find.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn needs_purchase(&self, job_id: i32) -> Result<bool, DbError> {
        self.look.submit(LookRequest { job_id }).await
    }
}

batch_statement! {
    /// A job that waits for its next attempt has none under way, and its last one has stored nothing.
    LookAtJobs { job_id: i32 as Integer } -> (Integer, Nullable<Bool>)
    "
    SELECT asked.job_id, shown_row.id IS NOT NULL AND (
        job.job_id IS NULL
        OR job.row_created_at <> shown_row.created_at
        OR (job.state = 'retry_wait' AND call.job_id IS NULL))
    FROM asked
    LEFT JOIN ac_background_jobs AS shown_row ON shown_row.id = asked.job_id
    LEFT JOIN generative_ai.jobs AS job ON job.job_id = asked.job_id
    LEFT JOIN generative_ai.provider_calls AS call ON call.job_id = asked.job_id AND coalesce(call.state IN ('intended', 'accepted'), false)
    "
}

pub(super) fn run<'c>(
    connection: &'c mut AsyncPgConnection,
    requests: &'c [LookRequest],
) -> Answers<'c, LookRequest, bool> {
    async move {
        let mut statement = LookAtJobs::default();
        statement
            .job_id
            .extend(requests.iter().map(|request| request.job_id));
        let rows: Vec<(i32, Option<bool>)> = statement.load(connection).await?;
        // Unknown is not "yes": beginning the job tells.
        Ok(rows
            .into_iter()
            .map(|(job_id, needs)| (job_id, needs.unwrap_or_default()))
            .collect())
    }
    .boxed()
}
