//! Google's Gemini API (the one with API keys): one call, one picture, as base64 in JSON.
//!
//! An answer that is lost cannot be asked for again. What goes on the wire and what an answer means is shared with
//! Vertex AI: see `google`.
//!
//! Source: Gemini API guide, "Image generation"; Gemini API reference, "Using Gemini API keys".

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use chrono::Utc;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::incident::Incident;
use super::{
    Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, ProviderError, Unsupported, google, models,
};
use crate::failure::ErrorClass;
use crate::http_client::{HttpClient, check_base_url};

#[cfg(test)]
mod tests;

/// The name that packages write.
const NAME: &str = "gemini";
/// Seeds are 32 bits wide. Source: Gemini API reference, "GenerationConfig", field `seed`.
pub(super) const MAX_SEED: i64 = i32::MAX as i64;

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct GeminiSettings {
    /// `None` or empty = not configured: every request is refused before it is sent.
    pub api_key: Option<SecretString>,
    /// `https://generativelanguage.googleapis.com`, without the version of the API.
    pub base_url: Url,
}

impl GeminiSettings {
    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let key = self.api_key.as_ref().and_then(|key| key_header(key).err());
        let base_url = check_base_url(&self.base_url).context("GEMINI_BASE_URL").err();
        let faults = key.into_iter().chain(base_url);
        faults.map(|error| format!("{error:#}")).collect()
    }
}

fn key_header(key: &SecretString) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(key.expose_secret().trim()).map_err(|_| {
        anyhow!(
            "GEMINI_API_KEY: the value has characters that no HTTP header can carry; write it on one line, in plain ASCII"
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The Gemini API.
#[derive(Debug)]
pub struct Gemini {
    client: HttpClient,
    key: Option<(SecretString, HeaderValue)>,
}

impl Gemini {
    /// Prepares the client; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When the base URL or the key cannot be used. No secret is repeated.
    pub fn new(settings: GeminiSettings) -> anyhow::Result<Self> {
        let client = HttpClient::new(&settings.base_url).context("GEMINI_BASE_URL")?;
        let key = settings
            .api_key
            .filter(|key| !key.expose_secret().trim().is_empty());
        let key = match key {
            Some(key) => {
                let header = key_header(&key)?;
                Some((key, header))
            }
            None => None,
        };
        Ok(Self { client, key })
    }
}

#[async_trait]
impl ImageProvider for Gemini {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = models::check(NAME, spec, Utc::now().date_naive())?;
        models::check_seed(&checked, MAX_SEED)?;
        if self.key.is_none() {
            return Err(Unsupported {
                class: ErrorClass::Auth,
                message: format!(
                    "{NAME} is not configured on this service: GEMINI_API_KEY is not set. Choose another image \
                     provider, or have an operator set it."
                ),
            });
        }
        Ok(checked)
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, ProviderError> {
        let model = models::find(NAME, &call.spec.model);
        let path = format!("v1beta/models/{}:generateContent", call.spec.model);
        let mut incident = Incident {
            provider: NAME,
            request: format!("POST {}", self.client.url(&path).path()),
            prompt: call.prompt.expose(),
            secrets: Vec::new(),
        };
        let Some((key, header)) = &self.key else {
            return Err(incident.error(ErrorClass::Auth, "not sent: GEMINI_API_KEY is not set"));
        };
        incident.secrets.push(key.expose_secret());
        models::check_prompt(model, call.prompt)
            .map_err(|why| incident.error(ErrorClass::InvalidRequest, &why))?;
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-goog-api-key"), header.clone())]);
        let answer = self
            .client
            .post_json(
                &path,
                headers,
                &google::request(call.prompt, call.spec),
                call.deadline,
            )
            .await
            .map_err(|fault| incident.fault(&fault))?;
        // Does nothing where the caller's span has no such field.
        tracing::Span::current().record("http.response.status_code", answer.status.as_u16());
        google::picture_of(&answer, model, &incident).await
    }
}
