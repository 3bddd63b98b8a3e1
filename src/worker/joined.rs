//! Packages of a job that is being worked on already. Such a one would only wait, and others behind it; so it is
//! settled at once, and who it names, a reply list or a URL, is told when the job ends.
//!
//! Nothing is lost with it: the job's package is in the ledger since it was begun, and the delivery that is worked on
//! is in the hash of a replica that is known to live. Where that dies, it is recovered; what Redis has lost is put
//! back from the ledger. The reply lists and URLs are kept beside the job, as many as its row can well hold; whoever comes after
//! those waits for the end of the job.

use std::time::Duration;

use super::attempt::Attempts;
use super::begin::RECHECK_AFTER;
use super::ending::{Ending, Report};
use super::upkeep::Upkeep;
use crate::db::Joined;
use crate::failure::ErrorClass;
use crate::queue::{Delivery, Due, Event};
use crate::work_package::{CallbackUrl, WorkPackage};

/// How soon a package is looked at again that more have joined the job of than may.
const FULL: Duration = Duration::from_secs(15);

impl Attempts {
    /// Settles a package whose job is being worked on. `None`: by now it is not.
    pub(super) async fn join(&self, delivery: &Delivery, package: &WorkPackage) -> Option<Ending> {
        let db = &self.statements.db;
        let begun = self.statements.run(|| db.begun_package(package.job_id)).await;
        let begun = begun
            .ok()
            .flatten()
            .and_then(|begun| WorkPackage::parse(begun.as_bytes(), &self.settings.packages).ok());
        if begun.is_some_and(|begun| begun.work.draws() != package.work.draws()) {
            // The end of that work would be no answer to it. It finds the end by itself, and is told so.
            return Some(Ending::waits(delivery.delay(Due::In(FULL), None)));
        }
        let reply_to = package.reply_to.as_deref();
        let callback_url = package.callback_url.as_ref().map(CallbackUrl::expose);
        let joined = self
            .statements
            .run(|| db.join(package.job_id, reply_to, callback_url))
            .await;
        match joined {
            Ok(Joined::Noted) => Some(Ending {
                command: Some(delivery.settle(None, None)),
                // It has not been tried: where its bytes are those of a suspect, they have survived nothing.
                report: Report::Waits(None),
            }),
            Ok(Joined::NotWorkedOn) => None,
            // It finds the end of the job by itself, and tells it.
            Ok(Joined::Full) => Some(Ending::waits(delivery.delay(Due::In(FULL), None))),
            Err(refused) => Some(Ending {
                report: Report::Refused(refused),
                ..Ending::waits(delivery.delay(Due::In(RECHECK_AFTER), None))
            }),
        }
    }
}

impl Upkeep {
    /// Tells those who have joined jobs that have ended by now. What goes wrong is done again later.
    pub(super) async fn tell_joined(&self) {
        let db = &self.statements.db;
        let mut told = Vec::new();
        for joined in db.joined_replies().await.unwrap_or_default() {
            let end = End {
                job_id: Some(joined.job_id),
                state: &joined.state,
                image_id: joined.image_id,
                image_url: joined.image_url.as_deref(),
                error_class: joined.error_class.as_deref(),
                error_message: joined.error_message.as_deref(),
            };
            let event = end.event();
            match self.queue.redis().reply(&joined.joined_replies, &event).await {
                Ok(()) => told.push(joined.job_id),
                Err(error) => self.statements.health.redis_failed(&error),
            }
        }
        if !told.is_empty()
            && let Err(error) = db.forget_replies(told).await
        {
            self.statements.health.postgres_failed(&error);
        }
    }
}

/// How a job has ended, as the ledger says.
pub(super) struct End<'a> {
    pub(super) job_id: Option<i32>,
    /// `done`, `dead` or `cancelled`.
    pub(super) state: &'a str,
    pub(super) image_id: Option<i32>,
    pub(super) image_url: Option<&'a str>,
    pub(super) error_class: Option<&'a str>,
    pub(super) error_message: Option<&'a str>,
}

impl End<'_> {
    /// Its final event.
    pub(super) fn event(&self) -> Event {
        let message = self.error_message.unwrap_or_default().to_owned();
        match (self.state, self.job_id) {
            ("done", Some(job_id)) => {
                Event::completed(job_id, self.image_id, self.image_url.map(str::to_owned))
            }
            ("cancelled", Some(job_id)) => Event::cancelled(job_id, message),
            _ => {
                let class = self.error_class.unwrap_or_default();
                let class = ErrorClass::ALL.into_iter().find(|known| known.as_str() == class);
                Event::failed(self.job_id, class.unwrap_or(ErrorClass::Internal), message)
            }
        }
    }
}
