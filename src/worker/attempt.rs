//! One package, from taken to its end. Of every step this says what a crash right after it leaves behind.
//!
//! parse → match the work → begin: what has become of the job? → follow an open call, use a stored picture, or buy one → record
//!
//! What is there already comes before everything that keeps a picture from being bought: pauses, limits, deadlines and attempts
//! are about purchases alone.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tracing::Instrument;

use super::begin::Owned;
use super::ending::{Ending, Report};
use super::in_hand::InHand;
use super::ledger::{JobLedger, LeaseWatch};
use super::progress::Reporter;
use super::room::{ProviderGate, Room, Wanted};
use super::statements::Statements;
use super::upkeep::Alarm;
use super::{AttemptSettings, suspects};
use crate::db::{PictureRecord, Recorded};
use crate::failure::{ErrorClass, Failure};
use crate::fault;
use crate::generator::{self, ImageRequest, Progress, StoredImage};
use crate::measure::{self, Stage};
use crate::plain_text::one_line;
use crate::queue::{Delivery, Event, Queue};
use crate::removal::Remover;
use crate::router::Router;
use crate::work_package::{ImageWork, NearMiss, Rejection, WORK_TYPES, Work, WorkPackage};

/// What attempts need, all of a replica's alike.
pub(super) struct Attempts {
    pub(super) settings: AttemptSettings,
    pub(super) queue: Queue,
    pub(super) statements: Statements,
    pub(super) router: Arc<Router>,
    pub(super) remover: Remover,
    pub(super) room: Arc<Room>,
    pub(super) in_hand: Arc<InHand>,
    pub(super) reporter: Reporter,
    pub(super) lease: LeaseWatch,
    /// Set for when packages may be woken.
    pub(super) alarm: Arc<Alarm>,
    /// Rung when the end of a job is to be posted.
    pub(super) callbacks_due: Arc<Notify>,
}

/// What would be lost if an attempt were dropped where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stake {
    /// Nothing: it has bought nothing, or what it has ordered can be asked for again by its id.
    Nothing,
    /// Nothing but a row: the intent of a call for this job is on its way to Postgres, and the call is not made yet.
    Intent(i32),
    /// What a call costs: it is open and has no id, or its picture is not recorded yet.
    Call,
}

/// What is at stake in one attempt at every moment. Whoever waits for a change looks after each step of the attempt.
pub(super) struct AtStake(Mutex<Stake>);

impl AtStake {
    /// An attempt that has not begun.
    pub(super) fn nothing() -> Self {
        Self(Mutex::new(Stake::Nothing))
    }

    fn lock(&self) -> MutexGuard<'_, Stake> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    pub(super) fn now(&self) -> Stake {
        *self.lock()
    }

    pub(super) fn set(&self, stake: Stake) {
        *self.lock() = stake;
    }
}

/// Why the work of an attempt has not come to its end.
pub(super) enum Stopped {
    /// Somebody has ended the job.
    Cancelled,
    /// It has panicked.
    Broken(Failure),
}

impl Attempts {
    /// Makes an attempt at a package. `stake` says at every moment whether it may be dropped.
    pub(super) async fn attempt(&self, delivery: &Delivery, stake: &AtStake) -> Ending {
        fault::point_of("to-be-read", &delivery.payload);
        let parsed = WorkPackage::parse(&delivery.payload, &self.settings.packages);
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
        Box::pin(self.route(delivery, parsed, stake))
            .instrument(span)
            .await
    }

    // A crash from here to `begin` leaves the package in the processing hash; it is recovered when the lease ends.
    async fn route(
        &self,
        delivery: &Delivery,
        parsed: Result<WorkPackage, Rejection>,
        stake: &AtStake,
    ) -> Ending {
        let package = match parsed {
            Ok(package) => package,
            Err(rejection) => {
                note_near_misses(rejection.job_id, &rejection.near_misses);
                let failure = Failure::new(ErrorClass::InvalidPackage, rejection.message);
                return self
                    .reject(
                        delivery,
                        rejection.job_id,
                        failure,
                        rejection.reply_to,
                        rejection.callback_url,
                    )
                    .await;
            }
        };
        match &package.work {
            Work::CollectionImage(work) => self.make_image(delivery, &package, work, stake).await,
            Work::DeleteImage(work) => self.delete_image(delivery, &package, work).await,
            Work::Unknown(name) => {
                let failure = unknown_type(name);
                self.reject(
                    delivery,
                    Some(package.job_id),
                    failure,
                    package.reply_to,
                    package.callback_url,
                )
                .await
            }
        }
    }

