//! Services that take an order, give it an id, and are asked for the picture until it is there.
//!
//! Owns the order of things: the id is saved before the first look, the picture is fetched from where the service says
//! it is, and a call that was accepted is ended by its service's verdict alone. A fault, a key that is refused or a
//! deadline ends a visit and not the call. What goes on the wire and what an answer means is each provider's business.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::Rng;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::failure::ErrorClass;
use crate::http_client::DownloadFault;
use crate::provider::{Call, Cost, CostBasis, DigitalSource, DrawnImage, NotDrawn, ProviderError, catalog};

mod report;
mod service;
#[cfg(test)]
pub(in crate::provider) mod tests;

pub(in crate::provider) use report::{Report, Signs, class_of_status, is_plain_id, progress_in};
pub(in crate::provider) use service::Service;

/// The longest wait that a service may ask for between two looks of one visit.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// One look may take this long: an answer that stalls is asked for again.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// When the next look is due.
#[derive(Clone, Copy, Debug)]
pub(in crate::provider) struct Pace {
    /// Before the first look, and between the looks after it.
    pub(in crate::provider) first: Duration,
    /// Longest pause between two looks.
    pub(in crate::provider) longest: Duration,
    /// For this long a service may not know what it has accepted: its parts learn of it one after the other.
    pub(in crate::provider) lag: Duration,
}

impl Pace {
    /// What the services' own clients do, and slower with time: a picture takes seconds, and limits count looks.
    pub(in crate::provider) const USUAL: Self = Self {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(3),
        lag: Duration::from_secs(10),
    };
}

/// What one look at a call has found.
#[derive(Debug)]
pub(in crate::provider) enum Look {
    /// It is being worked on; the fraction that is done, where the service says so.
    Going(Option<f32>),
    /// It is done.
    Ready(Ready),
    /// It has ended without a picture, for this reason.
    Failed(ProviderError),
    /// It cannot be asked about for now: the key, for example, is not accepted any more.
    Barred(ProviderError),
    /// The service does not know it.
    Missing(ProviderError),
    /// Nothing has been learnt; the next look may tell more.
    Unclear(ProviderError),
}

/// A finished picture.
#[derive(Debug)]
pub(in crate::provider) struct Ready {
    /// Where it is, or the picture itself as a `data:` URI.
    pub(in crate::provider) url: String,
    /// What the service counted.
    pub(in crate::provider) usage: Option<Value>,
}

/// What differs between services that are polled.
#[async_trait]
pub(in crate::provider) trait Polled: Send + Sync {
    /// By which a call is asked about.
    type Handle: Send + Sync;

    /// How it is reached.
    fn service(&self) -> &Service;

