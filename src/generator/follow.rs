//! Obtaining is not buying: what has become of a call that an earlier attempt has left open.
//!
//! Only the provider's own verdict ends a call that it has accepted. A key that is refused, an outage, a time limit or a crash
//! means that the call goes on, and is asked about again.

use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;
use tracing::Instrument;
use uuid::Uuid;

use super::ImageRequest;
use super::ledger::{OpenCall, Unfinished};
use super::meter::Meter;
use super::order::Order;
use super::purchase::{Buyer, Calling, Purchase, call_id, goes_on};
use crate::failure::{ErrorClass, Failure};
use crate::fault;
use crate::provider::list::Providers;
use crate::provider::{CheckedSpec, Found, ImageSpec, NotDrawn, ProviderError};

/// How long a provider may take to answer about a call, once the attempt that made the call has used up its time. It is asked once
/// then: what goes on for long must not keep slots from others.
const BRIEF: Duration = Duration::from_secs(60);
/// For so long a call is followed. No service keeps an order of a picture for longer, nor its result.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl<'a> Buyer<'a> {
    /// One that follows an open call: for as long as whoever made it would have waited, or briefly after that.
    pub(super) fn following(self, open: &OpenCall) -> Self {
        let is_brief = open.patience.is_zero();
        let patience = if is_brief { BRIEF } else { open.patience };
        Self {
            deadline: Instant::now() + patience,
            is_brief,
            ..self
        }
    }

    /// Follows up an open call. `None`: it has ended without a picture, and another may be bought.
    ///
    /// # Errors
    /// [`Unfinished::CallGoesOn`] as long as the provider has not ended it.
    pub(super) async fn follow(
        &self,
        open: &OpenCall,
        order: &Order,
    ) -> Result<Option<Purchase>, Unfinished> {
        let provider = &*order.provider;
        self.request.gate.only_waits().await;
        let id = call_id(self.namespace, self.request.job_id, open.call_no);
        let handle = match open.handle.clone().or_else(|| provider.handle_of(id)) {
            Some(handle) => handle,
            // Whoever made the call may still be waiting for its answer.
            None if !open.patience.is_zero() => return Err(Unfinished::OthersWait(open.patience)),
            None => match self.find(open, order).await? {
                Some(handle) => handle,
                None => return Ok(None),
            },
        };
        if !self.is_brief {
            tracing::info!(
                call_no = open.call_no,
                "asking again for a picture that is being made"
            );
        }
        let calling = Calling::new(self, &order.spec, provider, Some(open.call_no)).made(open.age);
        let meter = Meter::of_resumed(order);
        let call = calling.call();
        let resuming = provider.resume(&handle, &call).instrument(meter.span());
        let error = match resuming.await {
            Ok(image) => {
                meter.drawn(&image);
                fault::point("drawn");
                return Ok(Some(Purchase {
                    image,
                    call_no: Some(open.call_no),
                    has_handle: true,
                    order: order.clone(),
                }));
            }
            Err(NotDrawn::GoesOn(error)) if open.age > LONGEST => {
                return Err(self.too_long(open, order, &handle, error).await);
            }
            Err(NotDrawn::GoesOn(error)) => return Err(goes_on(error, open.age)),
            Err(NotDrawn::Ended(error)) => error,
        };
        meter.failed(&error);
        if error.class.rules().may_be_billed {
            self.request.ledger.outcome_unknown(open.call_no, &error).await?;
            return Ok(None);
        }
        self.request.ledger.failed(open.call_no, &error).await;
        Err(error.into())
    }

    /// The handle of a call whose answer nobody saw, where the provider lists its orders. `None`: the call has ended, as one that
    /// was never taken, or one of which nobody will ever know what it has brought.
    async fn find(&self, open: &OpenCall, order: &Order) -> Result<Option<String>, Unfinished> {
        let ledger = self.request.ledger;
        let provider = &*order.provider;
        let calling = Calling::new(self, &order.spec, provider, Some(open.call_no));
        let found = match provider.find(&calling.call(), Utc::now() - open.age).await {
            Err(error) if open.age <= LONGEST => return Err(goes_on(error, open.age)),
            found => found.unwrap_or(Found::Unknown),
        };
        let (class, details) = match found {
            // Another call for the same prompt, of another job say, has the handle.
            Found::Handle(handle) if ledger.is_known(provider.name(), &handle).await? => {
                (ErrorClass::Ambiguous, "the only order like it is another call's")
            }
            Found::Handle(handle) => {
                ledger.accepted(open.call_no, &handle).await;
                return Ok(Some(handle));
            }
            Found::NeverTaken => (
                ErrorClass::Network,
                "the service lists its orders, and this one is not among them",
            ),
            Found::Unknown => (
                ErrorClass::Ambiguous,
                "whoever had asked for the picture was gone before it came",
            ),
        };
        let error = error_of(order, class, details.to_owned());
        Meter::of_resumed(order).failed(&error);
        match class {
            ErrorClass::Network => ledger.failed(open.call_no, &error).await,
            _ => ledger.outcome_unknown(open.call_no, &error).await?,
        }
        Ok(None)
    }

    /// The end of a job whose order has gone on for a day. The call stays open in the ledger: should the job be started again by hand,
    /// its picture is asked for once more, and nothing is bought before the provider has ended the order.
    async fn too_long(
        &self,
        open: &OpenCall,
        order: &Order,
        handle: &str,
        last: ProviderError,
    ) -> Unfinished {
        order.provider.cancel(handle).await;
        let (who, hours) = (order.provider.name(), open.age.as_secs() / 3600);
        let what = match last.class {
            ErrorClass::TimedOut => "has not finished it",
            _ => "could not be asked for it since",
        };
        let message = format!(
            "{who} took the order for this picture {hours} hours ago and {what}. It may have been billed, so it is not ordered \
             again by itself. Make a new job to order another one."
        );
        Meter::of_resumed(order).failed(&last);
        let failure = Failure::new(ErrorClass::UnknownOutcome, message).with_details(last.to_string());
        self.request.ledger.followed_too_long(failure)
    }
}

/// The order that an open call was made for, whether or not the package could be ordered so today: options and keys may have
/// changed since.
///
/// # Errors
/// [`Unfinished::CallGoesOn`] when this version does not know the provider.
pub(super) fn order_of(
    open: &OpenCall,
    spec: &ImageSpec,
    providers: &Providers,
) -> Result<Order, Unfinished> {
    let provider = providers
        .select(Some(&open.provider))
        .map_err(|unsupported| Unfinished::CallGoesOn {
            failure: unsupported.into(),
            age: open.age,
        })?;
    let spec = provider.check(spec).unwrap_or_else(|_| CheckedSpec {
        options: spec.options,
        ..CheckedSpec::default()
    });
    let model = open.model.clone();
    Ok(Order {
        provider,
        spec: CheckedSpec { model, ..spec },
    })
}

fn error_of(order: &Order, class: ErrorClass, details: String) -> ProviderError {
    ProviderError {
        provider: order.provider.name(),
        class,
        details,
        request_id: None,
        retry_after: None,
    }
}

/// What ids of calls and object keys of a job derive from. A job whose number had belonged to others before shares neither with
/// them.
pub(super) fn namespace_of(installation: Uuid, request: &ImageRequest<'_>) -> Uuid {
    namespace(installation, request.reuses)
}

/// The same, by how many other jobs have had the number before.
pub(super) fn namespace(installation: Uuid, reuses: i32) -> Uuid {
    match reuses {
        0 => installation,
        reuses => Uuid::new_v5(&installation, format!("reuse {reuses}").as_bytes()),
    }
}
