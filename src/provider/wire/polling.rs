//! Services that take an order, give it an id, and are asked for the picture until it is there.
//!
//! Owns the order of things: the id is saved before the first look, the picture is fetched from where the service says
//! it is, and a call that was accepted is ended by its service's verdict alone. A fault, a key that is refused or a
//! deadline ends a visit and not the call. What goes on the wire and what an answer means is each provider's business.

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::incident::Incident;
use super::picture::Picture;
use super::service::{NotTold, Pace, Service};
use crate::failure::ErrorClass;
use crate::provider::{Call, Cost, CostBasis, DrawnImage, NotDrawn, ProviderError, catalog};

#[cfg(test)]
pub(in crate::provider) mod tests;

/// The longest wait that a service may ask for between two looks of one visit.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// One look may take this long: an answer that stalls is asked for again.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// It, or where it is.
    pub(in crate::provider) picture: Picture,
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
    async fn look(&self, handle: &Self::Handle, incident: &Incident<'_>, deadline: Instant) -> Look;
}

/// The last percentage of a progress bar in a model's logs: `45%|████▌     | 14/31`.
pub(in crate::provider) fn progress_in(logs: &str) -> Option<f32> {
    let before = logs.rsplit_once("%|")?.0;
    let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let percent: u8 = before[before.len() - digits..].parse().ok()?;
    (percent <= 100).then(|| f32::from(percent) / 100.0)
}

impl From<NotTold> for Look {
    fn from(not_told: NotTold) -> Self {
        match not_told {
            NotTold::Barred(error) => Self::Barred(error),
            NotTold::Missing(error) => Self::Missing(error),
            NotTold::Unclear(error) => Self::Unclear(error),
        }
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
    incident: &Incident<'_>,
    call: &Call<'_>,
    first: Option<Look>,
) -> Result<DrawnImage, NotDrawn> {
    let Ready { picture, usage } = follow(provider, handle, incident, call, first).await?;
    let fetched = provider.service().fetch(picture, call.deadline).await;
    let bytes = fetched
        .map_err(|fault| NotDrawn::unfetched(&fault, incident.error(fault.class(), &fault.to_string())))?;
    // A version of a model costs what the model costs.
    let model = call.spec.model.split(':').next().unwrap_or_default();
    let price = catalog::find(provider.service().name, model).and_then(|model| model.usd_per_image);
    Ok(DrawnImage {
        request_id: incident.id.clone(),
        usage,
        cost: price.map(|usd| Cost {
            usd,
            basis: CostBasis::Estimated,
        }),
        ..DrawnImage::by_model(bytes)
    })
}

async fn follow<P: Polled>(
    provider: &P,
    handle: &P::Handle,
    incident: &Incident<'_>,
    call: &Call<'_>,
    mut first: Option<Look>,
) -> Result<Ready, NotDrawn> {
    // What was wrong with the last look, if anything was.
    let out_of_time = |last: Option<ProviderError>| {
        NotDrawn::GoesOn(last.unwrap_or_else(|| {
            let why = "accepted, and not finished before the deadline of this attempt";
            incident.error(ErrorClass::TimedOut, why)
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
                provider.look(handle, incident, until).await
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
