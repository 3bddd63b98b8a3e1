//! Getting a picture from a provider: no money is spent before the ledger knows, and none while a picture that
//! has been asked for may still come.

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use super::ledger::{Intent, OpenCall, Unfinished};
use super::studio::Order;
use super::{ImageRequest, Progress};
use crate::failure::ErrorClass;
use crate::fault;
use crate::provider::{Call, CheckedSpec, DrawnImage, ImageProvider, ProviderError, Watch, policy};

/// A picture and the call that brought it; `None` where it cost nothing.
pub(super) struct Purchase {
    pub(super) image: DrawnImage,
    pub(super) call_no: Option<i32>,
}

/// Draws, resending what failed for a moment and for free.
///
/// A crash after the intent leaves an open call, which the next owner of the job waits for, asks for again by its
/// handle, or gives up as unknown.
pub(super) async fn purchase(
    request: &ImageRequest<'_>,
    order: &Order,
    namespace: Uuid,
    progress: &dyn Progress,
) -> Result<Purchase, Unfinished> {
    if let Some(open) = &request.open_call
        && let Some(purchase) = take_up(open, request, order, namespace, progress).await?
    {
        return Ok(purchase);
    }
    let provider = &*order.provider;
    let mut resends = 0;
    loop {
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
        let calling = Calling::new(request, &order.spec, provider, namespace, progress, call_no);
        let error = match provider.draw(&calling.call()).await {
            Ok(image) => {
                fault::point("drawn");
                return Ok(Purchase { image, call_no });
            }
            Err(error) => error,
        };
        if let Some(call_no) = call_no
            && is_unknown(error.class)
        {
            request.ledger.outcome_unknown(call_no, &error).await?;
            return Err(error.into());
        }
        if let Some(call_no) = call_no {
            request.ledger.failed(call_no, &error).await;
        }
        let pause = policy::pause_before_resend(&error, resends)
            .filter(|pause| Instant::now() + *pause < request.deadline);
        let Some(pause) = pause else {
            return Err(error.into());
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
    }
}

/// Follows up a call that an earlier attempt has left open. `None`: it is over, and another may be made.
async fn take_up(
    open: &OpenCall,
    request: &ImageRequest<'_>,
    order: &Order,
    namespace: Uuid,
    progress: &dyn Progress,
) -> Result<Option<Purchase>, Unfinished> {
    let provider = &*order.provider;
    // Another provider than the one that was asked when the configuration has changed meanwhile.
    let is_same = provider.name() == open.provider;
    let handle = open.handle.clone().filter(|_| is_same).or_else(|| {
        is_same
            .then(|| provider.handle_of(call_id(namespace, request.job_id, open.call_no)))
            .flatten()
    });
    let error = match handle {
        Some(handle) => {
            let spec = CheckedSpec {
                model: open.model.clone(),
                ..order.spec.clone()
            };
            let calling = Calling::new(request, &spec, provider, namespace, progress, Some(open.call_no));
            tracing::info!(
                call_no = open.call_no,
                "asking again for a picture that is being made"
            );
            match provider.resume(&handle, &calling.call()).await {
                Ok(image) => {
                    fault::point("drawn");
                    let call_no = Some(open.call_no);
                    return Ok(Some(Purchase { image, call_no }));
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
            request.ledger.outcome_unknown(open.call_no, &error).await?;
            Ok(None)
        }
        _ => {
            request.ledger.failed(open.call_no, &error).await;
            Err(error.into())
        }
    }
}

/// Whether a call that ended so may have been billed and may still bring a picture, which nobody will see.
fn is_unknown(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Ambiguous | ErrorClass::TimedOut)
}

/// The same for every try to make a call, and for no other call.
fn call_id(namespace: Uuid, job_id: i32, call_no: i32) -> Uuid {
    Uuid::new_v5(&namespace, format!("call {job_id}/{call_no}").as_bytes())
}

/// One call under way.
struct Calling<'a> {
    request: &'a ImageRequest<'a>,
    spec: &'a CheckedSpec,
    prompt: crate::work_package::Prompt,
    id: Uuid,
    call_no: Option<i32>,
    progress: &'a dyn Progress,
}

impl<'a> Calling<'a> {
    fn new(
        request: &'a ImageRequest<'a>,
        spec: &'a CheckedSpec,
        provider: &dyn ImageProvider,
        namespace: Uuid,
        progress: &'a dyn Progress,
        call_no: Option<i32>,
    ) -> Self {
        let work = request.work;
        Self {
            request,
            spec,
            prompt: provider.prompt_for(&work.prompt, work.image_type),
            id: call_id(namespace, request.job_id, call_no.unwrap_or_default()),
            call_no,
            progress,
        }
    }

    fn call(&self) -> Call<'_> {
        Call {
            id: self.id,
            prompt: &self.prompt,
            spec: self.spec,
            deadline: self.request.deadline,
            watch: self,
        }
    }
}

#[async_trait]
impl Watch for Calling<'_> {
    async fn accepted(&self, handle: &str) {
        fault::point("accepted-unsaved");
        if let Some(call_no) = self.call_no {
            self.request.ledger.accepted(call_no, handle).await;
        }
        fault::point("accepted");
    }

    fn progress(&self, fraction: f32) {
        // Between "at the provider" and "bytes in hand".
        let percent = 20.0 + fraction.clamp(0.0, 1.0) * 50.0;
        self.progress.reached(percent as u8);
    }
}
