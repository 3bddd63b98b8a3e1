//! Generators: from a request to a finished, stored image.
//!
//! A generator knows neither Redis nor Postgres. It returns what it has stored, and the worker writes the rows,
//! so that "exactly one image row" has one place to be true.

mod follow;
mod ledger;
mod meter;
mod order;
mod pipeline;
mod pixel_work;
mod purchase;
mod suffixes;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::imaging::Mark;
use crate::provider::Cost;
use crate::work_package::ImageWork;

pub use ledger::{Gate, Intent, Ledger, OpenCall, Unfinished};
use pipeline::Shape;
pub use pipeline::{Pipeline, PipelineSettings, all_keys};
pub use suffixes::PromptSuffixes;

/// One attempt's request for an image.
#[derive(Clone)]
pub struct ImageRequest<'a> {
    /// The job; object keys and the ids of calls derive from it.
    pub job_id: i32,
    /// How many other jobs have had this number before.
    pub reuses: i32,
    /// What is to be drawn.
    pub work: &'a ImageWork,
    /// Whether an earlier attempt may have stored the image already.
    pub may_be_stored: bool,
    /// A call of an earlier attempt whose picture may still come.
    pub open_call: Option<OpenCall>,
    /// Calls of earlier attempts that were billed, or may have been.
    pub billed_before: u32,
    /// Where calls that cost money are written down.
    pub ledger: &'a dyn Ledger,
    /// Where room for calls is asked for.
    pub gate: &'a dyn Gate,
    /// How long a provider may take for what is bought now.
    pub patience: Duration,
    /// After this nothing more is bought. What has been bought is used all the same.
    pub buy_until: Option<DateTime<Utc>>,
}

/// Takes note of how far a job has come, in percent.
pub trait Progress: Send + Sync {
    /// 20 at the provider, 70 bytes in hand, 80 processed, 90 stored.
    fn reached(&self, percent: u8);
}

/// An image whose objects are all stored.
#[derive(Clone, Debug)]
pub struct StoredImage {
    /// Public URLs, the one to show first.
    pub urls: Vec<String>,
    /// Keys of all its objects, also those that are not shown.
    pub object_keys: Vec<String>,
    /// Bucket, where the store has one.
    pub bucket: Option<String>,
    /// What says that it is machine-made; `None` when it was found stored, by an attempt that left no record.
    pub mark: Option<Mark>,
    /// Who drew it.
    pub provider: String,
    /// With which model.
    pub model: String,
    /// The provider's own id of the call.
    pub request_id: Option<String>,
    /// As the provider reported it.
    pub usage: Option<Value>,
    /// `None` where nothing is known of it.
    pub cost: Option<Cost>,
    /// The call that brought it, where it cost money.
    pub call_no: Option<i32>,
}

/// Makes the finished, stored image of one request. After a crash at any point the same request
/// comes again: the second call must end with the same objects as the first, not with more.
#[async_trait]
pub trait ImageGenerator: Send + Sync {
    /// # Errors
    /// [`Unfinished`], which says what comes next.
    async fn generate(
        &self,
        request: &ImageRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<StoredImage, Unfinished>;
}

/// The icon of a collection: what was drawn, made to fit 400 × 400 px. The original is kept where settings say so.
pub struct Icon(pub Arc<Pipeline>);

#[async_trait]
impl ImageGenerator for Icon {
    async fn generate(
        &self,
        request: &ImageRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<StoredImage, Unfinished> {
        self.0.generate(Shape::Icon, request, progress).await
    }
}

/// The picture of a collection: delivered as it was drawn.
pub struct CollectionImage(pub Arc<Pipeline>);

#[async_trait]
impl ImageGenerator for CollectionImage {
    async fn generate(
        &self,
        request: &ImageRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<StoredImage, Unfinished> {
        self.0.generate(Shape::AsDrawn, request, progress).await
    }
}
