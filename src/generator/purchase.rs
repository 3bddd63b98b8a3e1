//! Getting a picture from a provider: no money is spent before the ledger knows, and none while a picture that
//! has been asked for may still come.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use super::ledger::{Intent, OpenCall, Unfinished};
use super::meter::Meter;
use super::studio::Order;
use super::{ImageRequest, Progress};
use crate::failure::ErrorClass;
use crate::fault;
use crate::provider::policy::Verdict;
use crate::provider::{
    Call, CheckedSpec, DrawnImage, ImageProvider, ProviderError, Providers, Watch, fallback, policy,
};
use crate::work_package::Prompt;

/// A picture, the call that brought it (`None` where it cost nothing), and who drew it.
pub(super) struct Purchase {
    pub(super) image: DrawnImage,
    pub(super) call_no: Option<i32>,
    pub(super) order: Order,
}

/// One attempt's way to a picture.
pub(super) struct Buyer<'a> {
    pub(super) request: &'a ImageRequest<'a>,
    pub(super) namespace: Uuid,
    pub(super) progress: &'a dyn Progress,
}

/// What waits for a provider is parked before it is begun. An attempt that has begun comes back so soon to be parked with the others.
const PARKED_AFTER: Duration = Duration::from_secs(1);

/// How one provider answered.
enum Answer {
    Drawn(DrawnImage, Option<i32>),
    /// It may not be asked now.
    OutOfReach(Duration),
    /// Nothing was bought, and another provider may help.
    Refused(ProviderError),
}

