//! OpenAI's Images API: one call, one picture, as base64 in JSON.
//!
//! Owns what goes on the wire and what an answer means. An answer that is lost cannot be asked for again,
//! so every doubt whether a picture was made ends as `Ambiguous`.
//!
//! Source: OpenAI API reference, "Create image"; OpenAI guides "Error codes" and "Rate limits".

use anyhow::Context;
use async_trait::async_trait;
use chrono::Utc;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::failure::ErrorClass;
use crate::http_client::{HttpClient, check_base_url};
use crate::provider::catalog;
use crate::provider::catalog::pixels::not_configured;
use crate::provider::wire::account::{AccountQuestion, HasAccount};
use crate::provider::wire::header::header_value;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::openai_images::{Found, PATH, Report, picture_of, request_id};
use crate::provider::{
    Call, CheckedSpec, Cost, CostBasis, DigitalSource, DrawnImage, ImageProvider, ImageSpec, NotDrawn,
    Unsupported,
};
use crate::work_package::Prompt;

#[cfg(test)]
mod tests;

/// The name that packages write.
const NAME: &str = "openai";

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
    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let key = self.api_key.as_ref().map(|key| key.expose_secret());
        let values = [
            ("OPENAI_API_KEY", key),
            ("OPENAI_ORG_ID", self.organization.as_deref()),
            ("OPENAI_PROJECT_ID", self.project.as_deref()),
        ];
        values
            .into_iter()
            .filter_map(|(variable, value)| header_value(variable, value?).err())
            .chain(check_base_url(&self.base_url).context("OPENAI_BASE_URL").err())
            .map(|error| format!("{error:#}"))
            .collect()
    }
}

impl HasAccount for OpenAiSettings {
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
    client: HttpClient,
    credentials: Option<Credentials>,
}

#[derive(Debug)]
struct Credentials {
    key: SecretString,
    headers: HeaderMap,
}

impl OpenAi {
    /// Prepares the client; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When the base URL or one of the values for headers cannot be used. No secret is repeated.
    pub fn new(settings: OpenAiSettings) -> anyhow::Result<Self> {
        let client = HttpClient::new(&settings.base_url).context("OPENAI_BASE_URL")?;
        let key = settings
            .api_key
            .filter(|key| !key.expose_secret().trim().is_empty());
        let credentials = match key {
            Some(key) => Some(Credentials {
                headers: headers(&key, settings.organization, settings.project)?,
                key,
            }),
            None => None,
        };
        Ok(Self { client, credentials })
    }

    /// Starts the description of a call that failed.
    fn report<'a>(&'a self, path: &str, prompt: &'a Prompt) -> Report<'a> {
        let key = self.credentials.as_ref().map(|credentials| &credentials.key);
        Report::new(Incident {
            provider: NAME,
            request: format!("POST {path}"),
            prompt: prompt.expose(),
            secrets: key.map(|key| key.expose_secret()).into_iter().collect(),
        })
    }
}

fn headers(
    key: &SecretString,
    organization: Option<String>,
    project: Option<String>,
) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {}", key.expose_secret().trim());
    let named = [
        ("OPENAI_API_KEY", AUTHORIZATION, Some(bearer)),
        (
            "OPENAI_ORG_ID",
            HeaderName::from_static("openai-organization"),
            organization,
        ),
        (
            "OPENAI_PROJECT_ID",
            HeaderName::from_static("openai-project"),
            project,
        ),
    ];
    for (variable, name, value) in named {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            continue;
        };
        headers.insert(name, header_value(variable, &value)?);
    }
    Ok(headers)
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
        if self.credentials.is_none() {
            return Err(not_configured(NAME, "OPENAI_API_KEY"));
        }
        Ok(checked)
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let Call {
            prompt,
            spec,
            deadline,
            ..
        } = *call;
        let url = self.client.url(PATH);
        let report = self.report(url.path(), prompt);
        let Some(credentials) = &self.credentials else {
            return Err(report
                .error(ErrorClass::Auth, "not sent: OPENAI_API_KEY is not set")
                .into());
        };
        let model = catalog::find(NAME, &spec.model);
        if let Some(model) = model {
            let length = prompt.expose().chars().count();
            if length > model.prompt_max_chars {
                let why = format!(
                    "not sent: the prompt has {length} characters, {} takes at most {}",
                    spec.model, model.prompt_max_chars
                );
                return Err(report.error(ErrorClass::InvalidRequest, &why).into());
            }
        }
        let request = Request {
            model: &spec.model,
            prompt: prompt.expose(),
            n: 1,
            size: spec.size.as_deref(),
            quality: spec.quality.as_deref(),
            background: spec.background(),
            output_format: spec.format(),
            moderation: spec.moderation().unwrap_or("auto"),
        };
        let answer = self
            .client
            .post_json(PATH, credentials.headers.clone(), &request, deadline)
            .await
            .map_err(|fault| report.fault(&fault))?;
        // Does nothing where the caller's span has no such field.
        tracing::Span::current().record("http.response.status_code", answer.status.as_u16());

        let picture = picture_of(&answer, &report).await?;
        let Found::Bytes(bytes) = picture.found else {
            let why = "the answer holds a URL in place of the picture, which GPT image models never send";
            return Err(report.unusable(&answer, ErrorClass::BadOutput, why).into());
        };
        let usd = model
            .zip(picture.usage.as_ref())
            .and_then(|(model, usage)| catalog::cost_usd(model, usage));
        Ok(DrawnImage {
            bytes,
            source: DigitalSource::TrainedModel,
            request_id: request_id(&answer.headers, &report.incident),
            usage: picture.usage,
            cost: usd.map(|usd| Cost {
                usd,
                basis: CostBasis::Computed,
            }),
        })
    }
}
