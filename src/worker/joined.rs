//! Packages of a job that is being worked on already. Such a one would only wait, and others behind it; so it is
//! settled at once, and who it names is told when the job ends.
//!
//! Nothing is lost with it: the job's package is in the ledger since it was begun, and the delivery that is worked on
//! is in the hash of a replica that is known to live. Where that dies, it is recovered; what Redis has lost is put
//! back from the ledger. The reply lists are kept beside the job, as many as its row can well hold; whoever comes after
//! those waits for the end of the job.

use std::time::Duration;

use super::attempt::Attempts;
use super::begin::RECHECK_AFTER;
use super::ending::{Ending, Report};
use super::upkeep::Upkeep;
use crate::db::{Joined, JoinedReplies};
use crate::failure::ErrorClass;
use crate::queue::{Delivery, Due, Event};
use crate::work_package::WorkPackage;

/// How soon a package is looked at again that more have joined the job of than may.
const FULL: Duration = Duration::from_secs(15);

impl Attempts {
    /// Settles a package whose job is being worked on. `None`: by now it is not.
    pub(super) async fn join(&self, delivery: &Delivery, package: &WorkPackage) -> Option<Ending> {
        let db = &self.statements.db;
        let reply_to = package.reply_to.as_deref();
        match self.statements.run(|| db.join(package.job_id, reply_to)).await {
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
            let event = end_of(&joined);
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

fn end_of(joined: &JoinedReplies) -> Event {
    let message = joined.error_message.clone().unwrap_or_default();
    match (joined.state.as_str(), joined.image_id) {
        ("done", Some(image_id)) => Event::completed(
            joined.job_id,
            image_id,
            joined.image_url.clone().unwrap_or_default(),
        ),
        ("cancelled", _) => Event::cancelled(joined.job_id, message),
        _ => {
            let class = joined.error_class.as_deref().unwrap_or_default();
            let class = ErrorClass::ALL.into_iter().find(|known| known.as_str() == class);
            Event::failed(
                Some(joined.job_id),
                class.unwrap_or(ErrorClass::Internal),
                message,
            )
        }
    }
}
