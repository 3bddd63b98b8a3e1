//! Asking a service about an order until its picture is there: how often, how long, and what ends it.
//!
//! The picture is fetched from where the service says it is, and a call that was accepted is ended by its service's verdict
//! alone. A fault, a key that is refused or a deadline ends a visit and not the call.

use std::pin::Pin;
use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep};

use super::{Look, Polled, Ready};
use crate::failure::ErrorClass;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::service::Pace;
use crate::provider::{Call, DrawnImage, NotDrawn, ProviderError, catalog};

/// The longest wait that a service may ask for between two looks of one visit.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// One look may take this long: an answer that stalls is asked for again.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Looks at a call until the service has ended it, or until the deadline, and fetches its picture.
///
/// # Errors
/// As [`follow`], and [`NotDrawn::Ended`] for a picture that can never be fetched.
pub(super) async fn picture<P: Polled>(
    provider: &P,
    handle: &P::Handle,
    incident: &Incident<'_>,
    call: &Call<'_>,
    first: Option<Look>,
) -> Result<DrawnImage, NotDrawn> {
    let look = |until| provider.look(handle, incident, until);
    let followed = follow(provider.service().pace, incident, call, first, look);
    let Ready { picture, usage } = followed.await?;
    let fetched = provider.service().fetch(picture, call.deadline).await;
    let bytes = fetched
        .map_err(|fault| NotDrawn::unfetched(&fault, incident.error(fault.class(), &fault.to_string())))?;
    // A version of a model costs what the model costs.
    let model = call.spec.model.split(':').next().unwrap_or_default();
    Ok(DrawnImage {
        request_id: incident.id.clone(),
        usage,
        cost: catalog::listed(catalog::find(provider.service().name, model)),
        ..DrawnImage::by_model(bytes)
    })
}

/// One look at a call, on its way.
type Looking<'a, R> = Pin<Box<dyn Future<Output = Look<R>> + Send + 'a>>;

/// Looks at a call, each time with `look` and at most until the time that this is given.
///
/// `first` is what the service has said already when it accepted the call.
///
/// # Errors
/// [`NotDrawn::Ended`] for the service's verdict, and for an id that it does not know for longer than [`Pace::lag`];
/// [`NotDrawn::GoesOn`] for everything else.
pub(in crate::provider) async fn follow<'a, R>(
    pace: Pace,
    incident: &Incident<'_>,
    call: &Call<'_>,
    mut first: Option<Look<R>>,
    look: impl Fn(Instant) -> Looking<'a, R>,
) -> Result<R, NotDrawn> {
    // What was wrong with the last look, if anything was.
    let out_of_time = |last: Option<ProviderError>| {
        NotDrawn::GoesOn(last.unwrap_or_else(|| {
            let why = "accepted, and not finished before the deadline of this attempt";
            incident.error(ErrorClass::TimedOut, why)
        }))
    };
    // Since when it has been unknown to the service without a break.
    let mut missing_since = None;
    let mut pause = if first.is_some() || call.is_brief {
        Duration::ZERO
    } else {
        pace.first
    };
    let mut last = None;
    let mut has_looked = false;
    loop {
        let found = match first.take() {
            Some(found) => found,
            None => {
                let left = call.deadline.saturating_duration_since(Instant::now());
                sleep(pause.min(left)).await;
                if Instant::now() >= call.deadline {
                    return Err(out_of_time(last));
                }
                let until = call.deadline.min(Instant::now() + LOOK_TIMEOUT);
                look(until).await
            }
        };
        let mut asked = None;
        last = match found {
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
                if is_sure || missing_since.get_or_insert_with(Instant::now).elapsed() >= pace.lag {
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
        let limit = (pause.max(pace.first / 2) * 3 / 2).min(pace.longest);
        // Replicas that lost sight together do not come back together.
        pause = rand::rng()
            .random_range(limit * 3 / 4..=limit)
            .max(asked.unwrap_or_default());
    }
}
