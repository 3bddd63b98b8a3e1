//! The side exits of an attempt: another one later, or the end, with the reason where people look for it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use super::Shared;
use super::attempt::{LOOK_AGAIN, Owned};
use crate::db::{Buried, BuryRequest, RejectRequest, RetryRequest, Sequel};
use crate::failure::{ErrorClass, Failure};
use crate::fault;
use crate::generator::Unfinished;
use crate::measure::{self, Outcome};
use crate::queue::{DeadLetter, Delivery, Due, Event};
use crate::work_package::WorkPackage;

impl Shared {
    /// Ends an attempt that brought no picture.
    pub(super) async fn leave_off(&self, owned: &Owned<'_>, unfinished: Unfinished) {
        match unfinished {
            Unfinished::Failed(failure) => self.fail(owned, failure).await,
            Unfinished::CallGoesOn(failure) => self.fail_with(owned, failure, Sequel::Resume).await,
            Unfinished::Wait(delay) => {
                let message = "An earlier call for this picture may still bring it.";
                let failure = Failure::new(ErrorClass::Ambiguous, message);
                // Looked at a little later than whoever made the call gives up.
                self.come_back(owned, &failure, Sequel::LookAgain, delay + LOOK_AGAIN, None)
                    .await;
            }
            Unfinished::OutOfReach(delay) => {
                let message = "The image service is out of reach for a while.";
                let failure = Failure::new(ErrorClass::Overloaded, message);
                let delay = self.settings.backoff.delay(1, Some(delay), &mut rand::rng());
                self.come_back(owned, &failure, Sequel::LookAgain, delay, None)
                    .await;
            }
            Unfinished::Held(failure) => self.hold(owned, failure).await,
            Unfinished::Lost => self.look_again(owned.delivery).await,
        }
    }

    /// Decides between another attempt and the end, commits it, and moves the package accordingly.
    ///
    /// A crash between the commit and the move brings the package back, whose job says by then what is to
    /// become of it.
    pub(super) async fn fail(&self, owned: &Owned<'_>, failure: Failure) {
        self.fail_with(owned, failure, Sequel::Retry).await;
    }

    async fn fail_with(&self, owned: &Owned<'_>, failure: Failure, sequel: Sequel) {
        let job_id = owned.package.job_id;
        let attempt = owned.failed + 1;
        let max_attempts = failure.class.max_attempts(self.settings.max_attempts);
        if !failure.is_retried() || attempt >= max_attempts {
            return self.bury(owned, failure).await;
        }
        let delay = self
            .settings
            .backoff
            .delay(attempt, failure.retry_after, &mut rand::rng());
        let event = Event::retrying(job_id, attempt, &failure);
        if self.come_back(owned, &failure, sequel, delay, Some(event)).await {
            self.status.retried.fetch_add(1, Ordering::Relaxed);
            measure::ended(Outcome::Retried, Some(failure.class));
            tracing::warn!(
                error.r#type = %failure.class,
                delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                details = failure.details,
                "attempt {attempt} of {max_attempts} of job {job_id} failed, next in {delay:.1?}: {failure}"
            );
        }
    }

    /// Commits what comes next and lets the package wait for it. `false`: this replica has no say any more.
    async fn come_back(
        &self,
        owned: &Owned<'_>,
        failure: &Failure,
        sequel: Sequel,
        delay: Duration,
        event: Option<Event>,
    ) -> bool {
        let request = RetryRequest {
            job_id: owned.package.job_id,
            fence: owned.fence,
            sequel,
            delay,
            failure: failure.clone(),
        };
        match self.insist(|| self.db.retry(request.clone())).await {
            Ok(Some(_)) => {
                fault::point("retry-committed");
                self.say(owned.delivery.delay(Due::In(delay), event)).await;
                true
            }
            Ok(None) => {
                self.look_again(owned.delivery).await;
                false
            }
            Err(refused) => {
                self.bury(owned, refused).await;
                false
            }
        }
    }

    /// Leaves the job to an operator: it is whole in Postgres, and nothing of it waits in Redis.
    async fn hold(&self, owned: &Owned<'_>, failure: Failure) {
        let job_id = owned.package.job_id;
        let request = RetryRequest {
            job_id,
            fence: owned.fence,
            sequel: Sequel::Hold,
            delay: Duration::ZERO,
            failure: failure.clone(),
        };
        match self.insist(|| self.db.retry(request.clone())).await {
            Ok(Some(_)) => {
                measure::ended(Outcome::Held, Some(failure.class));
                tracing::error!(
                    error.r#type = %failure.class,
                    details = failure.details,
                    "job {job_id} is held: decide whether another picture may be bought, then run generative-ai-worker reseed --held"
                );
                self.say(owned.delivery.settle(None, None)).await;
            }
            Ok(None) => self.look_again(owned.delivery).await,
            Err(refused) => self.bury(owned, refused).await,
        }
    }

