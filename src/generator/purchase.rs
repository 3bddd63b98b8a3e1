//! Buying a picture from a provider: no money is spent before the ledger knows. Pictures that have been asked for already are
//! `follow`'s business, which comes first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use tokio::time::Instant;
use tracing::Instrument;
use uuid::Uuid;

use super::ledger::{Intent, Unfinished};
use super::meter::Meter;
use super::order::Order;
use super::{ImageRequest, Pipeline, Progress};
use crate::failure::{ErrorClass, Failure};
use crate::fault;
use crate::provider::policy::resend::{self, Verdict};
use crate::provider::{
    Call, CheckedSpec, DrawnImage, ImageProvider, NotDrawn, ProviderError, References, Watch,
};
use crate::work_package::Prompt;

/// A picture, the call that brought it (`None` where it cost nothing), and who drew it.
pub(super) struct Purchase {
    pub(super) image: DrawnImage,
    pub(super) call_no: Option<i32>,
    /// Whether the provider can be asked for the same picture again.
    pub(super) has_handle: bool,
    pub(super) order: Order,
}

/// One attempt's way to a picture.
pub(super) struct Buyer<'a> {
    pub(super) request: &'a ImageRequest<'a>,
    /// Ids of calls derive from it.
    pub(super) namespace: Uuid,
    pub(super) pipeline: &'a Pipeline,
    pub(super) progress: &'a dyn Progress,
    /// Nobody waits for the picture in this attempt any longer than this.
    pub(super) deadline: Instant,
    /// The provider is asked once and not waited for.
    pub(super) is_brief: bool,
}

/// After this long a service that lists its orders lists one, if it has taken it.
const LISTED_AFTER: Duration = Duration::from_secs(35);

/// How one provider answered.
enum Answer {
    Drawn(Purchase),
    /// It may not be asked now.
    OutOfReach(Duration),
    /// Nothing was bought, and another provider may help.
    Refused(ProviderError),
    /// What the picture is to be made from is not there, or not for this model: nothing was asked.
    Unfit(Failure),
    /// There is no money for it: nothing was asked.
    OverBudget(Unfinished),
}

