//! The worker's side of the ledger of paid calls: no lease, no spend; no fence, no spend.

use async_trait::async_trait;
use tokio::time::Instant;

use super::Shared;
use crate::db::{CallError, CallNews, CallTurn, IntendRequest};
use crate::failure::{ErrorClass, Failure};
use crate::generator::{Intent, Ledger, Unfinished};
use crate::measure;
use crate::provider::ProviderError;

/// What happens to a paid call whose outcome nobody knows (`UNKNOWN_OUTCOME`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownOutcome {
    /// Another picture is bought, once per job.
    Retry,
    /// The job waits for an operator.
    Hold,
    /// The job has failed.
    Fail,
}

/// The ledger of one attempt.
pub(super) struct JobLedger<'a> {
    pub(super) shared: &'a Shared,
    pub(super) job_id: i32,
    pub(super) fence: i64,
}

impl JobLedger<'_> {
    async fn note(&self, call_no: i32, turn: CallTurn) -> Result<i64, Failure> {
        let news = CallNews {
            job_id: self.job_id,
            call_no,
            turn,
        };
        self.shared
            .insist(|| self.shared.db.note_call(news.clone()))
            .await
    }

    fn call_error(error: &ProviderError) -> CallError {
        CallError {
            class: error.class.as_str(),
            details: error.details.clone(),
            provider_request_id: error.request_id.clone(),
        }
    }
}

#[async_trait]
impl Ledger for JobLedger<'_> {
    async fn intend(&self, intent: Intent<'_>) -> Result<i32, Unfinished> {
        self.shared
            .lease_holds(intent.deadline)
            .await
            .ok_or(Unfinished::Lost)?;
        let request = IntendRequest {
            job_id: self.job_id,
            fence: self.fence,
            worker_id: self.shared.queue.worker_id().to_owned(),
            provider: intent.provider.to_owned(),
            model: intent.model.to_owned(),
            patience: intent.deadline.saturating_duration_since(Instant::now()),
        };
        self.shared
            .insist(|| self.shared.db.intend(request.clone()))
            .await?
            .ok_or(Unfinished::Lost)
    }

    async fn accepted(&self, call_no: i32, handle: &str) {
        if let Err(refused) = self.note(call_no, CallTurn::Accepted(handle.to_owned())).await {
            tracing::error!(
                details = refused.details,
                "the handle of call {call_no} of job {} cannot be recorded",
                self.job_id
            );
        }
    }

    async fn failed(&self, call_no: i32, error: &ProviderError) {
        let turn = CallTurn::Failed(Self::call_error(error));
        if let Err(refused) = self.note(call_no, turn).await {
            tracing::error!(
                details = refused.details,
                "the end of call {call_no} of job {} cannot be recorded",
                self.job_id
            );
        }
    }

    async fn outcome_unknown(&self, call_no: i32, error: &ProviderError) -> Result<(), Unfinished> {
        let turn = CallTurn::Unknown(Self::call_error(error));
        let unknown = self.note(call_no, turn).await?;
        measure::UNKNOWN_OUTCOMES.count(1, &[("provider", error.provider)]);
        let policy = self.shared.settings.unknown_outcome;
        tracing::warn!(
            call_no,
            unknown,
            provider = error.provider,
            details = error.details,
            "nobody knows what a paid call for job {} has brought; it may have been billed",
            self.job_id
        );
        let failure = || {
            let message = format!(
                "{} was asked for the picture and gave no answer. Nobody knows whether it made one, so it is not asked \
                 again by itself. Start the job again in some minutes.",
                error.provider
            );
            Failure::new(ErrorClass::UnknownOutcome, message).with_details(error.details.clone())
        };
        match policy {
            UnknownOutcome::Retry if unknown <= 1 => Ok(()),
            UnknownOutcome::Retry | UnknownOutcome::Fail => Err(Unfinished::Failed(failure())),
            UnknownOutcome::Hold => Err(Unfinished::Held(failure())),
        }
    }
}

impl Shared {
    /// Waits until this replica's lease holds with a margin, so that a commit which takes its time is still covered.
    /// `None`: it did not until `deadline`.
    async fn lease_holds(&self, deadline: Instant) -> Option<()> {
        let margin = self.settings.lease_ttl / 4;
        let mut lease = self.lease.get()?.clone();
        let holds = lease.wait_for(|until| until.is_some_and(|until| Instant::now() + margin < until));
        tokio::time::timeout_at(deadline, holds).await.ok()?.ok()?;
        Some(())
    }
}
