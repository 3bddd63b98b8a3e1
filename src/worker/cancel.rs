//! Leaving a job that somebody has ended: its call is given up, its package is settled.

use super::Shared;
use super::attempt::Owned;
use crate::db::{CallError, CallNews, CallTurn};
use crate::failure::ErrorClass;
use crate::measure::{self, Outcome};
use crate::queue::Event;

impl Shared {
    /// Ends the attempt at a job that has been cancelled while it was in hand.
    pub(super) async fn leave_cancelled(&self, owned: &Owned<'_>) {
        let job_id = owned.package.job_id;
        measure::ended(Outcome::Cancelled, Some(ErrorClass::Cancelled));
        if !self.drop_call(job_id).await {
            self.drop_free_call(owned).await;
        }
        let message = match self.insist(|| self.db.job(job_id)).await {
            Ok(row) => row.and_then(|row| row.error),
            Err(_) => None,
        };
        let message = message.unwrap_or_else(|| "Cancelled.".to_owned());
        tracing::info!("job {job_id} is left: {message}");
        let event = Event::cancelled(job_id, message);
        self.say(owned.delivery.settle(Some(event), owned.package.reply_to.clone()))
            .await;
    }

    /// Tells the provider that nobody wants the picture of a cancelled job any more, where it can be told, and ends the call
    /// in the ledger. A call that nothing is known of may have been billed. `false`: there is no such call.
    pub(super) async fn drop_call(&self, job_id: i32) -> bool {
        let Ok(Some(call)) = self.insist(|| self.db.abandoned_call(job_id)).await else {
            return false;
        };
        let handle = call
            .handle
            .or_else(|| self.router.handle_of(&call.provider, job_id, call.call_no));
        let is_told = match handle {
            Some(handle) => self.router.cancel_call(&call.provider, &handle).await == Ok(true),
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
            CallTurn::Unknown(error("the job was cancelled while the provider was drawing"))
        };
        let news = CallNews {
            job_id,
            call_no: call.call_no,
            turn,
        };
        if let Err(refused) = self.insist(|| self.db.note_call(news.clone())).await {
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
        let Ok((generator, work)) = self.router.route(&owned.package.work) else {
            return;
        };
        let Some(provider) = generator.providers_of(work).into_iter().next() else {
            return;
        };
        if let Some(handle) = self.router.handle_of(provider, owned.package.job_id, 0) {
            let _ = self.router.cancel_call(provider, &handle).await;
        }
    }
}
