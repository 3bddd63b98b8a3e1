//! One package, from taken to settled. Of every step this says what a crash right after it leaves behind.
//!
//! take → parse → route → begin (job row) → generate (draw, prepare, store) → record (one transaction) →
//! announce and settle
//!
//! Postgres comes before Redis at every end: a package leaves Redis only after the commit that ends it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::Utc;
use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::hand::JobGuard;
use super::ledger::JobLedger;
use super::limits::ProviderGate;
use super::{Shared, suspects};
use crate::db::{BeginRequest, Begun, DbError, OpenCall, PictureRecord, Recorded};
use crate::failure::{ErrorClass, Failure};
use crate::fault;
use crate::generator::{self, ImageGenerator, ImageRequest, Progress, StoredImage};
use crate::measure::{self, Outcome, Stage};
use crate::queue::{Command, Delivery, Due, Event};
use crate::work_package::{ImageWork, Rejection, WorkPackage};

/// How soon a package whose job is in other hands is looked at again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A job that this replica owns for one attempt.
pub(super) struct Owned<'a> {
    pub(super) delivery: &'a Delivery,
    pub(super) package: &'a WorkPackage,
    pub(super) fence: i64,
    /// Attempts that have failed so far.
    pub(super) failed: u32,
    deliveries: u32,
    open_call: Option<OpenCall>,
    /// Keeps other deliveries of the job waiting until the attempt ends.
    mine: JobGuard<'a>,
}

impl Shared {
    pub(super) async fn attempt(&self, delivery: &Delivery) {
        fault::point_of("to-be-read", &delivery.payload);
        let parsed = WorkPackage::parse(&delivery.payload, &self.settings.limits);
        let package = parsed.as_ref().ok();
        let span = tracing::info_span!(
            "process",
            messaging.message.id = delivery.id,
            messaging.message.body.size = delivery.payload.len(),
            messaging.client.id = self.queue.worker_id(),
            job.id = package.map(|package| package.job_id),
            job.attempt = tracing::field::Empty,
            work.r#type = package.map(|package| package.work.type_name()),
        );
        // Boxed, as each wrapper of a future holds what it wraps, and copies it, before it runs.
        Box::pin(self.attempt_in_span(delivery, parsed))
            .instrument(span)
            .await;
    }

    // A crash from here to `begin` leaves the package in the processing hash; it is recovered when the lease ends.
    async fn attempt_in_span(&self, delivery: &Delivery, parsed: Result<WorkPackage, Rejection>) {
        let package = match parsed {
            Ok(package) => package,
            Err(rejection) => {
                let failure = Failure::new(ErrorClass::InvalidPackage, rejection.message);
                return self
                    .reject(delivery, rejection.job_id, failure, rejection.reply_to)
                    .await;
            }
        };
        let (generator, work) = match self.router.route(&package.work) {
            Ok(route) => route,
            Err(failure) => {
                return self
                    .reject(delivery, Some(package.job_id), failure, package.reply_to)
                    .await;
            }
        };
        if let Some(not_before) = package.not_before.filter(|time| *time > Utc::now()) {
            return self.say(delivery.delay(Due::At(not_before), None)).await;
        }
        // Where nobody may be asked, nothing is begun: the slot is free for others, and nothing is counted.
        if let Some(wait) = generator.out_of_reach_for(work) {
            let wait = self.settings.backoff.delay(1, Some(wait), &mut rand::rng());
            return self.say(delivery.delay(Due::In(wait), None)).await;
        }
        let provider = generator.provider_of(work);
        if !self
            .get_all_room(package.work.type_name(), provider, delivery)
            .await
        {
            return;
        }
        let beginning = self.begin_job(delivery, &package);
        if let Some(owned) = measure::stage(Stage::Begin, beginning).await {
            tracing::Span::current().record("job.attempt", owned.failed + 1);
            self.work_on(&owned, generator, work).await;
        }
    }