impl Buyer<'_> {
    /// Asks one provider after the other for a picture that nobody has been asked for yet.
    ///
    /// A crash after an intent leaves an open call, which the next owner of the job follows up.
    ///
    /// # Errors
    /// [`Unfinished`]; nothing is bought after the package's deadline.
    pub(super) async fn purchase(&self, orders: &[Order]) -> Result<Purchase, Unfinished> {
        if self
            .request
            .buy_until
            .is_some_and(|deadline| deadline < Utc::now())
        {
            return Err(expired(self.request.billed_before).into());
        }
        let mut wait: Option<Duration> = None;
        let mut refused: Option<ProviderError> = None;
        for (index, order) in orders.iter().enumerate() {
            if index > 0 {
                let provider = order.provider.name();
                tracing::warn!(
                    provider,
                    "{provider} is asked in place of the provider that was meant"
                );
            }
            match self.ask(order).await? {
                Answer::Drawn(purchase) => return Ok(purchase),
                Answer::OutOfReach(time) => wait = Some(wait.map_or(time, |wait| wait.min(time))),
                // What the provider that was meant has said is what people are told.
                Answer::Refused(error) => refused = refused.or(Some(error)),
                Answer::Unfit(failure) if index == 0 => return Err(failure.into()),
                // No other provider is asked for want of money: that would be spent as well.
                Answer::OverBudget(over) if index == 0 => return Err(over),
                // Whoever was to help takes others than the one that was meant, or costs too much.
                Answer::Unfit(_) | Answer::OverBudget(_) => {}
            }
        }
        match (refused, wait) {
            (Some(error), _) => Err(error.into()),
            (None, wait) => Err(Unfinished::OutOfReach(wait.unwrap_or_default())),
        }
    }

    /// Asks one provider, resending what failed for a moment and for free.
    async fn ask(&self, order: &Order) -> Result<Answer, Unfinished> {
        let request = self.request;
        let provider = &*order.provider;
        let name = provider.name();
        let mut resends = 0;
        let mut refused = None;
        loop {
            let fetched = self
                .pipeline
                .references(request.work, &order.spec, self.deadline)
                .await;
            let references = match fetched {
                Ok(references) => references,
                Err(failure) => return Ok(refused.map_or(Answer::Unfit(failure), Answer::Refused)),
            };
            // Each call is counted that is made, and no other.
            if let Err(wait) = request.gate.enter(name).await {
                // An attempt that has called counts, also where others have found out meanwhile that it is of no use.
                return Ok(refused.map_or(Answer::OutOfReach(wait), Answer::Refused));
            }
            let call_no = if provider.is_free() {
                None
            } else {
                let intent = Intent {
                    provider: name,
                    model: &order.spec.model,
                    estimate_usd: provider.estimate_usd(&order.spec),
                    deadline: self.deadline,
                };
                match request.ledger.intend(intent).await {
                    Ok(call_no) => Some(call_no),
                    // What the provider that was meant has said stands, and so does what it said before.
                    Err(over @ Unfinished::OverBudget { .. }) => {
                        request.gate.not_made(name);
                        return match refused {
                            Some(error) => Ok(Answer::Refused(error)),
                            None => Ok(Answer::OverBudget(over)),
                        };
                    }
                    Err(unfinished) => return Err(unfinished),
                }
            };
            fault::point("intended");
            let calling = Calling::new(self, &order.spec, provider, call_no).with(references);
            let begun = Instant::now();
            let meter = Meter::start(order);
            let error = match provider.draw(&calling.call()).instrument(meter.span()).await {
                Ok(image) => {
                    meter.drawn(&image);
                    request
                        .gate
                        .report(name, Verdict::Well, "", begun.elapsed())
                        .await;
                    fault::point("drawn");
                    return Ok(Answer::Drawn(Purchase {
                        image,
                        call_no,
                        has_handle: calling.is_accepted.load(Ordering::Relaxed),
                        order: order.clone(),
                    }));
                }
                Err(NotDrawn::GoesOn(error)) if provider.is_free() => return Err(not_finished(error)),
                Err(NotDrawn::GoesOn(error)) => return Err(goes_on(error, begun.elapsed())),
                Err(NotDrawn::Ended(error)) => error,
            };
            meter.failed(&error);
            if let Some(call_no) = call_no {
                if error.class.rules().may_be_billed && provider.lists_orders() {
                    // Whether it was taken is known as soon as all orders are listed.
                    request
                        .gate
                        .report(name, Verdict::of(&error), &error.details, begun.elapsed())
                        .await;
                    request.ledger.unanswered(call_no, &error).await;
                    return Err(Unfinished::OthersWait(LISTED_AFTER));
                }
                if error.class.rules().may_be_billed {
                    request
                        .gate
                        .report(name, Verdict::of(&error), &error.details, begun.elapsed())
                        .await;
                    request.ledger.outcome_unknown(call_no, &error).await?;
                    return Err(error.into());
                }
                request.ledger.failed(call_no, &error).await;
            }
            let verdict = Verdict::of(&error);
            let may_resend = |faults| {
                resend::pause_before_resend(&error, resends, faults)
                    .filter(|pause| Instant::now() + *pause < self.deadline)
            };
            // A service that is busy for a second is asked again before others have to wait for it.
            let is_waited_for =
                matches!(verdict, Verdict::Busy(_)) && may_resend(request.gate.faults(name)).is_some();
            if !is_waited_for
                && let Some(wait) = request
                    .gate
                    .report(name, verdict, &error.details, begun.elapsed())
                    .await
                && verdict == Verdict::Refused
            {
                // Enough jobs have failed with this reason already.
                return Ok(Answer::OutOfReach(wait));
            }
            let pause = may_resend(request.gate.faults(name));
            let Some(pause) = pause else {
                return if error.class.rules().another_provider_may_help {
                    Ok(Answer::Refused(error))
                } else {
                    Err(error.into())
                };
            };
            resends += 1;
            let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                provider = error.provider,
                error.r#type = %error.class,
                pause_ms,
                "{error}; sending it again in {pause_ms} ms"
            );
            tokio::time::sleep(pause).await;
            refused = Some(error);
        }
    }
}

