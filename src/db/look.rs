//! A look at a job before it is begun: for packages that may have to wait for room.

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

/// What comes next for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// A purchase, and nothing else.
    Purchase,
    /// An attempt, which may find that its picture is there already: an earlier one was not ended.
    Attempt,
    /// What a call has brought that is open, or nothing, as the job has ended, is held, or has no row. Beginning it finds out.
    Visit,
}

impl Keyed for LookRequest {
    type Key = i32;
    fn key(&self) -> i32 {
        self.job_id
    }
}

impl Db {
    /// What comes next for a job.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn next_of(&self, job_id: i32) -> Result<NextStep, DbError> {
        self.look.submit(LookRequest { job_id }).await
    }
}

batch_statement! {
    /// A job that waits for its next attempt has none under way, and its last one has stored nothing. One that its owner has given
    /// back, or left when it died, or that an operator has released, may have a picture that is stored and not recorded.
    LookAtJobs { job_id: i32 as Integer } -> (Integer, Nullable<Bool>)
    "
    SELECT asked.job_id, CASE
        WHEN shown_row.id IS NULL THEN NULL
        WHEN job.job_id IS NULL OR job.row_created_at <> shown_row.created_at THEN true
        WHEN call.job_id IS NOT NULL THEN NULL
        WHEN job.state = 'retry_wait' THEN true
        WHEN job.state IN ('waiting', 'begun') THEN false END
    FROM asked
    LEFT JOIN ac_background_jobs AS shown_row ON shown_row.id = asked.job_id
    LEFT JOIN generative_ai.jobs AS job ON job.job_id = asked.job_id
    LEFT JOIN generative_ai.provider_calls AS call ON call.job_id = asked.job_id AND coalesce(call.state IN ('intended', 'accepted'), false)
    "
}

pub(super) fn run<'c>(
    connection: &'c mut AsyncPgConnection,
    requests: &'c [LookRequest],
) -> Answers<'c, LookRequest, NextStep> {
    async move {
        let mut statement = LookAtJobs::default();
        statement
            .job_id
            .extend(requests.iter().map(|request| request.job_id));
        let rows: Vec<(i32, Option<bool>)> = statement.load(connection).await?;
        let next = |is_purchase| match is_purchase {
            Some(true) => NextStep::Purchase,
            Some(false) => NextStep::Attempt,
            None => NextStep::Visit,
        };
        Ok(rows
            .into_iter()
            .map(|(job_id, is_purchase)| (job_id, next(is_purchase)))
            .collect())
    }
    .boxed()
}
