//! Google's Gemini API (the one with API keys): one call, one picture, as base64 in JSON.
//!
//! An answer that is lost cannot be asked for again. What goes on the wire and what an answer means is shared with
//! Vertex AI: see `google`.
//!
//! Source: Gemini API guide, "Image generation"; Gemini API reference, "Using Gemini API keys".

use crate::settings::{Reader, Variable, values, variable};
use anyhow::Context;
use async_trait::async_trait;
use chrono::Utc;
use reqwest::header::{HeaderMap, HeaderName};
use secrecy::SecretString;
use std::sync::Arc;
use url::Url;

use crate::http_client::{Downloads, HttpClient};
use crate::provider::catalog::pixels::not_configured;
use crate::provider::wire::account::{AccountQuestion, ServiceSettings};
use crate::provider::wire::google;
use crate::provider::wire::key::{self, Key};
use crate::provider::wire::service::Service;
use crate::provider::{
    Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn, Unsupported, catalog,
};

#[cfg(test)]
mod tests;

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "gemini";
const KEY: &str = "GEMINI_API_KEY";
const BASE: &str = "GEMINI_BASE_URL";

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable(
        "GEMINI_API_KEY",
        None,
        "AIza...",
        "Key of the Gemini API; wins over GOOGLE_API_KEY",
    ),
    variable(
        "GOOGLE_API_KEY",
        None,
        "AIza...",
        "The same, under Google's other name for it",
    ),
    variable(
        "GEMINI_BASE_URL",
        Some("https://generativelanguage.googleapis.com"),
        "https://generativelanguage.googleapis.com",
        "Where the Gemini API is",
    ),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct GeminiSettings {
    /// `None` or empty = not configured: every request is refused before it is sent.
    pub api_key: Option<SecretString>,
    /// `https://generativelanguage.googleapis.com`, without the version of the API.
    pub base_url: Url,
}

impl GeminiSettings {
    /// Reads [`VARIABLES`] and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let own = reader.secret("GEMINI_API_KEY");
        let settings = Self {
            // Other services of Google take keys under the second name, so the first says more.
            api_key: own.or_else(|| reader.secret("GOOGLE_API_KEY")),
            base_url: reader.or_default("GEMINI_BASE_URL", values::http_url),
        };
        reader.all_faults(settings.faults());
        settings
    }

    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        key::faults(own_key(self.api_key.clone()), BASE, &self.base_url)
    }
}

impl ServiceSettings for GeminiSettings {
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(Gemini::new(self.clone(), downloads.clone())?))
    }

    /// Source: Gemini API reference, `models.list`.
    fn question(&self) -> Option<AccountQuestion> {
        let header = HeaderName::from_static("x-goog-api-key");
        Some(AccountQuestion::new(
            &self.base_url,
            "v1beta/models",
            header,
            "",
            self.api_key.as_ref(),
        ))
    }
}

fn own_key(key: Option<SecretString>) -> anyhow::Result<Option<Key>> {
    Key::new(KEY, key, HeaderName::from_static("x-goog-api-key"), "")
}

/// The Gemini API.
#[derive(Debug)]
pub struct Gemini {
    service: Service,
}

impl Gemini {
    /// Prepares the clients; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When the base URL or the key cannot be used. No secret is repeated.
    pub fn new(settings: GeminiSettings, downloads: Downloads) -> anyhow::Result<Self> {
        let client = HttpClient::new(&settings.base_url).context(BASE)?;
        Ok(Self {
            service: Service::new(NAME, client, downloads, own_key(settings.api_key)?),
        })
    }
}

#[async_trait]
impl ImageProvider for Gemini {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = catalog::check(NAME, spec, Utc::now().date_naive())?;
        catalog::check_seed(&checked, google::MAX_SEED)?;
        if !self.service.is_configured() {
            return Err(not_configured(NAME, KEY));
        }
        Ok(checked)
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let path = format!("v1beta/models/{}:generateContent", call.spec.model);
        let incident = self.service.posting(&path, call.prompt);
        self.service.may_send(call, &incident, KEY)?;
        let request = google::request(call.prompt, call.spec);
        let answer = self
            .service
            .post(&path, HeaderMap::new(), &request, &incident, call.deadline)
            .await?;
        let reading = incident.picture(answer, google::DIALECT).await?;
        let bytes = self.service.obtain(reading.picture, &incident, call).await?;
        let model = catalog::find(NAME, &call.spec.model);
        Ok(DrawnImage {
            request_id: reading.id,
            cost: model.and_then(|model| google::cost(model, reading.usage.as_ref())),
            usage: reading.usage,
            ..DrawnImage::by_model(bytes)
        })
    }

    async fn resume(&self, handle: &str, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        self.service.resume(handle, call).await
    }
}
