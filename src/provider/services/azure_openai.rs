//! Azure's OpenAI service: OpenAI's Images API behind deployments that an operator has named.
//!
//! Owns the two paths, the key's header, and what Azure means by errors of its own; the rest is `openai_images`.
//! A deployment's name does not say which model is behind it, so [`Family`] is told or guessed.
//!
//! Source: Microsoft Learn, "How to use Azure OpenAI image generation models" and "Azure OpenAI in Microsoft
//! Foundry Models REST API reference", as of 2026-09.

use std::sync::LazyLock;

use anyhow::Context;
use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};

use crate::failure::ErrorClass;
use crate::http_client::{Downloads, HttpClient, Outgoing};
use crate::provider::catalog::pixels::{not_configured, refused};
use crate::provider::catalog::{cost_usd, estimate_usd, repeated};
use crate::provider::wire::errors::Signs;
use crate::provider::wire::fetching::{self, Origin};
use crate::provider::wire::header::header_value;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::openai_images::{self, DIALECT, asking};
use crate::provider::wire::reading::Dialect;
use crate::provider::{
    Call, CheckedSpec, Cost, CostBasis, DrawnImage, ImageProvider, ImageSpec, NotDrawn, Unsupported,
};

mod family;
mod settings;
#[cfg(test)]
mod tests;

pub use family::Family;
pub(crate) use settings::VARIABLES;
use settings::resource;
pub use settings::{ApiVersion, AzureOpenAiSettings};

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "azureOpenai";
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// Azure's OpenAI service.
#[derive(Debug)]
pub struct AzureOpenAi {
    access: Option<Access>,
    /// Why there is no access.
    missing: &'static str,
    deployment: Option<String>,
    version: ApiVersion,
    family: Family,
    downloads: Downloads,
}

#[derive(Debug)]
struct Access {
    client: HttpClient,
    key: SecretString,
    headers: HeaderMap,
}

/// Exactly the fields that a deployment takes.
#[derive(serde::Serialize)]
struct Request<'a> {
    /// On the v1 path alone: with it, the other path refuses some models.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    prompt: &'a str,
    n: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    background: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moderation: Option<&'static str>,
    #[serde(flatten)]
    format: Format,
}

/// How the picture is asked for: each family refuses the other's field.
#[derive(serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    OutputFormat(&'static str),
    ResponseFormat(&'static str),
}

impl AzureOpenAi {
    /// Prepares the client; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When the base URL or the key cannot be used. No secret is repeated.
    pub fn new(settings: AzureOpenAiSettings, downloads: Downloads) -> anyhow::Result<Self> {
        let key = settings
            .api_key
            .filter(|key| !key.expose_secret().trim().is_empty());
        let missing = match &settings.base_url {
            None => "AZURE_OPENAI_API_BASE",
            Some(_) => "AZURE_OPENAI_API_KEY",
        };
        let access = match settings.base_url.zip(key) {
            Some((base_url, key)) => {
                let value = header_value("AZURE_OPENAI_API_KEY", key.expose_secret().trim())?;
                Some(Access {
                    client: HttpClient::new(&resource(&base_url)).context("AZURE_OPENAI_API_BASE")?,
                    headers: HeaderMap::from_iter([(API_KEY, value)]),
                    key,
                })
            }
            None => None,
        };
        let deployment = settings.deployment.filter(|deployment| !deployment.is_empty());
        let family = Family::behind(
            deployment.as_deref().unwrap_or_default(),
            settings.model.as_deref(),
            &settings.version,
        );
        Ok(Self {
            access,
            missing,
            deployment,
            version: settings.version,
            family,
            downloads,
        })
    }

    /// Path and query for a deployment.
    fn outgoing(&self, call: &Call<'_>) -> Outgoing {
        let deployment = &*call.spec.model;
        let request = Request {
            model: matches!(self.version, ApiVersion::V1(_)).then_some(deployment),
            prompt: call.prompt.expose(),
            n: 1,
            size: call.spec.size.as_deref(),
            quality: call.spec.quality.as_deref(),
            background: call.spec.background(),
            moderation: call.spec.moderation(),
            format: match self.family {
                Family::DallE => Format::ResponseFormat("b64_json"),
                _ => Format::OutputFormat(call.spec.format()),
            },
        };
        match &self.version {
            ApiVersion::V1(is_preview) => {
                let outgoing = asking("openai/v1/", call, &request);
                match is_preview {
                    true => outgoing.query("api-version", "preview"),
                    false => outgoing,
                }
            }
            ApiVersion::Dated(date) => {
                let segment: String = url::form_urlencoded::byte_serialize(deployment.as_bytes()).collect();
                let segment = segment.replace('+', "%20");
                let base = format!("openai/deployments/{segment}/");
                asking(&base, call, &request).query("api-version", date.as_str())
            }
        }
    }
}

