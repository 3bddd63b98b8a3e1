//! Services that take an order, give it an id, and are asked for the picture until it is there.
//!
//! Owns the order of things: the id is saved before the first look. How long is waited, and for what, is `following`; what
//! goes on the wire and what an answer means is each provider's business.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::error_body::ErrorBody;
use super::errors::Judge;
use super::incident::Incident;
use super::picture::Picture;
use super::service::{NotTold, Service};
use crate::failure::ErrorClass;
use crate::http_client::{Answer, Outgoing};
use crate::provider::{
    Call, CheckedSpec, Cost, DrawnImage, Found, ImageProvider, ImageSpec, NotDrawn, ProviderError,
    Unsupported, catalog,
};
use crate::work_package::Prompt;

mod following;
pub(in crate::provider) use following::follow;
#[cfg(test)]
pub(in crate::provider) mod tests;

/// What one look at a call has found; `R` is what is there of a picture that is done.
#[derive(Debug)]
pub(in crate::provider) enum Look<R = Ready> {
    /// It is being worked on; the fraction that is done, where the service says so.
    Going(Option<f32>),
    /// It is done.
    Ready(R),
    /// It has ended without a picture, for this reason.
    Failed(ProviderError),
    /// It cannot be asked about for now: the key, for example, is not accepted any more.
    Barred(ProviderError),
    /// The service does not know it.
    Missing(ProviderError),
    /// Nothing has been learnt; the next look may tell more.
    Unclear(ProviderError),
}

impl Look {
    /// A picture that the answer itself has brought keeps the answer's memory.
    pub(in crate::provider) fn held_by(mut self, answer: Answer) -> Self {
        if let Self::Ready(Ready {
            picture: Picture::Bytes(bytes),
            ..
        }) = &mut self
        {
            *bytes = answer.hold.around(std::mem::take(bytes));
        }
        self
    }
}

/// A finished picture.
#[derive(Debug)]
pub(in crate::provider) struct Ready {
    /// It, or where it is.
    pub(in crate::provider) picture: Picture,
    /// What the service counted.
    pub(in crate::provider) usage: Option<Value>,
}

/// The last percentage of a progress bar in a model's logs: `45%|████▌     | 14/31`.
pub(in crate::provider) fn progress_in(logs: &str) -> Option<f32> {
    let before = logs.rsplit_once("%|")?.0;
    let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let percent: u8 = before[before.len() - digits..].parse().ok()?;
    (percent <= 100).then(|| f32::from(percent) / 100.0)
}

impl<R> From<NotTold> for Look<R> {
    fn from(not_told: NotTold) -> Self {
        match not_told {
            NotTold::Barred(error) => Self::Barred(error),
            NotTold::Missing(error) => Self::Missing(error),
            NotTold::Unclear(error) => Self::Unclear(error),
        }
    }
}

/// By what a service is asked about a call.
pub(in crate::provider) trait Handle: Send + Sync {
    /// The service's own id of the call; empty where it is not known any more.
    fn id(&self) -> &str;

    /// Where it is asked.
    fn url(&self, service: &Service) -> Url;

    /// What is saved of it.
    fn saved(&self) -> String;
}

/// What is posted to have a picture drawn.
pub(in crate::provider) struct Order {
    /// Below the base URL.
    pub(in crate::provider) path: String,
    /// Besides that with the key.
    pub(in crate::provider) headers: HeaderMap,
    pub(in crate::provider) body: Value,
}

impl Order {
    pub(in crate::provider) fn of(path: &str, body: Value) -> Self {
        Self {
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body,
        }
    }
}

/// What differs between services that are polled.
#[async_trait]
pub(in crate::provider) trait Polled: Send + Sync {
    type Handle: Handle;
    /// What a refusal of an order means.
    const JUDGE: Judge;
    /// Whether [`Polled::search`] finds orders whose answer was lost.
    const LISTS_ORDERS: bool = false;

    /// How it is reached.
    fn service(&self) -> &Service;

    /// As [`ImageProvider::check`].
    fn offers(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let service = self.service();
        let checked = catalog::check(service.name, spec, Utc::now().date_naive())?;
        service.check_configured()?;
        Ok(checked)
    }

