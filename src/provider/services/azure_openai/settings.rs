//! What an operator says about a resource and its deployment.

use super::AzureOpenAi;
use crate::http_client::Downloads;
use crate::provider::ImageProvider;
use crate::settings::{Reader, Variable, values, variable};
use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use url::Url;

use crate::http_client::check_base_url;
use crate::provider::catalog;
use crate::provider::catalog::repeated;
use crate::provider::wire::account::ServiceSettings;
use crate::provider::wire::header::header_value;

/// Which of the two paths is used, and with which version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiVersion {
    /// `/openai/v1/…` with the deployment in the body. `true`: its preview.
    V1(bool),
    /// `/openai/deployments/<deployment>/…?api-version=<this date>`.
    Dated(String),
}

impl ApiVersion {
    /// `v1`, `preview`, or a date such as `2025-04-01-preview`.
    ///
    /// # Errors
    /// What was found and what is accepted, to stand after the variable's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "v1" => return Ok(Self::V1(false)),
            "preview" => return Ok(Self::V1(true)),
            _ => {}
        }
        let date = text.strip_suffix("-preview").unwrap_or(text);
        let is_date = date.len() == 10 && chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok();
        if is_date {
            return Ok(Self::Dated(text.to_owned()));
        }
        Err(format!(
            "\"{}\" was found; v1, preview, or a date such as 2025-04-01-preview is accepted",
            repeated(text)
        ))
    }
}

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable(
        "AZURE_OPENAI_API_BASE",
        None,
        "https://resource.openai.azure.com",
        "Where Azure's OpenAI service is",
    ),
    variable("AZURE_OPENAI_API_KEY", None, "...", "Key of that resource"),
    variable(
        "AZURE_OPENAI_API_DALLE_DEPLOYMENT_NAME",
        None,
        "gpt-image-2",
        "The deployment that draws, whichever model is behind it",
    ),
    variable(
        "AZURE_OPENAI_API_VERSION",
        Some("v1"),
        "v1",
        "v1, preview, or a date such as 2025-04-01-preview, which asks below /openai/deployments",
    ),
    variable(
        "AZURE_OPENAI_API_MODEL",
        None,
        "gpt-image-2",
        "The model behind the deployment. Default: seen from the deployment's name",
    ),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct AzureOpenAiSettings {
    /// `https://<resource>.openai.azure.com`. `None` = not configured: every request is refused before it is sent.
    pub base_url: Option<Url>,
    /// `None` or empty = not configured.
    pub api_key: Option<SecretString>,
    /// The one deployment that packages may name. `None` = not configured.
    pub deployment: Option<String>,
    /// Which path and version.
    pub version: ApiVersion,
    /// Id of OpenAI's model behind the deployment, where its name does not tell.
    pub model: Option<String>,
}

impl AzureOpenAiSettings {
    /// Reads [`VARIABLES`] and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            base_url: reader.optional("AZURE_OPENAI_API_BASE", values::http_url),
            api_key: reader.secret("AZURE_OPENAI_API_KEY"),
            deployment: reader.text("AZURE_OPENAI_API_DALLE_DEPLOYMENT_NAME"),
            version: reader.or_default("AZURE_OPENAI_API_VERSION", ApiVersion::parse),
            model: reader.text("AZURE_OPENAI_API_MODEL"),
        };
        reader.all_faults(settings.faults());
        settings
    }

    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let key = self.api_key.as_ref().map(|key| key.expose_secret());
        let key = key.and_then(|key| header_value("AZURE_OPENAI_API_KEY", key).err());
        let base = self.base_url.as_ref().map(resource);
        let base = base.and_then(|base| check_base_url(&base).context("AZURE_OPENAI_API_BASE").err());
        let mut faults: Vec<String> = key
            .into_iter()
            .chain(base)
            .map(|error| format!("{error:#}"))
            .collect();
        if let Some(model) = &self.model
            && catalog::find("openai", model).is_none()
        {
            faults.push(format!(
                "AZURE_OPENAI_API_MODEL: \"{}\" was found; the id of a model of OpenAI is accepted, such as gpt-image-2",
                repeated(model)
            ));
        }
        faults
    }
}

impl ServiceSettings for AzureOpenAiSettings {
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(AzureOpenAi::new(self.clone(), downloads.clone())?))
    }
}

/// The resource's own address: some write down a path below it, which is ours to add.
pub(super) fn resource(base_url: &Url) -> Url {
    let mut base = base_url.clone();
    let path = base.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path);
    let path = path.strip_suffix("/openai").unwrap_or(path).to_owned();
    base.set_path(&path);
    base
}
