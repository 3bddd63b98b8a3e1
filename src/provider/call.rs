//! One call for one picture: what goes into it, who watches it, what comes out.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::CheckedSpec;
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
    /// Nobody waits for the picture any longer than this.
    pub deadline: Instant,
    /// Who wants to know how it goes.
    pub watch: &'a dyn Watch,
}

#[cfg(test)]
impl<'a> Call<'a> {
    /// A call that nobody watches.
    pub(crate) fn unwatched(prompt: &'a Prompt, spec: &'a CheckedSpec, deadline: Instant) -> Self {
        Self {
            id: Uuid::nil(),
            prompt,
            spec,
            deadline,
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

impl fmt::Debug for DrawnImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrawnImage")
            .field("bytes", &self.bytes.len())
            .field("source", &self.source)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
