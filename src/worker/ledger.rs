//! The worker's side of the ledger of paid calls: no lease, no spend; no fence, no spend.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::attempt::{AtStake, Attempts, Stake};
use crate::db::{CallError, CallNews, CallTurn, Charge, IntendRequest, Reservation};
use crate::failure::{ErrorClass, Failure};
use crate::generator::{Intent, Ledger, Unfinished};
use crate::measure;
use crate::provider::ProviderError;
use crate::queue::Lease;
use crate::work_package::ImageWork;

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
    pub(super) attempts: &'a Attempts,
    pub(super) job_id: i32,
    pub(super) fence: i64,
    pub(super) stake: &'a AtStake,
    pub(super) work: &'a ImageWork,
    /// What the last call has taken from budgets.
    pub(super) reserved: Mutex<Option<Reservation>>,
}

impl JobLedger<'_> {
    fn note_reserved(&self, reservation: Option<&Reservation>) {
        let mut reserved = self
            .reserved
            .lock()
            .expect("nothing panics while it holds this lock");
        *reserved = reservation.cloned();
    }

    /// Wakes what waits for the budgets of the last call, where it has cost less than was taken for it.
    pub(super) async fn give_back_spare(&self, cost_usd: Option<f64>) {
        let reserved = self
            .reserved
            .lock()
            .expect("nothing panics while it holds this lock")
            .take();
        let has_spare = |reserved: &Reservation| cost_usd.is_some_and(|cost_usd| cost_usd < reserved.usd);
        let Some(reserved) = reserved.filter(has_spare) else {
            return;
        };
        let names: Vec<String> = reserved.charges.iter().map(Charge::name).collect();
        match self.attempts.queue.budgets_have_room(&names).await {
            Ok(()) => self.attempts.alarm.set(Duration::ZERO),
            Err(error) => self.attempts.statements.health.redis_failed(&error),
        }
    }

    async fn note(&self, call_no: i32, turn: CallTurn) -> Result<i64, Failure> {
        let news = CallNews {
            job_id: self.job_id,
            call_no,
            turn,
        };
        let statements = &self.attempts.statements;
        statements.run(|| statements.db.note_call(news.clone())).await
    }

    /// Notes what an attempt need not end for, even where Postgres does not take it. Nothing is at stake after it has.
    async fn note_aside(&self, call_no: i32, turn: CallTurn) {
        match self.note(call_no, turn).await {
            Ok(_) => self.stake.set(Stake::Nothing),
            Err(refused) => tracing::error!(
                details = refused.details,
                "what became of call {call_no} of job {} cannot be recorded",
                self.job_id
            ),
        }
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
        let (lease, statements) = (&self.attempts.lease, &self.attempts.statements);
        if !lease.holds_by(intent.deadline).await {
            return Err(Unfinished::Lost);
        }
        let budgets = &self.attempts.settings.budgets;
        let who = (intent.provider, intent.model);
        let reservation = budgets
            .reservation(self.work, who, intent.estimate_usd)
            .map_err(never_paid)?;
        self.note_reserved(reservation.as_ref());
        let request = IntendRequest {
            job_id: self.job_id,
            fence: self.fence,
            worker_id: self.attempts.queue.worker_id().to_owned(),
            provider: intent.provider.to_owned(),
            model: intent.model.to_owned(),
            patience: intent.deadline.saturating_duration_since(Instant::now()),
            reservation,
        };
        self.stake.set(Stake::Intent(self.job_id));
        let intended = statements.run(|| statements.db.intend(request.clone())).await;
        let intended = intended.inspect_err(|_| self.stake.set(Stake::Nothing))?;
        if let Some(near) = &intended.near {
            tracing::warn!(budgets = near, "four fifths or more are used up of {near}");
        }
        let Some(call_no) = intended.call_no else {
            self.stake.set(Stake::Nothing);
            return Err(match intended.spent {
                Some(spent) => Unfinished::OverBudget {
                    failure: budgets.failure(&spent),
                    budget: spent.name,
                },
                None => Unfinished::Lost,
            });
        };
        // The commit may have taken long: who has no time or no lease any more does not send.
        if Instant::now() >= intent.deadline || !lease.holds() {
            let turn = CallTurn::Failed(CallError {
                class: ErrorClass::Network.as_str(),
                details: "it was never sent: Postgres had taken too long to note it".to_owned(),
                provider_request_id: None,
            });
            self.note(call_no, turn).await?;
            self.stake.set(Stake::Nothing);
            return Err(Unfinished::NotSent);
        }
        self.stake.set(Stake::Call);
        Ok(call_no)
    }

    async fn accepted(&self, call_no: i32, handle: &str) {
        self.note_aside(call_no, CallTurn::Accepted(handle.to_owned()))
            .await;
    }

    async fn is_known(&self, provider: &str, handle: &str) -> Result<bool, Unfinished> {
        let statements = &self.attempts.statements;
        let known = statements
            .run(|| statements.db.knows_handle(provider, handle))
            .await;
        Ok(known?)
    }

    async fn failed(&self, call_no: i32, error: &ProviderError) {
        self.note_aside(call_no, CallTurn::Failed(Self::call_error(error)))
            .await;
        self.give_back_spare(Some(0.0)).await;
    }

    async fn unanswered(&self, call_no: i32, error: &ProviderError) {
        self.note_aside(call_no, CallTurn::Unanswered(Self::call_error(error)))
            .await;
    }

    fn followed_too_long(&self, failure: Failure) -> Unfinished {
        match self.attempts.settings.unknown_outcome {
            UnknownOutcome::Hold => Unfinished::Held(failure),
            UnknownOutcome::Retry | UnknownOutcome::Fail => Unfinished::Failed(failure),
        }
    }

    async fn outcome_unknown(&self, call_no: i32, error: &ProviderError) -> Result<(), Unfinished> {
        let turn = CallTurn::Unknown(Self::call_error(error));
        let unknown = self.note(call_no, turn).await?;
        self.stake.set(Stake::Nothing);
        measure::UNKNOWN_OUTCOMES.count(1, &[("provider", error.provider)]);
        let policy = self.attempts.settings.unknown_outcome;
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

/// The end of an attempt for which no budget will ever do.
fn never_paid(failure: Failure) -> Unfinished {
    Unfinished::OverBudget {
        failure,
        budget: String::new(),
    }
}

/// Until when this replica may spend money.
#[derive(Clone)]
pub(super) struct LeaseWatch {
    pub(super) until: Lease,
    /// A commit that takes its time is still to be covered.
    pub(super) margin: Duration,
}

impl LeaseWatch {
    /// Whether the lease holds now.
    pub(super) fn holds(&self) -> bool {
        self.holds_for(Duration::ZERO)
    }

    /// Whether the lease holds for this time at least.
    pub(super) fn holds_for(&self, time: Duration) -> bool {
        self.until
            .borrow()
            .is_some_and(|until| Instant::now() + time < until)
    }

    /// Waits until the lease holds with a margin; `false`: it did not until `deadline`.
    async fn holds_by(&self, deadline: Instant) -> bool {
        let margin = self.margin;
        let mut until = self.until.clone();
        let holds = until.wait_for(|until| until.is_some_and(|until| Instant::now() + margin < until));
        matches!(tokio::time::timeout_at(deadline, holds).await, Ok(Ok(_)))
    }
}