    /// Makes an image.
    async fn make_image(
        &self,
        delivery: &Delivery,
        package: &WorkPackage,
        work: &ImageWork,
        stake: &AtStake,
    ) -> Ending {
        let wanted = Wanted {
            work_type: package.work.type_name(),
            providers: self.router.pipeline().providers_for(work),
        };
        match self.take_up(delivery, package, &wanted).await {
            Ok(owned) => self.work_on(&owned, work, &wanted, stake).await,
            Err(ending) => ending,
        }
    }

    /// Begins a job of any type, unless all that could be done now is what may not be done now: to buy, or to begin.
    ///
    /// # Errors
    /// The ending that the job's state asks for, or that the package waits, or that it is poison.
    pub(super) async fn take_up<'a>(
        &'a self,
        delivery: &'a Delivery,
        package: &'a WorkPackage,
        wanted: &Wanted<'_>,
    ) -> Result<Owned<'a>, Ending> {
        if (package.not_before.is_some() || self.room.is_in_doubt(wanted))
            && self.needs_purchase(package.job_id).await
        {
            if let Some(time) = package.not_before
                && self.room.waits_until(time, delivery).await
            {
                return Err(Ending::parked());
            }
            if !self.room.admit(wanted, delivery).await {
                return Err(Ending::parked());
            }
        }
        let owned = measure::stage(Stage::Begin, self.begin(delivery, package)).await?;
        tracing::Span::current().record("job.attempt", owned.failed + 1);
        if let Some(poison) = suspects::poisoned(delivery) {
            return Err(self.bury(&owned, poison).await);
        }
        if !owned.is_visit() {
            if owned.deliveries == 1 {
                note_near_misses(Some(package.job_id), &package.near_misses);
            }
            self.queue
                .publish(Event::started(package.job_id, owned.failed + 1));
        }
        Ok(owned)
    }

    /// Runs the work of an attempt to its end.
    ///
    /// # Errors
    /// [`Stopped`]: somebody has ended the job, or the work has panicked.
    pub(super) async fn unless_stopped<T>(
        &self,
        owned: &Owned<'_>,
        work: impl Future<Output = T>,
    ) -> Result<T, Stopped> {
        tokio::select! {
            done = AssertUnwindSafe(work).catch_unwind() => done.map_err(|_| {
                let message = "This service stumbled over the job. Start the job again; an operator finds the reason in the log.";
                Stopped::Broken(Failure::new(ErrorClass::Internal, message))
            }),
            // The fence has risen: the job's state says what becomes of the package.
            () = owned.job.cancelled.cancelled() => Err(Stopped::Cancelled),
        }
    }

    async fn needs_purchase(&self, job_id: i32) -> bool {
        let needs = self
            .statements
            .run(|| self.statements.db.needs_purchase(job_id))
            .await;
        // What Postgres refuses to answer it will refuse to begin, with a reason that is kept.
        needs.unwrap_or(false)
    }

    async fn work_on(
        &self,
        owned: &Owned<'_>,
        work: &ImageWork,
        wanted: &Wanted<'_>,
        stake: &AtStake,
    ) -> Ending {
        let job_id = owned.package.job_id;
        let ledger = JobLedger {
            attempts: self,
            job_id,
            fence: owned.fence,
            stake,
            work,
            reserved: Mutex::default(),
        };
        let gate = ProviderGate {
            room: &self.room,
            delivery: owned.delivery,
        };
        let request = ImageRequest {
            job_id,
            reuses: owned.reuses,
            work,
            may_be_stored: owned.deliveries > 1,
            open_call: owned.open_call.clone().map(|call| generator::OpenCall {
                call_no: call.call_no,
                provider: call.provider,
                model: call.model,
                handle: call.handle,
                patience: Duration::from_millis(call.patience_ms),
                age: Duration::from_millis(call.age_ms),
            }),
            billed_before: owned.billed,
            ledger: &ledger,
            gate: &gate,
            patience: self.settings.job_timeout,
            buy_until: owned.package.deadline,
        };
        fault::point_of("to-be-drawn", &owned.delivery.payload);
        let progress = self.reporter.of(job_id);
        progress.reached(10);
        // A crash before the picture is stored costs the picture, unless the provider knows it by an id; after it, the next owner
        // finds it under its key.
        let generating = self.router.generator(work).generate(&request, &progress);
        let generated = self.unless_stopped(owned, generating).await;
        // From here on no more progress is shown: the next event is the end.
        drop(progress);
        match generated {
            Ok(Ok(image)) => {
                let cost_usd = image.cost.map(|cost| cost.usd);
                let ending = self.complete(owned, wanted, work, image).await;
                ledger.give_back_spare(cost_usd).await;
                ending
            }
            Ok(Err(unfinished)) => self.leave_unfinished(owned, wanted, unfinished).await,
            Err(Stopped::Cancelled) => self.leave_cancelled(owned).await,
            Err(Stopped::Broken(failure)) => self.fail(owned, wanted, failure).await,
        }
    }

    /// Records the picture. A crash before the package is settled brings it back, whose job is done by then: that is announced
    /// and settled.
    async fn complete(
        &self,
        owned: &Owned<'_>,
        wanted: &Wanted<'_>,
        work: &ImageWork,
        image: StoredImage,
    ) -> Ending {
        let job_id = owned.package.job_id;
        let picture = Arc::new(PictureRecord {
            job_id,
            reuses: owned.reuses,
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
        self.in_hand.free_slot_to_record(&owned.delivery.id);
        let recording = self.record(owned, &picture);
        let (image_id, image_url) = match measure::stage(Stage::Record, recording).await {
            Ok(Some(recorded)) => recorded,
            Ok(None) => {
                self.keep_picture(&picture).await;
                return self.leave_cancelled(owned).await;
            }
            Err(mut failure) => {
                if self.keep_picture(&picture).await && failure.class == ErrorClass::Internal {
                    failure
                        .message
                        .push_str(" Its picture is kept, and will be used then.");
                }
                return self.fail(owned, wanted, failure).await;
            }
        };
        fault::point("recorded");
        if owned.package.callback_url.is_some() {
            self.callbacks_due.notify_one();
        }
        let event = Event::completed(job_id, image_id, image_url);
        Ending {
            command: Some(owned.delivery.settle(Some(event), owned.package.reply_to.clone())),
            report: Report::Completed {
                job_id,
                image_id,
                picture,
            },
        }
    }

    /// Keeps what the ledger can take of a picture that is not recorded. `false`: Postgres refuses that too.
    async fn keep_picture(&self, picture: &PictureRecord) -> bool {
        let db = &self.statements.db;
        let kept = self.statements.run(|| db.keep_picture(picture)).await;
        if let Err(refused) = &kept {
            tracing::error!(
                details = refused.details,
                object_keys = ?picture.object_keys,
                "a picture of job {} is stored and cannot be noted",
                picture.job_id
            );
        }
        kept.is_ok()
    }

    /// Row and URL of the image; `None`: somebody has ended the job. What Postgres has lost is begun again, as the picture is
    /// there and need not be made again: recording it needs no fence.
    async fn record(
        &self,
        owned: &Owned<'_>,
        picture: &Arc<PictureRecord>,
    ) -> Result<Option<(i32, String)>, Failure> {
        loop {
            let db = &self.statements.db;
            match self
                .run_on_row(owned.delivery, || db.record(picture.clone()))
                .await?
            {
                Recorded::Image { image_id, image_url } => return Ok(Some((image_id, image_url))),
                Recorded::Ended => return Ok(None),
                Recorded::NotBegun => {}
            }
            tracing::warn!(
                "Postgres has lost that this job was begun; it is begun again for the picture that is there"
            );
            self.begin_again(owned.delivery, picture.job_id).await?;
        }
    }
}

fn unknown_type(name: &str) -> Failure {
    let name: String = name.chars().take(80).collect();
    Failure::new(
        ErrorClass::InvalidPackage,
        format!(
            "Unknown type for workPackage: {name}; this version knows {}",
            WORK_TYPES.join(" and ")
        ),
    )
}

/// Says what a package asks for under a name that nobody reads, and counts it.
fn note_near_misses(job_id: Option<i32>, near_misses: &[NearMiss]) {
    for NearMiss { found, meant } in near_misses {
        measure::MISSPELLED.count(1, &[("field", *meant)]);
        let of = job_id.map_or_else(
            || "a package".to_owned(),
            |job_id| format!("the package of job {job_id}"),
        );
        let found = one_line(found, 80);
        tracing::warn!(
            job_id,
            "{of} has the field {found}, which nobody reads; did you mean {meant}?"
        );
    }
}