/// Nothing is bought any more, after so many calls that may have been billed.
fn expired(billed_before: u32) -> Failure {
    let message = match billed_before {
        0 => "The deadline of this job passed before its picture could be begun. Start the job again.",
        _ => {
            "The deadline of this job passed. Its picture had been asked for before, without success as far as anybody knows, and \
             is not asked for again. Start the job again."
        }
    };
    Failure::new(ErrorClass::Expired, message)
}

/// The end of an attempt whose order the provider has, `age` after it was made.
pub(super) fn goes_on(error: ProviderError, age: Duration) -> Unfinished {
    let (who, after) = (error.provider, error.retry_after);
    let order = error
        .request_id
        .as_ref()
        .map(|id| format!(" {id}"))
        .unwrap_or_default();
    let message = format!(
        "{who} has the order{order} for this picture and has not finished it yet; it is asked again."
    );
    let failure = Failure::new(error.class, message)
        .with_details(error.to_string())
        .with_retry_after(after);
    Unfinished::CallGoesOn { failure, age }
}

/// The end of an attempt at a picture that costs nothing and is not finished: drawing it again finds what has been begun. It counts,
/// as nothing else bounds how often.
fn not_finished(error: ProviderError) -> Unfinished {
    let class = match error.class.is_retried() {
        true => error.class,
        false => ErrorClass::TimedOut,
    };
    ProviderError { class, ..error }.into()
}

/// The same for every try to make a call, and for no other call.
pub(super) fn call_id(namespace: Uuid, job_id: i32, call_no: i32) -> Uuid {
    Uuid::new_v5(&namespace, format!("call {job_id}/{call_no}").as_bytes())
}

/// A service that does not know an order which is younger may know it soon, or the key is another account's by mistake.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);

/// One call under way.
pub(super) struct Calling<'a> {
    buyer: &'a Buyer<'a>,
    spec: &'a CheckedSpec,
    prompt: Prompt,
    references: References,
    id: Uuid,
    call_no: Option<i32>,
    is_accepted: AtomicBool,
    /// Whether the order is so old that a service which does not know it has forgotten it.
    may_be_forgotten: bool,
}

impl<'a> Calling<'a> {
    pub(super) fn new(
        buyer: &'a Buyer<'a>,
        spec: &'a CheckedSpec,
        provider: &dyn ImageProvider,
        call_no: Option<i32>,
    ) -> Self {
        let work = buyer.request.work;
        Self {
            buyer,
            spec,
            prompt: provider.prompt_for(&work.prompt, buyer.pipeline.suffixes().of(work.image_type)),
            references: References::default(),
            id: call_id(buyer.namespace, buyer.request.job_id, call_no.unwrap_or_default()),
            call_no,
            is_accepted: AtomicBool::new(false),
            may_be_forgotten: false,
        }
    }

    /// The same, whose picture is to be made from these.
    fn with(self, references: References) -> Self {
        Self { references, ..self }
    }

    /// The same, for a call that was made so long ago.
    pub(super) fn made(self, age: Duration) -> Self {
        Self {
            may_be_forgotten: age >= FORGOTTEN_AFTER,
            ..self
        }
    }

    pub(super) fn call(&self) -> Call<'_> {
        Call {
            id: self.id,
            prompt: &self.prompt,
            spec: self.spec,
            references: &self.references,
            deadline: self.buyer.deadline,
            is_brief: self.buyer.is_brief,
            may_be_forgotten: self.may_be_forgotten,
            watch: self,
        }
    }
}

#[async_trait]
impl Watch for Calling<'_> {
    async fn accepted(&self, handle: &str) {
        fault::point("accepted-unsaved");
        if let Some(call_no) = self.call_no {
            self.buyer.request.ledger.accepted(call_no, handle).await;
        }
        self.is_accepted.store(true, Ordering::Relaxed);
        fault::point("accepted");
    }

    fn progress(&self, fraction: f32) {
        // Between "at the provider" and "bytes in hand".
        let percent = 20.0 + fraction.clamp(0.0, 1.0) * 50.0;
        self.buyer.progress.reached(percent as u8);
    }
}

#[cfg(test)]
mod tests;
