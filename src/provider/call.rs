//! One call for one picture: what goes into it, who watches it, what comes out.

use std::fmt;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::error::ProviderError;
use super::spec::CheckedSpec;
use crate::http_client::{Attachment, DownloadFault};
use crate::imaging::DigitalSource;
use crate::work_package::Prompt;

/// One call for one picture.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The same for every try to make this very call, for services that take an id from their caller.
    pub id: Uuid,
    /// What is sent as the prompt.
    pub prompt: &'a Prompt,
    /// What [`super::ImageProvider::check`] has accepted.
    pub spec: &'a CheckedSpec,
    /// What its picture is to be made from.
    pub references: &'a References,
    /// This visit waits for the picture no longer than this.
    pub deadline: Instant,
    /// For a call that was accepted long ago: the service is asked once and not waited for, as the slot is others' by now.
    pub is_brief: bool,
    /// Whether a service that does not know the call has forgotten it. A young one may not be known everywhere yet, or the key may be
    /// another account's by mistake: then it goes on.
    pub may_be_forgotten: bool,
    /// Who wants to know how it goes.
    pub watch: &'a dyn Watch,
}

/// Reference images of a call, until they are sent: then nobody has them any more, and another call fetches them again.
#[derive(Debug, Default)]
pub struct References(Mutex<Vec<Attachment>>);

#[cfg(test)]
static NONE: References = References(Mutex::new(Vec::new()));

impl References {
    /// These, in their order.
    #[must_use]
    pub fn new(files: Vec<Attachment>) -> Self {
        Self(Mutex::new(files))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Attachment>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    pub(in crate::provider) fn count(&self) -> usize {
        self.lock().len()
    }

    pub(in crate::provider) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// What each is, as media type.
    pub(in crate::provider) fn media_types(&self) -> Vec<&'static str> {
        self.lock().iter().map(|file| file.media_type).collect()
    }

    /// Hands them to the request that is sent, which alone holds them from then on.
    pub(in crate::provider) fn take(&self) -> Vec<Attachment> {
        std::mem::take(&mut *self.lock())
    }
}

#[cfg(test)]
impl<'a> Call<'a> {
    /// A call that nobody watches.
    pub(crate) fn unwatched(prompt: &'a Prompt, spec: &'a CheckedSpec, deadline: Instant) -> Self {
        Self {
            id: Uuid::nil(),
            prompt,
            spec,
            references: &NONE,
            deadline,
            is_brief: false,
            may_be_forgotten: true,
            watch: &Unwatched,
        }
    }
}

/// Follows a call while it is under way.
#[async_trait]
pub trait Watch: Send + Sync {
    /// The service has accepted the call under `handle`, by which it can be asked for the picture again. To be
    /// awaited before the first poll: from then on a crash does not cost the picture.
    async fn accepted(&self, handle: &str);

    /// How much of the picture is done, as the service says, 0 to 1.
    fn progress(&self, fraction: f32);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

#[async_trait]
impl Watch for Unwatched {
    async fn accepted(&self, _: &str) {}
    fn progress(&self, _: f32) {}
}

/// Why a visit to a provider has brought no picture, and whether one may still come of its call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDrawn {
    /// The call has ended, by the service's own verdict, or was never taken.
    #[error(transparent)]
    Ended(ProviderError),
    /// The service has the order and has not ended it: it is asked again, by its handle. Holds what kept this visit
    /// from an answer.
    #[error(transparent)]
    GoesOn(ProviderError),
}

impl NotDrawn {
    /// What went wrong, whether or not that has ended the call.
    #[must_use]
    pub fn error(&self) -> &ProviderError {
        match self {
            Self::Ended(error) | Self::GoesOn(error) => error,
        }
    }

    /// For a finished picture that was not fetched: it is fetched again, from where its service says it is by then.
    pub(in crate::provider) fn unfetched(fault: &DownloadFault, error: ProviderError) -> Self {
        match fault.may_pass() {
            true => Self::GoesOn(error),
            false => Self::Ended(error),
        }
    }
}

/// For errors of an order, and of services that answer it with the picture: nothing is left to be asked about.
impl From<ProviderError> for NotDrawn {
    fn from(error: ProviderError) -> Self {
        Self::Ended(error)
    }
}

/// What a service knows of an order whose handle was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was taken, and can be asked about by this.
    Handle(String),
    /// The service lists its orders, and this one is not there.
    NeverTaken,
    /// It cannot be asked, or what it lists leaves a doubt.
    Unknown,
}

/// What a call has cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// US dollars.
    pub usd: f64,
    /// How the figure came to be.
    pub basis: CostBasis,
}

/// How a figure of cost came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostBasis {
    /// The provider named it.
    Reported,
    /// From the usage that the provider reported, and the price list.
    Computed,
    /// From the price list alone.
    Estimated,
}

impl CostBasis {
    /// The word in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Computed => "computed",
            Self::Estimated => "estimated",
        }
    }
}

/// One picture as a provider delivered it: nothing in it has been checked yet.
#[derive(Clone)]
pub struct DrawnImage {
    /// The bytes, as they came.
    pub bytes: Bytes,
    /// How the pixels came to be.
    pub source: DigitalSource,
    /// The provider's own id of the call, for its support.
    pub request_id: Option<String>,
    /// Token counts or the like, as the provider reported them.
    pub usage: Option<Value>,
    /// `None` where nothing is known of it.
    pub cost: Option<Cost>,
}

impl DrawnImage {
    /// A picture that a model has drawn, of which nothing more is known.
    pub(in crate::provider) fn by_model(bytes: Bytes) -> Self {
        Self {
            bytes,
            source: DigitalSource::TrainedModel,
            request_id: None,
            usage: None,
            cost: None,
        }
    }
}

impl fmt::Debug for DrawnImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrawnImage")
            .field("bytes", &self.bytes.len())
            .field("source", &self.source)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
