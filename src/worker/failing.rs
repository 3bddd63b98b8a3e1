//! The side exits of an attempt: it goes on later, is tried again, or the job has failed for good, with the reason where people
//! look for it.

use std::time::Duration;

use uuid::Uuid;

use super::attempt::Attempts;
use super::begin::{Owned, RECHECK_AFTER};
use super::ending::{Ending, Report};
use super::room::Wanted;
use crate::db::{Buried, BuryRequest, DbError, RejectRequest, RetryRequest, Sequel};
use crate::failure::{Attempts as Counted, BreakerInput, ErrorClass, Failure};
use crate::fault;
use crate::generator::Unfinished;
use crate::queue::{Command, DeadLetter, Delivery, Due, Event};
use crate::work_package::CallbackUrl;

/// Between two times that a provider is asked about a call which goes on: at first, and at the most.
const SHORTEST_VISIT_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_VISIT_PAUSE: Duration = Duration::from_secs(60);
/// How soon a package is looked at again whose end the ledger does not take.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

impl Attempts {
    /// Ends an attempt that brought no picture.
    pub(super) async fn leave_unfinished(
        &self,
        owned: &Owned<'_>,
        wanted: &Wanted<'_>,
        unfinished: Unfinished,
    ) -> Ending {
        let (failure, delay) = match unfinished {
            Unfinished::Failed(failure) => return self.fail(owned, wanted, failure).await,
            Unfinished::Held(failure) => return self.hold(owned, failure).await,
            Unfinished::OverBudget { failure, budget } => {
                return self.leave_over_budget(owned, wanted, failure, &budget).await;
            }
            Unfinished::Lost => return recheck(owned.delivery),
            Unfinished::OutOfReach(delay) => {
                let message = "The image service is out of reach for a while.";
                let failure = Failure::new(ErrorClass::Overloaded, message);
                return self.wait_for_provider(owned, wanted, failure, delay, None).await;
            }
            // The longer it has gone on, the less often it is asked about.
            Unfinished::CallGoesOn { failure, age } => {
                let pause = (age / 10).clamp(SHORTEST_VISIT_PAUSE, LONGEST_VISIT_PAUSE);
                let asked = failure.retry_after.map(|asked| asked.min(LONGEST_VISIT_PAUSE));
                (failure, asked.unwrap_or(pause))
            }
            Unfinished::OthersWait(delay) => {
                let message = "An earlier call for this picture may still bring it.";
                // Looked at a little later than whoever made the call gives up.
                (
                    Failure::new(ErrorClass::Ambiguous, message),
                    delay + RECHECK_AFTER,
                )
            }
            Unfinished::NotSent => {
                let message = "Postgres was too slow for a call to be made; it is made later.";
                (Failure::new(ErrorClass::Internal, message), Duration::ZERO)
            }
        };
        let why = (!owned.is_visit())
            .then(|| format!("job {} goes on in {delay:.1?}: {failure}", owned.package.job_id));
        if let Err(ending) = self.commit(owned, &failure, Sequel::Wait, delay).await {
            return ending;
        }
        Ending {
            report: Report::Waits(why),
            ..Ending::waits(owned.delivery.delay(Due::In(delay), None))
        }
    }

    /// Decides between another attempt and the end, commits it, and moves the package accordingly.
    ///
    /// A crash between the commit and the move brings the package back, whose job says by then what is to
    /// become of it.
    pub(super) async fn fail(&self, owned: &Owned<'_>, wanted: &Wanted<'_>, failure: Failure) -> Ending {
        let job_id = owned.package.job_id;
        let attempt = owned.failed + 1;
        if failure.is_retried() && failure.class.rules().attempts == Counted::Uncounted {
            let event = Event::retrying(job_id, attempt, &failure);
            let delay = failure.retry_after.unwrap_or_default();
            return self
                .wait_for_provider(owned, wanted, failure, delay, Some(event))
                .await;
        }
        let max_attempts = failure.class.max_attempts(self.settings.max_attempts);
        if !failure.is_retried() || attempt >= max_attempts {
            return self.bury(owned, failure).await;
        }
        // A wait that a provider has asked for is the provider's: it holds for all, and ends for all. So does that for one that is
        // broken: what has failed of it goes on when it is well again, and not when a time is over.
        let is_broken = failure.class.rules().breaker == BreakerInput::Fault && self.room.is_shut_to(wanted);
        let is_providers = failure.retry_after.is_some() || is_broken;
        let backoff = |asked| self.settings.backoff.delay(attempt, asked, &mut rand::rng());
        let mut delay = backoff(failure.retry_after);
        let due_in = if is_providers { Duration::ZERO } else { delay };
        if let Err(ending) = self.commit(owned, &failure, Sequel::Retry, due_in).await {
            return ending;
        }
        let event = Event::retrying(job_id, attempt, &failure);
        let command = if is_providers && !self.room.admit(wanted, owned.delivery).await {
            self.queue.publish(event);
            None
        } else {
            if is_providers {
                // The provider may be called by now: somebody has ended its wait.
                delay = backoff(None);
            }
            Some(owned.delivery.delay(Due::In(delay), Some(event)))
        };
        Ending {
            command,
            report: Report::Retried {
                job_id,
                attempt,
                max_attempts,
                delay,
                failure,
            },
        }
    }

