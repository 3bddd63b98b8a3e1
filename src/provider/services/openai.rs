//! OpenAI's Images API: one call, one picture, as base64 in JSON.
//!
//! Owns what goes on the wire and what an answer means. An answer that is lost cannot be asked for again,
//! so every doubt whether a picture was made ends as `Ambiguous`.
//!
//! Source: OpenAI API reference, "Create image"; OpenAI guides "Error codes" and "Rate limits".

use crate::settings::{Reader, Variable, values, variable};
use anyhow::Context;
use async_trait::async_trait;
use chrono::Utc;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use url::Url;

use crate::http_client::{Downloads, HttpClient, check_base_url};
use crate::provider::catalog;
use crate::provider::catalog::pixels::not_configured;
use crate::provider::wire::account::{AccountQuestion, ServiceSettings};
use crate::provider::wire::header::header_value;
use crate::provider::wire::key::Key;
use crate::provider::wire::openai_images::{DIALECT, PATH};
use crate::provider::wire::service::Service;
use crate::provider::{
    Call, CheckedSpec, Cost, CostBasis, DrawnImage, ImageProvider, ImageSpec, NotDrawn, Unsupported,
};

#[cfg(test)]
mod tests;

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "openai";
const KEY: &str = "OPENAI_API_KEY";
const BASE: &str = "OPENAI_BASE_URL";
const ORGANIZATION: &str = "OPENAI_ORG_ID";
const PROJECT: &str = "OPENAI_PROJECT_ID";

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable("OPENAI_API_KEY", None, "sk-...", "Key of OpenAI"),
    variable(
        "OPENAI_BASE_URL",
        Some("https://api.openai.com/v1"),
        "https://api.openai.com/v1",
        "Where OpenAI's API is",
    ),
    variable("OPENAI_ORG_ID", None, "org-...", "Organization that OpenAI bills"),
    variable("OPENAI_PROJECT_ID", None, "proj_...", "Project that OpenAI bills"),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct OpenAiSettings {
    /// `None` or empty = not configured: every request is refused before it is sent.
    pub api_key: Option<SecretString>,
    /// `https://api.openai.com/v1`, with or without a slash at the end.
    pub base_url: Url,
    /// Sent as `OpenAI-Organization`.
    pub organization: Option<String>,
    /// Sent as `OpenAI-Project`.
    pub project: Option<String>,
}

impl OpenAiSettings {
    /// Reads [`VARIABLES`] and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            api_key: reader.secret("OPENAI_API_KEY"),
            base_url: reader.or_default("OPENAI_BASE_URL", values::http_url),
            organization: reader.text("OPENAI_ORG_ID"),
            project: reader.text("OPENAI_PROJECT_ID"),
        };
        reader.all_faults(settings.faults());
        settings
    }

    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let key = self.api_key.as_ref().map(|key| key.expose_secret());
        let values = [
            (KEY, key),
            (ORGANIZATION, self.organization.as_deref()),
            (PROJECT, self.project.as_deref()),
        ];
        values
            .into_iter()
            .filter_map(|(variable, value)| header_value(variable, value?).err())
            .chain(check_base_url(&self.base_url).context(BASE).err())
            .map(|error| format!("{error:#}"))
            .collect()
    }

    fn key(&self) -> anyhow::Result<Option<Key>> {
        let Some(key) = Key::new(KEY, self.api_key.clone(), AUTHORIZATION, "Bearer ")? else {
            return Ok(None);
        };
        let organization = HeaderName::from_static("openai-organization");
        let project = HeaderName::from_static("openai-project");
        key.with(ORGANIZATION, organization, self.organization.as_deref())?
            .with(PROJECT, project, self.project.as_deref())
            .map(Some)
    }
}

impl ServiceSettings for OpenAiSettings {
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(OpenAi::new(self.clone(), downloads.clone())?))
    }

    /// Source: OpenAI API reference, "List models".
    fn question(&self) -> Option<AccountQuestion> {
        Some(AccountQuestion::bearer(
            &self.base_url,
            "models",
            self.api_key.as_ref(),
        ))
    }
}

/// OpenAI's Images API.
#[derive(Debug)]
pub struct OpenAi {
    service: Service,
}

impl OpenAi {
    /// Prepares the clients; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When the base URL or one of the values for headers cannot be used. No secret is repeated.
    pub fn new(settings: OpenAiSettings, downloads: Downloads) -> anyhow::Result<Self> {
        let client = HttpClient::new(&settings.base_url).context(BASE)?;
        Ok(Self {
            service: Service::new(NAME, client, downloads, settings.key()?),
        })
    }
}

/// Exactly the fields that GPT image models take: one more, and the request is refused.
/// Source: OpenAI API reference, "Create image", as of 2026-11.
#[derive(serde::Serialize)]
struct Request<'a> {
    model: &'a str,
    prompt: &'a str,
    n: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    background: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complexity: Option<&'static str>,
    output_format: &'static str,
    moderation: &'static str,
}

#[async_trait]
impl ImageProvider for OpenAi {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = catalog::check(NAME, spec, Utc::now().date_naive())?;
        if !self.service.is_configured() {
            return Err(not_configured(NAME, KEY));
        }
        Ok(checked)
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let incident = self.service.posting(PATH, call.prompt);
        self.service.may_send(call, &incident, KEY)?;
        let spec = call.spec;
        let request = Request {
            model: &spec.model,
            prompt: call.prompt.expose(),
            n: 1,
            size: spec.size.as_deref(),
            quality: spec.quality.as_deref(),
            background: spec.background(),
            complexity: spec.complexity(),
            output_format: spec.format(),
            moderation: spec.moderation().unwrap_or("auto"),
        };
        let answer = self
            .service
            .post(PATH, HeaderMap::new(), &request, &incident, call.deadline)
            .await?;
        let reading = incident.picture(answer, DIALECT).await?;
        let bytes = self.service.obtain(reading.picture, &incident, call).await?;
        let usd = catalog::find(NAME, &spec.model)
            .zip(reading.usage.as_ref())
            .and_then(|(model, usage)| catalog::cost_usd(model, usage));
        Ok(DrawnImage {
            request_id: reading.id,
            usage: reading.usage,
            cost: usd.map(|usd| Cost {
                usd,
                basis: CostBasis::Computed,
            }),
            ..DrawnImage::by_model(bytes)
        })
    }

    async fn resume(&self, handle: &str, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        self.service.resume(handle, call).await
    }
}