    /// Makes this replica the job's owner; otherwise ends the delivery as the job's state asks and returns `None`.
    ///
    /// A crash after this leaves the job held by a worker without a lease: whoever gets the package next sees
    /// that and takes over under a new fence.
    async fn begin_job<'a>(&'a self, delivery: &'a Delivery, package: &'a WorkPackage) -> Option<Owned<'a>> {
        let job_id = package.job_id;
        let Some(mine) = self.hand.reserve(job_id).await else {
            self.say(delivery.delay(Due::In(LOOK_AGAIN), None)).await;
            return None;
        };
        let mut request = Arc::new(self.request_to_begin(delivery, job_id));
        loop {
            let begun = match self.insist(|| self.db.begin(request.clone())).await {
                Ok(begun) => begun,
                Err(failure) => {
                    self.reject(delivery, Some(job_id), failure, package.reply_to.clone())
                        .await;
                    return None;
                }
            };
            match begun {
                Begun::Owned {
                    fence,
                    deliveries,
                    attempts: failed,
                    open_call,
                    ..
                } => {
                    fault::point("begun");
                    let owned = Owned {
                        delivery,
                        package,
                        fence,
                        failed,
                        deliveries,
                        open_call,
                        mine,
                    };
                    let Some(poison) = suspects::poisoned(delivery) else {
                        return Some(owned);
                    };
                    self.fail(&owned, poison).await;
                    return None;
                }
                Begun::Raced => tokio::task::yield_now().await,
                Begun::HeldBy { worker_id, fence } if self.is_gone(&worker_id).await => {
                    tracing::info!(
                        previous_worker_id = worker_id,
                        "taking over a job whose worker is gone"
                    );
                    Arc::make_mut(&mut request).replaces_fence = fence;
                }
                // The package stays, as it may be the only copy if that worker dies.
                Begun::HeldBy { .. } => {
                    self.say(delivery.delay(Due::In(LOOK_AGAIN), None)).await;
                    return None;
                }
                Begun::NotDue(delay) => {
                    self.say(delivery.delay(Due::In(delay), None)).await;
                    return None;
                }
                Begun::Done { image_id, image_url } => {
                    measure::ended(Outcome::Repeated, None);
                    let event = Event::completed(job_id, image_id, image_url);
                    self.say(delivery.settle(Some(event), package.reply_to.clone()))
                        .await;
                    return None;
                }
                // It is whole in Postgres, and comes back when an operator has decided.
                Begun::Held => {
                    measure::ended(Outcome::Repeated, None);
                    self.say(delivery.settle(None, None)).await;
                    return None;
                }
                Begun::Cancelled(message) => {
                    measure::ended(Outcome::Cancelled, Some(ErrorClass::Cancelled));
                    self.drop_call(job_id).await;
                    let event = Event::cancelled(job_id, message);
                    self.say(delivery.settle(Some(event), package.reply_to.clone()))
                        .await;
                    return None;
                }
                Begun::Dead => {
                    measure::ended(Outcome::Repeated, None);
                    self.bury_again(delivery, package).await;
                    return None;
                }
                Begun::NoSuchJob => {
                    let failure = no_such_job(job_id);
                    self.reject(delivery, Some(job_id), failure, package.reply_to.clone())
                        .await;
                    return None;
                }
            }
        }
    }

    fn request_to_begin(&self, delivery: &Delivery, job_id: i32) -> BeginRequest {
        BeginRequest {
            job_id,
            worker_id: self.queue.worker_id().to_owned(),
            package: String::from_utf8_lossy(&delivery.payload).into_owned(),
            replaces_fence: 0,
        }
    }

    /// Whether the owner of a job will never end it.
    async fn is_gone(&self, worker_id: &str) -> bool {
        let server_number = self.queue.server_number();
        // This worker itself, with the job reserved for this attempt: a begin whose answer was lost, or an
        // attempt that panicked.
        worker_id == self.queue.worker_id()
            || (self.health.trusts_leases(server_number)
                && matches!(self.queue.is_dead(worker_id, server_number).await, Ok(true)))
    }

    async fn work_on(&self, owned: &Owned<'_>, generator: &dyn ImageGenerator, work: &ImageWork) {
        let job_id = owned.package.job_id;
        if owned
            .package
            .deadline
            .is_some_and(|deadline| deadline < Utc::now())
        {
            let message =
                "The deadline of this job passed before its picture could be begun. Start the job again.";
            return self.fail(owned, Failure::new(ErrorClass::Expired, message)).await;
        }
        self.queue.publish(Event::started(job_id, owned.failed + 1));
        let ledger = JobLedger {
            shared: self,
            job_id,
            fence: owned.fence,
        };
        let gate = ProviderGate {
            shared: self,
            delivery: owned.delivery,
        };
        let request = ImageRequest {
            job_id,
            work,
            may_be_stored: owned.deliveries > 1,
            open_call: owned.open_call.clone().map(|call| generator::OpenCall {
                call_no: call.call_no,
                provider: call.provider,
                model: call.model,
                handle: call.handle,
                patience: Duration::from_millis(call.patience_ms),
            }),
            ledger: &ledger,
            gate: &gate,
            deadline: Instant::now() + self.settings.job_timeout,
        };
        fault::point_of("to-be-drawn", &owned.delivery.payload);
        let progress = self.reporter.of(job_id);
        progress.reached(10);
        // A crash before the picture is stored costs the picture; after it, the next owner finds it under its key.
        let generating = AssertUnwindSafe(generator.generate(&request, &progress)).catch_unwind();
        let generated = tokio::select! {
            generated = generating => generated,
            () = owned.mine.cancelled.cancelled() => {
                drop(progress);
                // The fence has risen: its state tells what to do with the package.
                return self.leave_cancelled(owned).await;
            }
        };
        // From here on nothing more is told of progress: the next event is the end.
        drop(progress);
        match generated {
            Ok(Ok(image)) => self.complete(owned, work, image).await,
            Ok(Err(unfinished)) => self.leave_off(owned, unfinished).await,
            Err(_) => {
                let message = "This service stumbled over the job. Start the job again; an operator finds the reason in the log.";
                self.fail(owned, Failure::new(ErrorClass::Internal, message))
                    .await;
            }
        }
    }

    /// Records the picture, then settles. A crash between the two brings the package back, whose job is done by
    /// then: it is announced and settled again.
    async fn complete(&self, owned: &Owned<'_>, work: &ImageWork, image: StoredImage) {
        let job_id = owned.package.job_id;
        let record = Arc::new(PictureRecord {
            job_id,
            user_id: work.user_id,
            urls: image.urls,
            object_keys: image.object_keys,
            bucket: image.bucket,
            provenance_mark: image.mark.map(|mark| mark.as_str()),
            provider: image.provider,
            model: image.model,
            provider_request_id: image.request_id,
            usage: image.usage,
            cost: image.cost.map(|cost| (cost.usd, cost.basis.as_str())),
            call_no: image.call_no,
        });
        self.hand.free_slot_to_record(&owned.delivery.id);
        let recording = self.record(owned, &record);
        let (image_id, image_url) = match measure::stage(Stage::Record, recording).await {
            Ok(Some(recorded)) => recorded,
            Ok(None) => return self.leave_cancelled(owned).await,
            Err(failure) => return self.fail(owned, failure).await,
        };
        measure::ended(Outcome::Completed, None);
        fault::point("recorded");
        self.status.completed.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            image_id,
            gen_ai.provider.name = record.provider,
            gen_ai.request.model = record.model,
            cost_usd = record.cost.map(|(usd, _)| usd),
            "job {job_id} is done: image {image_id}"
        );
        let event = Event::completed(job_id, image_id, image_url);
        self.say(owned.delivery.settle(Some(event), owned.package.reply_to.clone()))
            .await;
        fault::point("settled");
    }

    /// Row and URL of the image; `None`: somebody has ended the job. What Postgres has lost is begun again, as the picture is
    /// there and need not be made again: recording it needs no fence.
    async fn record(
        &self,
        owned: &Owned<'_>,
        picture: &Arc<PictureRecord>,
    ) -> Result<Option<(i32, String)>, Failure> {
        loop {
            match self.insist(|| self.db.record(picture.clone())).await? {
                Recorded::Image { image_id, image_url } => return Ok(Some((image_id, image_url))),
                Recorded::Ended => return Ok(None),
                Recorded::NotBegun => {}
            }
            tracing::warn!(
                "Postgres has lost that this job was begun; it is begun again for the picture that is there"
            );
            let request = Arc::new(self.request_to_begin(owned.delivery, picture.job_id));
            if let Begun::NoSuchJob = self.insist(|| self.db.begin(request.clone())).await? {
                return Err(no_such_job(picture.job_id));
            }
        }
    }

    /// Runs a statement until Postgres has answered it. An outage is waited out with the package in hand; a stop
    /// ends the wait from outside.
    ///
    /// # Errors
    /// When Postgres refuses the values, as a failure of this service that another attempt would not mend.
    pub(super) async fn insist<T, F>(&self, statement: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, DbError>>,
    {
        let mut pause = PAUSE;
        loop {
            match statement().await {
                Ok(value) => return Ok(value),
                Err(error) if error.is_transient() => {
                    self.health.postgres_failed(&error.to_string());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => {
                    let message =
                        "This service could not record the job. An operator finds the reason in the log.";
                    return Err(Failure::new(ErrorClass::Internal, message)
                        .with_details(error.to_string())
                        .finally());
                }
            }
        }
    }

    /// Tells Redis until it has heard. A crash before that is repaired by the package's next delivery.
    pub(super) async fn say(&self, command: Command) {
        let due = match &command {
            Command::Delay {
                due: Due::In(delay), ..
            } => Some(*delay),
            Command::Delay { due: Due::At(_), .. } => Some(Duration::ZERO),
            _ => None,
        };
        self.suspect.ends(&command);
        let command = Arc::new(command);
        let saying = async {
            let mut pause = PAUSE;
            let mut heard = self.queue.run(command.clone());
            // The next package is claimed after this has been heard, with the same round trip.
            if let Some(id) = command.delivery() {
                self.hand.free_slot_to_end(id);
            }
            while let Err(error) = heard.await {
                self.health.redis_failed(&error);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                heard = self.queue.run(command.clone());
            }
        };
        measure::stage(Stage::Settle, saying).await;
        if let Some(due) = due {
            self.alarm.set(due);
        }
    }
}

fn no_such_job(job_id: i32) -> Failure {
    let message = format!("jobId: there is no row {job_id} in ac_background_jobs");
    Failure::new(ErrorClass::InvalidPackage, message)
}