impl Buyer<'_> {
    /// Takes up what an earlier attempt has begun, or asks one provider after the other.
    ///
    /// A crash after an intent leaves an open call, which the next owner of the job waits for, asks for again by its
    /// handle, or gives up as unknown.
    pub(super) async fn purchase(
        &self,
        orders: &[Order],
        providers: &Providers,
    ) -> Result<Purchase, Unfinished> {
        if let Some(open) = &self.request.open_call {
            let order = order_of(open, orders, providers);
            self.request.gate.only_waits().await;
            if let Some(purchase) = self.take_up(open, &order).await? {
                return Ok(purchase);
            }
            // A call without time would end as one more whose outcome nobody knows.
            if Instant::now() >= self.request.deadline {
                let error = ProviderError {
                    provider: order.provider.name(),
                    class: ErrorClass::TimedOut,
                    details: "waiting for the picture of an earlier call has taken all of this attempt"
                        .to_owned(),
                    request_id: None,
                    retry_after: None,
                };
                return Err(error.into());
            }
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
                Answer::Drawn(image, call_no) => {
                    return Ok(Purchase {
                        image,
                        call_no,
                        order: order.clone(),
                    });
                }
                Answer::OutOfReach(time) => wait = Some(wait.map_or(time, |wait| wait.min(time))),
                // What the provider that was meant has said is what people are told.
                Answer::Refused(error) => refused = refused.or(Some(error)),
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
        let mut resends = 0;
        let mut refused = None;
        loop {
            // Each call is counted that is made, and no other.
            if let Err(wait) = request.gate.enter(provider.name()).await {
                // An attempt that has called counts, also where others have found out meanwhile that it is of no use.
                return Ok(refused.map_or(Answer::OutOfReach(wait.min(PARKED_AFTER)), Answer::Refused));
            }
            let begun = Instant::now();
            let call_no = if provider.is_free() {
                None
            } else {
                let intent = Intent {
                    provider: provider.name(),
                    model: &order.spec.model,
                    deadline: request.deadline,
                };
                Some(request.ledger.intend(intent).await?)
            };
            fault::point("intended");
            let calling = Calling::new(self, &order.spec, provider, call_no);
            let meter = Meter::start(order);
            let mut error = match provider.draw(&calling.call()).await {
                Ok(image) => {
                    meter.drawn(&image);
                    request
                        .gate
                        .report(provider.name(), Verdict::Well, begun.elapsed())
                        .await;
                    fault::point("drawn");
                    return Ok(Answer::Drawn(image, call_no));
                }
                Err(error) => error,
            };
            meter.failed(&error);
            let report = async || {
                let verdict = Verdict::of(&error);
                request
                    .gate
                    .report(provider.name(), verdict, begun.elapsed())
                    .await
            };
            // A service that is busy for a second is asked again before others have to wait for it.
            let is_busy = error.class == ErrorClass::RateLimited;
            let mut shut = if is_busy { None } else { report().await };
            let faults = request.gate.faults(provider.name());
            let pause = policy::pause_before_resend(&error, resends, faults)
                .filter(|pause| Instant::now() + *pause < request.deadline);
            if is_busy && pause.is_none() {
                shut = report().await;
                error.retry_after = Some(PARKED_AFTER);
            }
            if let Some(call_no) = call_no {
                if is_unknown(error.class) {
                    request.ledger.outcome_unknown(call_no, &error).await?;
                    return Err(error.into());
                }
                request.ledger.failed(call_no, &error).await;
            }
            if let Some(wait) = shut
                && matches!(error.class, ErrorClass::Auth | ErrorClass::Quota)
            {
                // Enough jobs have failed with this reason already.
                return Ok(Answer::OutOfReach(wait.min(PARKED_AFTER)));
            }
            let Some(pause) = pause else {
                return if fallback::may_help(error.class) {
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

    /// Follows up a call that an earlier attempt has left open. `None`: it is over, and another may be made.
    async fn take_up(&self, open: &OpenCall, order: &Order) -> Result<Option<Purchase>, Unfinished> {
        let ledger = self.request.ledger;
        let provider = &*order.provider;
        // Another provider than the one that was asked when the configuration has changed meanwhile.
        let is_same = provider.name() == open.provider;
        let handle = open.handle.clone().filter(|_| is_same).or_else(|| {
            is_same
                .then(|| provider.handle_of(call_id(self.namespace, self.request.job_id, open.call_no)))
                .flatten()
        });
        let error = match handle {
            Some(handle) => {
                let calling = Calling::new(self, &order.spec, provider, Some(open.call_no));
                tracing::info!(
                    call_no = open.call_no,
                    "asking again for a picture that is being made"
                );
                match provider.resume(&handle, &calling.call()).await {
                    Ok(image) => {
                        Meter::of_resumed(order).drawn(&image);
                        fault::point("drawn");
                        return Ok(Some(Purchase {
                            image,
                            call_no: Some(open.call_no),
                            order: order.clone(),
                        }));
                    }
                    Err(error) => error,
                }
            }
            None if !open.patience.is_zero() => return Err(Unfinished::Wait(open.patience)),
            None => ProviderError {
                provider: provider.name(),
                class: ErrorClass::Ambiguous,
                details: "whoever had asked for the picture was gone before it came".to_owned(),
                request_id: None,
                retry_after: None,
            },
        };
        match error.class {
            ErrorClass::Network | ErrorClass::Overloaded | ErrorClass::RateLimited | ErrorClass::Auth => {
                Err(Unfinished::CallGoesOn(error.into()))
            }
            class if is_unknown(class) => {
                Meter::of_resumed(order).failed(&error);
                ledger.outcome_unknown(open.call_no, &error).await?;
                Ok(None)
            }
            _ => {
                Meter::of_resumed(order).failed(&error);
                ledger.failed(open.call_no, &error).await;
                Err(error.into())
            }
        }
    }
}

/// The order that an open call was made for.
fn order_of(open: &OpenCall, orders: &[Order], providers: &Providers) -> Order {
    let mut order = orders
        .iter()
        .find(|order| order.provider.name() == open.provider)
        .unwrap_or(&orders[0])
        .clone();
    if let Ok(provider) = providers.select(Some(&open.provider)) {
        order.provider = provider;
        order.spec.model.clone_from(&open.model);
    }
    order
}

/// Whether a call that ended so may have been billed and may still bring a picture, which nobody will see.
fn is_unknown(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Ambiguous | ErrorClass::TimedOut)
}

/// The same for every try to make a call, and for no other call.
pub(super) fn call_id(namespace: Uuid, job_id: i32, call_no: i32) -> Uuid {
    Uuid::new_v5(&namespace, format!("call {job_id}/{call_no}").as_bytes())
}

/// One call under way.
struct Calling<'a> {
    buyer: &'a Buyer<'a>,
    spec: &'a CheckedSpec,
    prompt: Prompt,
    id: Uuid,
    call_no: Option<i32>,
}

impl<'a> Calling<'a> {
    fn new(
        buyer: &'a Buyer<'a>,
        spec: &'a CheckedSpec,
        provider: &dyn ImageProvider,
        call_no: Option<i32>,
    ) -> Self {
        let work = buyer.request.work;
        Self {
            buyer,
            spec,
            prompt: provider.prompt_for(&work.prompt, work.image_type),
            id: call_id(buyer.namespace, buyer.request.job_id, call_no.unwrap_or_default()),
            call_no,
        }
    }

    fn call(&self) -> Call<'_> {
        Call {
            id: self.id,
            prompt: &self.prompt,
            spec: self.spec,
            deadline: self.buyer.request.deadline,
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
