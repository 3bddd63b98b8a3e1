//! Leaving a job that somebody has ended: its call is given up, its package is settled.

use super::attempt::Attempts;
use super::begin::Owned;
use super::ending::{Ending, Report};
use super::failing::refused_ending;
use crate::db::{CallError, CallNews, CallTurn};
use crate::failure::ErrorClass;
use crate::queue::{Delivery, Event};
use crate::work_package::{Work, WorkPackage};

/// Who tells the channel of events that a job was ended: it hears of it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Teller {
    /// The command that has ended it, at that moment.
    Command,
    /// The replica that finds out that nobody wants the picture any more.
    Replica,
}

impl Attempts {
    /// Ends the attempt at a job that has been cancelled while it was worked on.
    pub(super) async fn leave_cancelled(&self, owned: &Owned<'_>) -> Ending {
        let job_id = owned.package.job_id;
        if !self.drop_call(job_id).await {
            self.drop_free_call(owned).await;
        }
        let db = &self.statements.db;
        let message = match self.statements.run(|| db.job(job_id)).await {
            Ok(row) => row.and_then(|row| row.error),
            Err(_) => None,
        };
        let message = message.unwrap_or_else(|| "Cancelled.".to_owned());
        cancelled(owned.delivery, owned.package, message, Teller::Command)
    }

    /// Ends a package whose job has been cancelled before, and told of on the channel by its `teller`.
    pub(super) async fn end_cancelled(
        &self,
        delivery: &Delivery,
        package: &WorkPackage,
        message: String,
        teller: Teller,
    ) -> Ending {
        self.drop_call(package.job_id).await;
        // Where it had been begun before, its URL is told already.
        if let Err(refused) = self.want_callback(package, false).await {
            return refused_ending(delivery, refused);
        }
        cancelled(delivery, package, message, teller)
    }

    /// Tells the provider that nobody wants the picture of a cancelled job any more, where it can be told, and ends the call
    /// in the ledger. A call that nothing is known of may have been billed. `false`: there is no such call.
    async fn drop_call(&self, job_id: i32) -> bool {
        let db = &self.statements.db;
        let Ok(Some(call)) = self.statements.run(|| db.abandoned_call(job_id)).await else {
            return false;
        };
        let pipeline = self.router.pipeline();
        let handle = call
            .handle
            .or_else(|| pipeline.handle_of(&call.provider, job_id, call.reuses, call.call_no));
        let is_told = match handle {
            Some(handle) => pipeline.cancel_call(&call.provider, &handle).await == Ok(true),
            None => false,
        };
        let error = |details: &str| CallError {
            class: ErrorClass::Cancelled.as_str(),
            details: details.to_owned(),
            provider_request_id: None,
        };
        let turn = if is_told {
            CallTurn::Failed(error("the job was cancelled, and the provider was told so"))
        } else {
            CallTurn::Unknown(error(
                "the job was cancelled before its picture was recorded; it may have been drawn, and be billed",
            ))
        };
        let news = CallNews {
            job_id,
            call_no: call.call_no,
            turn,
        };
        if let Err(refused) = self.statements.run(|| db.note_call(news.clone())).await {
            tracing::error!(
                details = refused.details,
                "the end of call {} of job {job_id} cannot be recorded",
                call.call_no
            );
        }
        true
    }

    /// The same for a call that costs nothing and is in no ledger.
    async fn drop_free_call(&self, owned: &Owned<'_>) {
        let Work::CollectionImage(work) = &owned.package.work else {
            return;
        };
        let pipeline = self.router.pipeline();
        let provider = pipeline.providers().name_of(work.provider.as_deref());
        if let Some(handle) = pipeline.handle_of(provider, owned.package.job_id, owned.reuses, 0) {
            let _ = pipeline.cancel_call(provider, &handle).await;
        }
    }
}

fn cancelled(delivery: &Delivery, package: &WorkPackage, message: String, teller: Teller) -> Ending {
    let job_id = package.job_id;
    let event = Event::cancelled(job_id, message.clone());
    let event = match teller {
        Teller::Command => event.for_replies(),
        Teller::Replica => event,
    };
    Ending {
        command: Some(delivery.settle(Some(event), package.reply_to.clone())),
        report: Report::Cancelled { job_id, message },
    }
}
