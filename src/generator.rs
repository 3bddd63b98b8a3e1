//! Generators: from a request to a finished, stored image.
//!
//! A generator knows neither Redis nor Postgres. It returns what it has stored, and the worker writes the rows,
//! so that "exactly one image row" has one place to be true.

mod collection_image;
mod icon;
mod ledger;
mod meter;
mod purchase;
mod studio;
#[cfg(test)]
mod testing;

use async_trait::async_trait;
use serde_json::Value;
use tokio::time::Instant;

use crate::imaging::Mark;
use crate::provider::Cost;
use crate::work_package::ImageWork;

pub use collection_image::CollectionImage;
pub use icon::Icon;
pub use ledger::{Gate, Intent, Ledger, OpenCall, Unfinished};
pub use studio::{Studio, StudioSettings};

/// One attempt's request for an image.
#[derive(Clone)]
pub struct ImageRequest<'a> {
    /// The job; object keys derive from it.
    pub job_id: i32,
    /// What is to be drawn.
    pub work: &'a ImageWork,
    /// Whether an earlier attempt may have stored the image already.
    pub may_be_stored: bool,
    /// A call of an earlier attempt whose picture may still come.
    pub open_call: Option<OpenCall>,
    /// Where calls that cost money are written down.
    pub ledger: &'a dyn Ledger,
    /// Where room for calls is asked for.
    pub gate: &'a dyn Gate,
    /// Until when the provider may take.
    pub deadline: Instant,
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
    /// Names of the providers that can draw this, in the order in which they are asked; none where the work is refused anyway. An
    /// attempt is not begun before one of them may be asked.
    fn providers_of(&self, work: &ImageWork) -> Vec<&'static str>;

    /// # Errors
    /// [`Unfinished`], which says what comes next.
    async fn generate(
        &self,
        request: &ImageRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<StoredImage, Unfinished>;
}
