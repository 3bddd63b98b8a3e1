//! Image providers: from a prompt to the bytes of one picture.
//!
//! Owns the trait, the errors and the list of providers; each provider is one file below and knows its
//! service's wire format alone. What happens to the bytes afterwards (checking, marking, resizing,
//! storing) is the generators' business, what happens after an error is the worker's.

pub mod account;
pub mod automatic1111;
pub mod azure_openai;
pub mod bfl;
pub mod blank;
pub mod builtin;
mod call;
pub mod comfyui;
pub mod error_body;
pub mod fal;
pub mod fallback;
pub mod gemini;
mod google;
pub mod google_auth;
mod header;
pub mod imagen;
mod incident;
mod key;
pub mod models;
pub mod openai;
pub mod openai_compatible;
pub mod openai_images;
mod picture_text;
mod pixels;
mod plain_prompt;
pub mod policy;
mod polling;
pub mod replicate;
mod self_hosted;
pub mod stability;
#[cfg(test)]
pub(crate) mod suite;
pub mod waits;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::failure::{ErrorClass, Failure};
use crate::work_package::{ImageOptions, ImageType, MAX_PROMPT_CHARS, OutputFormat, Prompt, Word};

pub use crate::imaging::DigitalSource;
pub use call::{Call, Cost, CostBasis, DrawnImage, Found, NotDrawn, Unwatched, Watch};

/// What a package asks of a provider. `None` = the provider's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSpec {
    /// What the picture is for; decides default sizes.
    pub image_type: ImageType,
    /// Model id as the provider writes it.
    pub model: Option<String>,
    /// `WIDTHxHEIGHT` in pixels, an aspect ratio such as `16:9`, or a word such as `auto`.
    pub size: Option<String>,
    /// A word such as `low`.
    pub quality: Option<String>,
    /// For providers that have seeds.
    pub seed: Option<i64>,
    /// Refused by providers that do not have them.
    pub options: ImageOptions,
}

/// An [`ImageSpec`] that a provider has accepted, with its defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedSpec {
    /// Model id as it goes on the wire.
    pub model: String,
    /// Size as it goes on the wire.
    pub size: Option<String>,
    /// Quality as it goes on the wire.
    pub quality: Option<String>,
    /// Seed, where given and known to the provider.
    pub seed: Option<i64>,
    /// What was asked for besides, all of which the provider has.
    pub options: ImageOptions,
}

impl CheckedSpec {
    /// The format to ask the service for: PNG, unless another was asked for.
    #[must_use]
    pub(in crate::provider) fn format(&self) -> &'static str {
        self.options.output_format.unwrap_or(OutputFormat::Png).as_str()
    }

    /// The level of moderation to ask for, where one was asked for.
    #[must_use]
    pub(in crate::provider) fn moderation(&self) -> Option<&'static str> {
        self.options.moderation.map(Word::as_str)
    }

    /// The background to ask for, where one was asked for.
    pub(in crate::provider) fn background(&self) -> Option<&'static str> {
        self.options.background.map(Word::as_str)
    }
}

/// A request that a provider refuses before anything is spent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unsupported {
    /// `InvalidRequest`, `ModelGone`, or `Auth` where the provider is not configured. Never retried.
    pub class: ErrorClass,
    /// One sentence for the person: what was found and what would be right.
    pub message: String,
}

impl From<Unsupported> for Failure {
    fn from(unsupported: Unsupported) -> Self {
        Failure::new(unsupported.class, unsupported.message)
    }
}

/// Why a provider delivered no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{provider}: {details}")]
pub struct ProviderError {
    /// Name of the provider, as packages write it.
    pub provider: &'static str,
    /// Judged by network state, then status and code, then structured fields, and phrases last.
    pub class: ErrorClass,
    /// For the operator: method, path, status, code and the redacted, shortened answer.
    pub details: String,
    /// The provider's own id of the call, for its support.
    pub request_id: Option<String>,
    /// The wait that the provider asked for.
    pub retry_after: Option<Duration>,
}