    /// Leaves the job until a provider may be called: parked under it, or for a moment where it may be called by now,
    /// no longer than `delay`.
    async fn wait_for_provider(
        &self,
        owned: &Owned<'_>,
        wanted: &Wanted<'_>,
        failure: Failure,
        delay: Duration,
        event: Option<Event>,
    ) -> Ending {
        if let Err(ending) = self.commit(owned, &failure, Sequel::Wait, Duration::ZERO).await {
            return ending;
        }
        let job_id = owned.package.job_id;
        let report = match event {
            Some(_) => Report::Delayed { job_id, failure },
            None => Report::Waits(None),
        };
        if !self.room.admit(wanted, owned.delivery).await {
            if let Some(event) = event {
                self.queue.publish(event);
            }
            return Ending {
                command: None,
                report,
            };
        }
        // Somebody has ended the wait that the attempt was told of.
        let delay = delay.min(self.settings.backoff.delay(1, None, &mut rand::rng()));
        let command = Some(owned.delivery.delay(Due::In(delay), event));
        Ending { command, report }
    }

    /// Leaves the job until its budget opens, parked under it, or ends it where it is not to wait.
    async fn leave_over_budget(
        &self,
        owned: &Owned<'_>,
        wanted: &Wanted<'_>,
        failure: Failure,
        budget: &str,
    ) -> Ending {
        if !failure.is_retried() {
            return self.fail(owned, wanted, failure).await;
        }
        // A crash after this leaves the package in the processing hash, whose next delivery asks for its money again.
        if let Err(ending) = self.commit(owned, &failure, Sequel::Wait, Duration::ZERO).await {
            return ending;
        }
        let job_id = owned.package.job_id;
        let event = Event::retrying(job_id, owned.failed + 1, &failure);
        let wait = failure.retry_after.unwrap_or_default();
        let park = || self.queue.park_for_budget(owned.delivery, budget, wait, &event);
        self.statements.health.until_redis_answers(park).await;
        Ending {
            command: None,
            report: Report::Waits(Some(format!("job {job_id} waits for its budget: {failure}"))),
        }
    }

    /// Commits what comes next.
    ///
    /// # Errors
    /// How the attempt ends where this replica may not decide it, or Postgres does not take it.
    async fn commit(
        &self,
        owned: &Owned<'_>,
        failure: &Failure,
        sequel: Sequel,
        delay: Duration,
    ) -> Result<(), Ending> {
        let request = RetryRequest {
            job_id: owned.package.job_id,
            fence: owned.fence,
            sequel,
            delay,
            failure: failure.clone(),
        };
        let db = &self.statements.db;
        match self.statements.run(|| db.retry(request.clone())).await {
            Ok(Some(_)) => {
                fault::point("retry-committed");
                Ok(())
            }
            Ok(None) => Err(recheck(owned.delivery)),
            Err(refused) => Err(self.bury(owned, refused).await),
        }
    }

    /// Leaves the job to an operator: it is whole in Postgres, and nothing of it waits in Redis.
    async fn hold(&self, owned: &Owned<'_>, failure: Failure) -> Ending {
        if let Err(ending) = self.commit(owned, &failure, Sequel::Hold, Duration::ZERO).await {
            return ending;
        }
        let job_id = owned.package.job_id;
        Ending {
            command: Some(owned.delivery.settle(None, None)),
            report: Report::Held { job_id, failure },
        }
    }