    /// Asks once, at most until `deadline`.
    async fn look(&self, handle: &Self::Handle, report: &Report<'_>, deadline: Instant) -> Look;

    /// Fetches the finished picture.
    async fn fetch(&self, ready: &Ready, deadline: Instant) -> Result<Bytes, DownloadFault> {
        self.service().downloads().fetch(&ready.url, deadline).await
    }
}

/// Looks at a call until the service has ended it, or until the deadline, and fetches its picture.
///
/// `first` is what the service has said already when it accepted the call.
///
/// # Errors
/// [`NotDrawn::Ended`] for the service's verdict, an id that it does not know for longer than [`Pace::lag`]
/// (`Ambiguous`), and a picture that can never be fetched; [`NotDrawn::GoesOn`] for everything else.
pub(in crate::provider) async fn picture<P: Polled>(
    provider: &P,
    handle: &P::Handle,
    report: &Report<'_>,
    call: &Call<'_>,
    first: Option<Look>,
) -> Result<DrawnImage, NotDrawn> {
    let ready = follow(provider, handle, report, call, first).await?;
    let fetched = provider.fetch(&ready, call.deadline).await;
    let bytes = fetched.map_err(|fault| {
        let error = report.error(fault.class(), &fault.to_string());
        NotDrawn::unfetched(&fault, error)
    })?;
    // A version of a model costs what the model costs.
    let model = call.spec.model.split(':').next().unwrap_or_default();
    let price = catalog::find(provider.service().name, model).and_then(|model| model.usd_per_image);
    Ok(DrawnImage {
        bytes,
        source: DigitalSource::TrainedModel,
        request_id: report.id.clone(),
        usage: ready.usage,
        cost: price.map(|usd| Cost {
            usd,
            basis: CostBasis::Estimated,
        }),
    })
}

async fn follow<P: Polled>(
    provider: &P,
    handle: &P::Handle,
    report: &Report<'_>,
    call: &Call<'_>,
    mut first: Option<Look>,
) -> Result<Ready, NotDrawn> {
    // What was wrong with the last look, if anything was.
    let out_of_time = |last: Option<ProviderError>| {
        NotDrawn::GoesOn(last.unwrap_or_else(|| {
            let why = "accepted, and not finished before the deadline of this attempt";
            report.error(ErrorClass::TimedOut, why)
        }))
    };
    let Pace {
        first: pause,
        longest,
        lag,
    } = provider.service().pace;
    // Since when it has been unknown to the service without a break.
    let mut missing_since = None;
    let mut pause = if first.is_some() || call.is_brief {
        Duration::ZERO
    } else {
        pause
    };
    let mut last = None;
    let mut has_looked = false;
    loop {
        let look = match first.take() {
            Some(look) => look,
            None => {
                let left = call.deadline.saturating_duration_since(Instant::now());
                sleep(pause.min(left)).await;
                if Instant::now() >= call.deadline {
                    return Err(out_of_time(last));
                }
                let until = call.deadline.min(Instant::now() + LOOK_TIMEOUT);
                provider.look(handle, report, until).await
            }
        };
        let mut asked = None;
        last = match look {
            Look::Ready(ready) => return Ok(ready),
            Look::Failed(error) => return Err(NotDrawn::Ended(error)),
            Look::Barred(error) => return Err(NotDrawn::GoesOn(error)),
            Look::Going(fraction) => {
                missing_since = None;
                if let Some(fraction) = fraction {
                    call.watch.progress(fraction);
                }
                None
            }
            Look::Missing(error) => {
                // A brief visit asks a second time, and takes that for an answer.
                let is_sure = call.is_brief && missing_since.is_some();
                if is_sure || missing_since.get_or_insert_with(Instant::now).elapsed() >= lag {
                    return Err(match call.may_be_forgotten {
                        true => NotDrawn::Ended(error),
                        false => NotDrawn::GoesOn(error),
                    });
                }
                Some(error)
            }
            // Cut short by the deadline itself: what the look before it has found still holds.
            Look::Unclear(_) if has_looked && Instant::now() >= call.deadline => {
                return Err(out_of_time(last));
            }
            // A wait that is asked for is not spent in a slot.
            Look::Unclear(error) if error.retry_after.is_some_and(|asked| asked > LONGEST_WAIT) => {
                return Err(NotDrawn::GoesOn(error));
            }
            Look::Unclear(error) => {
                asked = error.retry_after;
                tracing::debug!(provider = error.provider, "{error}; it will be asked again");
                Some(error)
            }
        };
        if call.is_brief && missing_since.is_none() {
            return Err(out_of_time(last));
        }
        has_looked = true;
        let usual = provider.service().pace.first;
        let limit = (pause.max(usual / 2) * 3 / 2).min(longest);
        // Replicas that lost sight together do not come back together.
        pause = rand::rng()
            .random_range(limit * 3 / 4..=limit)
            .max(asked.unwrap_or_default());
    }
}

/// The handle of a call that an earlier attempt has saved, read back.
pub(in crate::provider) fn unreadable_handle(report: &Report<'_>) -> NotDrawn {
    NotDrawn::Ended(report.error(
        ErrorClass::Ambiguous,
        "the saved handle of the call cannot be read",
    ))
}
