//! Image providers: from a prompt to the bytes of one picture.
//!
//! Owns the trait. What happens to the bytes afterwards (checking, marking, resizing, storing) is the generators'
//! business, what happens after an error is the worker's. Below are four storeys, of which each names only those
//! that stand after it, and a test says so (`tests/it/architecture.rs`):
//!
//! - [`list`]: which providers there are.
//! - [`services`]: one provider each, and all that is known of it: settings, request, answer, errors, account.
//! - [`wire`]: what services share: reading answers, telling of failures, polling, waits, prompts.
//! - [`catalog`]: models, what each offers and what it costs.
//! - [`policy`]: what follows from the end of a call.

mod call;
pub mod catalog;
mod error;
pub mod list;
pub mod policy;
pub mod services;
mod spec;
#[cfg(test)]
pub(crate) mod suite;
pub mod wire;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::failure::ErrorClass;
use crate::work_package::Prompt;

pub use crate::imaging::DigitalSource;
pub use call::{Call, Cost, CostBasis, DrawnImage, Found, NotDrawn, References, Unwatched, Watch};
pub use error::ProviderError;
pub use spec::{CheckedSpec, ImageSpec, ReferencePlace, ReferenceRules, Unsupported};

/// One image service, reached at a base URL that tests can replace.
#[async_trait]
pub trait ImageProvider: Send + Sync {
    /// The name that packages write in `imageProvider`.
    fn name(&self) -> &'static str;

    /// Says, at no cost and without I/O, whether the service offers this, and fills in its defaults.
    ///
    /// # Errors
    /// [`Unsupported`], never retried: the sentence says what was found and what would be right.
    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported>;

    /// Whether drawing costs nothing, so that drawing again after a fault harms nobody.
    fn is_free(&self) -> bool {
        false
    }

    /// About what a picture will cost, in US dollars, for what is to be paid before that is known; `None`: nobody knows.
    fn estimate_usd(&self, spec: &CheckedSpec) -> Option<f64> {
        let model = catalog::find(self.name(), &spec.model)?;
        catalog::estimate_usd(model, spec.quality.as_deref())
    }

    /// What is sent for a person's prompt: the prompt, followed by what is wanted of every picture
    /// (`PROMPT_SUFFIX_ICON`, `PROMPT_SUFFIX_IMAGE`).
    /// Providers that do not read instructions send the prompt as it is.
    fn prompt_for(&self, prompt: &Prompt, suffix: &str) -> Prompt {
        prompt.followed_by(suffix)
    }

    /// Asks for one image and waits for its bytes, at most until the call's deadline.
    ///
    /// A service that works on it for a while and gives an id first: [`Watch::accepted`] comes before the first
    /// poll, and from then on the service's own verdict alone ends the call.
    ///
    /// # Errors
    /// [`NotDrawn::Ended`] with the class that decides about another call; [`NotDrawn::GoesOn`] where the service has
    /// accepted the order: it is asked again by [`ImageProvider::resume`], and nothing is bought in its place.
    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn>;

    /// The handle that the service would know a call by even if its answer were lost: for services that take an
    /// id from their caller.
    fn handle_of(&self, _call_id: Uuid) -> Option<String> {
        None
    }

    /// Looks for an order that was sent at about `sent_at` and whose handle was lost. Never buys anything.
    ///
    /// Ask only when nobody can be sending the order any more: [`Found::NeverTaken`] says that another may be bought.
    /// A handle that is another call's already, for the same prompt, is not this one's.
    ///
    /// # Errors
    /// [`ProviderError`]: the service did not answer, and may be asked again later.
    async fn find(&self, _call: &Call<'_>, _sent_at: DateTime<Utc>) -> Result<Found, ProviderError> {
        Ok(Found::Unknown)
    }

    /// Asks again for the picture of a call that was accepted under `handle`. Never buys anything.
    ///
    /// # Errors
    /// [`NotDrawn::GoesOn`]: to be asked again later, whatever the class. [`NotDrawn::Ended`]: the call has failed
    /// for this reason; with `Ambiguous` nobody will ever know, the service has forgotten the handle.
    async fn resume(&self, _handle: &str, _call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        Err(NotDrawn::Ended(ProviderError {
            provider: self.name(),
            class: ErrorClass::Ambiguous,
            details: "it cannot be asked again for a picture".to_owned(),
            request_id: None,
            retry_after: None,
        }))
    }

    /// Whether [`Self::find`] can find an order whose answer was lost. It takes about half a minute until all are listed.
    fn lists_orders(&self) -> bool {
        false
    }

    /// Tells the service that nobody wants the picture any more, where it can be told. Best effort. `true`: it has confirmed
    /// that the order is ended.
    async fn cancel(&self, _handle: &str) -> bool {
        false
    }
}
