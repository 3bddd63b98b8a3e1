//! Drawing a picture: a package in, an `Ending` out.
//!
//! begin → follow an open call, use a stored picture, or buy one → record
//!
//! What is there already comes before everything that keeps a picture from being bought: pauses, limits, deadlines and attempts
//! are about purchases alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::attempt::{AtStake, Attempts, Stopped};
use super::begin::Owned;
use super::ending::{Ending, Report};
use super::ledger::JobLedger;
use super::room::{ProviderGate, Wanted};
use crate::db::{PictureRecord, Recorded};
use crate::failure::{ErrorClass, Failure};
use crate::fault;
use crate::generator::{self, ImageRequest, Progress, StoredImage};
use crate::measure::{self, Stage};
use crate::queue::{Delivery, Event};
use crate::work_package::{ImageWork, WorkPackage};

impl Attempts {
    /// Makes an image.
    pub(super) async fn make_image(
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