    /// Ends the job for good. When the package comes back after that, it is buried again under the same name.
    async fn bury(&self, owned: &Owned<'_>, failure: Failure) {
        let job_id = owned.package.job_id;
        let request = BuryRequest {
            job_id,
            fence: owned.fence,
            payload: owned.delivery.payload.clone(),
            failure: failure.clone(),
            worker_id: self.queue.worker_id().to_owned(),
        };
        match self.insist(|| self.db.bury(request.clone())).await {
            Ok(Some(buried)) => {
                measure::ended(Outcome::Failed, Some(failure.class));
                fault::point("dead-committed");
                tracing::warn!(
                    error.r#type = %failure.class,
                    details = failure.details,
                    "job {job_id} failed for good in attempt {}: {failure}",
                    buried.attempts
                );
                let reply_to = owned.package.reply_to.clone();
                self.put_among_the_dead(owned.delivery, Some(job_id), failure, &buried, reply_to)
                    .await;
            }
            Ok(None) => self.look_again(owned.delivery).await,
            Err(refused) => {
                tracing::error!(
                    details = refused.details,
                    "the end of job {job_id} cannot be recorded; looking again later"
                );
                self.look_again(owned.delivery).await;
            }
        }
    }

    /// The fence is used: by a new owner, or by this very call when its first answer was lost. The job's row
    /// knows which, and the package's next delivery will ask it.
    async fn look_again(&self, delivery: &Delivery) {
        self.say(delivery.delay(Due::In(LOOK_AGAIN), None)).await;
    }

    /// A package of a job that has failed for good already.
    pub(super) async fn bury_again(&self, delivery: &Delivery, package: &WorkPackage) {
        let job_id = package.job_id;
        match self.insist(|| self.db.buried(job_id)).await {
            Ok(Some((buried, class, reason, worker_id))) => {
                let event = Event::failed(Some(job_id), class, reason.clone());
                let letter = self.letter(delivery, Some(job_id), class, reason, &buried, worker_id);
                self.say(delivery.bury(letter, event, package.reply_to.clone()))
                    .await;
            }
            // What was kept of it has been purged; the job row still tells the person.
            Ok(None) => self.say(delivery.settle(None, None)).await,
            Err(refused) => {
                tracing::error!(
                    details = refused.details,
                    "the dead package of job {job_id} cannot be read; looking again later"
                );
                self.look_again(delivery).await;
            }
        }
    }

    /// Keeps a package that cannot become an attempt, with its reason.
    pub(super) async fn reject(
        &self,
        delivery: &Delivery,
        job_id: Option<i32>,
        failure: Failure,
        reply_to: Option<String>,
    ) {
        let request = RejectRequest {
            id: Uuid::new_v4(),
            job_id,
            payload: delivery.payload.clone(),
            failure: failure.clone(),
            worker_id: self.queue.worker_id().to_owned(),
        };
        match self.insist(|| self.db.reject(request.clone())).await {
            Ok(buried) => {
                measure::ended(Outcome::Rejected, Some(failure.class));
                tracing::warn!(
                    job_id,
                    details = failure.details,
                    "a package was refused: {failure}"
                );
                self.put_among_the_dead(delivery, job_id, failure, &buried, reply_to)
                    .await;
            }
            Err(refused) => {
                tracing::error!(
                    details = refused.details,
                    "a refused package cannot be recorded; looking again later"
                );
                self.look_again(delivery).await;
            }
        }
    }

    async fn put_among_the_dead(
        &self,
        delivery: &Delivery,
        job_id: Option<i32>,
        failure: Failure,
        buried: &Buried,
        reply_to: Option<String>,
    ) {
        self.status.failed.fetch_add(1, Ordering::Relaxed);
        let worker_id = self.queue.worker_id().to_owned();
        let event = Event::failed(job_id, failure.class, failure.message.clone());
        let letter = self.letter(
            delivery,
            job_id,
            failure.class,
            failure.message,
            buried,
            worker_id,
        );
        self.say(delivery.bury(letter, event, reply_to)).await;
    }

    fn letter(
        &self,
        delivery: &Delivery,
        job_id: Option<i32>,
        error_class: ErrorClass,
        reason: String,
        buried: &Buried,
        worker_id: String,
    ) -> DeadLetter {
        // A package that was refused for its size is whole in Postgres only.
        let kept = delivery.payload.len().min(self.settings.limits.max_bytes);
        DeadLetter {
            id: buried.id,
            payload: String::from_utf8_lossy(&delivery.payload[..kept]).into_owned(),
            reason,
            error_class,
            job_id,
            attempts: buried.attempts,
            worker_id,
            dead_at: buried.dead_at.timestamp_millis(),
        }
    }
}