    /// The order for a picture.
    fn order(&self, call: &Call<'_>) -> Result<Order, ProviderError>;

    /// The handle in the answer to an order.
    fn accepted(&self, told: &Value, call: &Call<'_>) -> Option<Self::Handle>;

    /// Why the answer to an order has none, where the service says so in words of its own.
    fn refusal(&self, _told: &Value, _incident: &Incident<'_>) -> Option<ProviderError> {
        None
    }

    /// What the answer to an order says of the picture already.
    fn first(&self, _told: &Value, _incident: &Incident<'_>) -> Option<Look> {
        None
    }

    /// What the answer to an order says of its cost.
    fn cost(&self, _told: &Value) -> Option<Cost> {
        None
    }

    /// A handle that was saved; `None` where it is none of this service's.
    fn read(&self, saved: &str) -> Option<Self::Handle>;

    /// Asks once, at most until `deadline`.
    async fn look(&self, handle: &Self::Handle, incident: &Incident<'_>, deadline: Instant) -> Look;

    /// How the service is told that a picture is not wanted any more, where it can be.
    fn ending(&self, _handle: &Self::Handle) -> Option<(Method, Url)> {
        None
    }

    /// As [`ImageProvider::find`].
    async fn search(&self, _call: &Call<'_>, _sent_at: DateTime<Utc>) -> Result<Found, ProviderError> {
        Ok(Found::Unknown)
    }
}

#[async_trait]
impl<P: Polled> ImageProvider for P {
    fn name(&self) -> &'static str {
        self.service().name
    }

    /// The prompt alone: models behind such services draw what they read, instructions included.
    fn prompt_for(&self, prompt: &Prompt, _: &str) -> Prompt {
        prompt.clone()
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        self.offers(spec)
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let service = self.service();
        let Order { path, headers, body } = self.order(call)?;
        let incident = service.posting(&path, call);
        service.may_send(call, &incident)?;
        let outgoing = Outgoing::post_json(path, &body).headers(headers);
        let outgoing = outgoing.carrying(call.references.take());
        let ordered = service.order(outgoing, &incident, P::JUDGE, call.deadline);
        let (answer, told) = ordered.await?;
        let Some(handle) = self.accepted(&told, call) else {
            return Err(match self.refusal(&told, &incident) {
                Some(refusal) => refusal.into(),
                None if ErrorBody::from_json(told).is_error => incident.answer(&answer, P::JUDGE).into(),
                None => {
                    let why = format!("{}: the answer holds no id of an order", answer.status.as_u16());
                    incident.error(ErrorClass::Ambiguous, &why).into()
                }
            });
        };
        // From here on a crash does not cost the picture.
        call.watch.accepted(&handle.saved()).await;
        let incident = incident.known_as(handle.id());
        // Whoever waits for a picture holds no memory, which others may need for theirs.
        let first = self.first(&told, &incident).map(|look| look.held_by(answer));
        let drawn = following::picture(self, &handle, &incident, call, first).await?;
        Ok(DrawnImage {
            cost: self.cost(&told).or(drawn.cost),
            ..drawn
        })
    }

    async fn find(&self, call: &Call<'_>, sent_at: DateTime<Utc>) -> Result<Found, ProviderError> {
        self.search(call, sent_at).await
    }

    async fn resume(&self, saved: &str, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let incident = self.service().incident("GET an order".to_owned(), call);
        let Some(handle) = self.read(saved) else {
            return Err(incident.unreadable_handle());
        };
        let incident = incident
            .of(format!("GET {}", handle.url(self.service()).path()))
            .known_as(handle.id());
        if let Some(missing) = self.service().missing {
            return Err(NotDrawn::GoesOn(incident.unset(missing)));
        }
        following::picture(self, &handle, &incident, call, None).await
    }

    fn lists_orders(&self) -> bool {
        P::LISTS_ORDERS
    }

    async fn cancel(&self, saved: &str) -> bool {
        match self.read(saved).and_then(|handle| self.ending(&handle)) {
            Some((method, url)) => self.service().cancel(method, url).await,
            None => false,
        }
    }
}