    /// Ends the job for good. When the package comes back after that, it is buried again under the same name.
    pub(super) async fn bury(&self, owned: &Owned<'_>, failure: Failure) -> Ending {
        let job_id = owned.package.job_id;
        let mut request = BuryRequest {
            job_id,
            fence: owned.fence,
            payload: owned.delivery.payload.clone(),
            failure: failure.clone(),
            worker_id: self.queue.worker_id().to_owned(),
            is_shown: true,
        };
        let db = &self.statements.db;
        let mut result = self.run_on_row(owned.delivery, || db.bury(request.clone())).await;
        if let Err(refused) = &result {
            report_unshown(job_id, refused);
            request.is_shown = false;
            result = self.statements.run(|| db.bury(request.clone())).await;
        }
        match result {
            Ok(Some(buried)) => {
                fault::point("dead-committed");
                if owned.package.callback_url.is_some() {
                    self.callbacks_due.notify_one();
                }
                let reply_to = owned.package.reply_to.clone();
                Ending {
                    command: Some(self.dead_letter(
                        owned.delivery,
                        Some(job_id),
                        &failure,
                        &buried,
                        reply_to,
                    )),
                    report: Report::Failed {
                        job_id,
                        attempts: buried.attempts,
                        failure,
                    },
                }
            }
            Ok(None) => recheck(owned.delivery),
            Err(refused) => refused_ending(owned.delivery, refused),
        }
    }

    /// Runs a statement about the row that the application sees; while that is locked, the delivery's slot is free.
    pub(super) async fn run_on_row<T, F>(
        &self,
        delivery: &Delivery,
        statement: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, DbError>>,
    {
        let step_aside = || self.in_hand.free_slot_to_wait(&delivery.id);
        self.statements.run_beside(step_aside, statement).await
    }

    /// Keeps a package that cannot become an attempt, with its reason.
    pub(super) async fn reject(
        &self,
        delivery: &Delivery,
        job_id: Option<i32>,
        failure: Failure,
        reply_to: Option<String>,
        callback_url: Option<CallbackUrl>,
    ) -> Ending {
        let mut request = RejectRequest {
            id: Uuid::new_v4(),
            job_id,
            is_shown: job_id.is_some(),
            payload: delivery.payload.clone(),
            failure: failure.clone(),
            worker_id: self.queue.worker_id().to_owned(),
            queue: self.queue.redis().keys().inbox().to_owned(),
            callback_url: callback_url.map(|url| url.expose().to_owned()),
        };
        let db = &self.statements.db;
        let mut result = self.run_on_row(delivery, || db.reject(request.clone())).await;
        if let (Err(refused), Some(job_id)) = (&result, job_id) {
            report_unshown(job_id, refused);
            request.is_shown = false;
            result = self.statements.run(|| db.reject(request.clone())).await;
        }
        if request.callback_url.is_some() {
            self.callbacks_due.notify_one();
        }
        match result {
            Ok(buried) => Ending {
                command: Some(self.dead_letter(delivery, job_id, &failure, &buried, reply_to)),
                report: Report::Rejected { job_id, failure },
            },
            Err(refused) => refused_ending(delivery, refused),
        }
    }

    fn dead_letter(
        &self,
        delivery: &Delivery,
        job_id: Option<i32>,
        failure: &Failure,
        buried: &Buried,
        reply_to: Option<String>,
    ) -> Command {
        let worker_id = self.queue.worker_id().to_owned();
        let event = Event::failed(job_id, failure.class, failure.message.clone());
        let reason = failure.message.clone();
        let letter = self.letter(
            &delivery.payload,
            job_id,
            failure.class,
            reason,
            buried,
            worker_id,
        );
        delivery.bury(letter, event, reply_to)
    }

    pub(super) fn letter(
        &self,
        payload: &[u8],
        job_id: Option<i32>,
        error_class: ErrorClass,
        reason: String,
        buried: &Buried,
        worker_id: String,
    ) -> DeadLetter {
        // A package that was refused for its size is whole in Postgres only.
        let kept = payload.len().min(self.settings.packages.max_bytes);
        DeadLetter {
            id: buried.id,
            payload: String::from_utf8_lossy(&payload[..kept]).into_owned(),
            reason,
            error_class,
            job_id,
            attempts: buried.attempts,
            worker_id,
            dead_at: buried.dead_at.timestamp_millis(),
        }
    }
}

/// The fence is used: by a new owner, or by this very statement when its first answer was lost. The job's row
/// knows which, and the package's next delivery will ask it.
pub(super) fn recheck(delivery: &Delivery) -> Ending {
    Ending::waits(delivery.delay(Due::In(RECHECK_AFTER), None))
}

fn report_unshown(job_id: i32, refused: &Failure) {
    tracing::error!(
        details = refused.details,
        "the row of job {job_id} does not take the reason of its failure; the dead letter has it"
    );
}

/// Not even the ledger takes it, so nothing of it may be forgotten here.
pub(super) fn refused_ending(delivery: &Delivery, refused: Failure) -> Ending {
    Ending {
        report: Report::Refused(refused),
        ..Ending::waits(delivery.delay(Due::In(REFUSED_PAUSE), None))
    }
}