#[async_trait]
impl ImageProvider for AzureOpenAi {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let asked = spec.model.as_deref().filter(|model| !model.is_empty());
        let deployment = match (asked, self.deployment.as_deref()) {
            (None, Some(deployment)) => deployment,
            (Some(model), Some(deployment)) if model == deployment => deployment,
            (Some(model), Some(deployment)) => {
                return Err(refused(format!(
                    "Unsupported image model for {NAME}: {}; use {deployment}",
                    repeated(model)
                )));
            }
            (_, None) => {
                return Err(Unsupported {
                    class: ErrorClass::Auth,
                    message: format!(
                        "No image model is configured for provider: {NAME}; AZURE_OPENAI_API_DALLE_DEPLOYMENT_NAME is \
                         not set"
                    ),
                });
            }
        };
        let (size, quality) = self.family.check(spec, deployment)?;
        let checked = self.family.check_options(spec, deployment)?;
        if self.access.is_none() {
            return Err(not_configured(NAME, self.missing));
        }
        Ok(CheckedSpec {
            model: deployment.to_owned(),
            size: Some(size),
            quality: Some(quality),
            ..checked
        })
    }

    fn estimate_usd(&self, spec: &CheckedSpec) -> Option<f64> {
        estimate_usd(self.family.model()?, spec.quality.as_deref())
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let outgoing = self.outgoing(call);
        let key = self.access.as_ref().map(|access| access.key.expose_secret());
        let incident =
            Incident::new(NAME, format!("POST /{}", outgoing.path()), call.prompt.expose()).with_secrets(key);
        let Some(access) = &self.access else {
            return Err(incident.unset(self.missing).into());
        };
        let outgoing = outgoing
            .headers(access.headers.clone())
            .carrying(call.references.take());
        let answer = access.client.send(outgoing, call.deadline).await;
        let answer = answer.map_err(|fault| incident.fault(&fault))?;
        let reading = incident.picture(answer, OWN_DIALECT).await?;
        let bytes = fetching::obtain(
            reading.picture,
            &incident,
            call,
            &self.downloads,
            access.without_key(),
        )
        .await?;
        let usd = self
            .family
            .model()
            .zip(reading.usage.as_ref())
            .and_then(|(model, usage)| cost_usd(model, usage));
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
        let incident = Incident::new(NAME, "GET a picture".to_owned(), call.prompt.expose());
        let Some(access) = &self.access else {
            return Err(NotDrawn::GoesOn(incident.unset(self.missing)));
        };
        fetching::resume(handle, &incident, call, &self.downloads, access.without_key()).await
    }
}

impl Access {
    /// Pictures are signed by themselves: whoever sends the key along is refused, and has given it away.
    fn without_key(&self) -> Origin<'_> {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        Origin {
            client: &self.client,
            headers: &NONE,
        }
    }
}

/// What Azure means by its answers.
const OWN_DIALECT: Dialect = Dialect { judge, ..DIALECT };

fn judge(signs: &Signs<'_>) -> ErrorClass {
    own_class(signs).unwrap_or_else(|| openai_images::judge(signs))
}

/// What Azure means by signs of its own.
fn own_class(signs: &Signs<'_>) -> Option<ErrorClass> {
    match signs.status {
        // The whole resource is blocked, the network refused, or the key wrong. Never this prompt, although the
        // sentence may quote the content policy.
        401 | 403 => return Some(ErrorClass::Auth),
        // A deployment that is not there, or a path that this version of the API does not have.
        404 | 410 => return Some(ErrorClass::ModelGone),
        _ => {}
    }
    let inner = |name: &str| signs.body.json.as_ref()?.pointer(&format!("/error/{name}"));
    let is_filter = ["innererror", "inner_error"]
        .into_iter()
        .filter_map(inner)
        .any(|inner| {
            inner.get("code").and_then(serde_json::Value::as_str) == Some("ResponsibleAIPolicyViolation")
                || ["content_filter_result", "content_filter_results"]
                    .iter()
                    .any(|name| inner.get(name).is_some_and(|result| !result.is_null()))
        });
    // Azure's look-alikes of codes; what OpenAI has too is known to everybody.
    match signs.body.code.as_deref() {
        _ if is_filter => Some(ErrorClass::Moderation),
        Some("ResponsibleAIPolicyViolation" | "content_filter_error") => Some(ErrorClass::Moderation),
        Some("RateLimitReached") => Some(ErrorClass::RateLimited),
        _ => None,
    }
}