impl From<ProviderError> for Failure {
    /// Says to the person what happened, who did it and what to do, and keeps the rest for the operator.
    fn from(error: ProviderError) -> Self {
        let who = error.provider;
        let request = error
            .request_id
            .as_ref()
            .map(|id| format!(" (request {id})"))
            .unwrap_or_default();
        let message = match error.class {
            ErrorClass::Moderation => format!(
                "{who} refused this prompt under its content policy{request}. Change the prompt and start the job again."
            ),
            ErrorClass::Auth => format!(
                "{who} did not accept this service's credentials{request}. Tell an operator; the prompt is not the cause."
            ),
            ErrorClass::Quota => format!(
                "This service's account at {who} has no credit left or has reached its spending limit{request}. An operator has to change that first."
            ),
            ErrorClass::ModelGone => format!(
                "{who} no longer offers the model that was asked for{request}. Choose another model and start the job again."
            ),
            ErrorClass::InvalidRequest => format!(
                "{who} does not accept this request{request}. Change the model, size, quality or prompt and start the job again."
            ),
            ErrorClass::RateLimited => format!(
                "{who} receives more requests than it allows{request}. Start the job again in some minutes."
            ),
            ErrorClass::Overloaded | ErrorClass::Network => format!(
                "{who} could not be reached or is overloaded{request}. Start the job again in some minutes."
            ),
            ErrorClass::Ambiguous | ErrorClass::TimedOut => format!(
                "{who} was asked for the picture and did not answer in time{request}. Start the job again in some minutes."
            ),
            _ => format!(
                "{who} answered without a usable picture{request}. Start the job again in some minutes."
            ),
        };
        Failure::new(error.class, message)
            .with_details(error.to_string())
            .with_retry_after(error.retry_after)
    }
}

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

    /// What is sent for a person's prompt: the prompt, followed by what this service wants of every picture.
    /// Providers that do not read instructions send the prompt as it is.
    fn prompt_for(&self, prompt: &Prompt, image_type: ImageType) -> Prompt {
        instructed(prompt, image_type)
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

/// Adds the instruction that keeps pictures free of made-up text, unless the prompt is so long already that
/// both together would be refused.
fn instructed(prompt: &Prompt, image_type: ImageType) -> Prompt {
    let kind = match image_type {
        ImageType::Icon => "icon that is clear at a small size",
        ImageType::Collection => "image",
    };
    let text = format!(
        "{}\n\nInstruction: Create a high quality {kind} for the user's project and follow their style \
         instructions. Do not add text to the image unless asked in the style instructions.",
        prompt.expose()
    );
    if text.chars().count() > MAX_PROMPT_CHARS {
        prompt.clone()
    } else {
        Prompt::new(text)
    }
}

/// The providers of a replica, by name.
pub struct Providers {
    all: Vec<Arc<dyn ImageProvider>>,
    default: String,
    fallbacks: Vec<String>,
}

impl Providers {
    /// `default` is used by packages that name none (`IMAGE_PROVIDER`), `fallbacks` in their order when the one that
    /// was meant cannot draw (`IMAGE_PROVIDER_FALLBACKS`).
    #[must_use]
    pub fn new(all: Vec<Arc<dyn ImageProvider>>, default: impl Into<String>, fallbacks: Vec<String>) -> Self {
        Self {
            all,
            default: default.into(),
            fallbacks,
        }
    }

    /// All providers.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn ImageProvider>> {
        self.all.iter()
    }

    /// Names of all providers.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.all.iter().map(|provider| provider.name())
    }

    /// Models of the providers that are configured.
    pub fn models(&self) -> impl Iterator<Item = &'static models::Model> {
        let is_configured =
            |provider: &&Arc<dyn ImageProvider>| provider.check(&ImageSpec::default()).is_ok();
        let configured = self.all.iter().filter(is_configured);
        configured.flat_map(|provider| models::all(provider.name()))
    }

    /// Name of the provider that a package is for.
    #[must_use]
    pub fn name_of<'a>(&'a self, name: Option<&'a str>) -> &'a str {
        name.unwrap_or(&self.default)
    }

    /// Those that may draw in place of `meant`, in their order.
    pub fn fallbacks_for<'a>(&'a self, meant: &'a str) -> impl Iterator<Item = Arc<dyn ImageProvider>> {
        self.fallbacks
            .iter()
            .filter(move |name| *name != meant)
            .filter_map(|name| self.select(Some(name)).ok())
    }

    /// The provider that a package names, or the default one.
    ///
    /// # Errors
    /// [`Unsupported`] for a name that this version does not know.
    pub fn select(&self, name: Option<&str>) -> Result<Arc<dyn ImageProvider>, Unsupported> {
        let name = self.name_of(name);
        self.all
            .iter()
            .find(|provider| provider.name() == name)
            .cloned()
            .ok_or_else(|| {
                let known: Vec<_> = self.all.iter().map(|provider| provider.name()).collect();
                let found: String = name.chars().take(80).collect();
                Unsupported {
                    class: ErrorClass::InvalidRequest,
                    message: format!(
                        "Unsupported image provider: {found}; this version has {}",
                        known.join(", ")
                    ),
                }
            })
    }
}
