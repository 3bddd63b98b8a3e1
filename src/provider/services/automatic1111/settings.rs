//! What an operator says about the server.

use super::Automatic1111;
use crate::http_client::Downloads;
use crate::provider::ImageProvider;
use crate::settings::{Reader, Variable, values, variable};
use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::sync::Arc;
use url::Url;

use super::BASE_URL;
use crate::http_client::check_base_url;
use crate::provider::wire::account::{AccountQuestion, ServiceSettings};
use crate::provider::wire::header::header_value;

/// What `AUTOMATIC1111_OPTIONS` may not set.
const OWN_FIELDS: [&str; 9] = [
    "prompt",
    "width",
    "height",
    "seed",
    "batch_size",
    "n_iter",
    "send_images",
    "save_images",
    "force_task_id",
];

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable(
        "AUTOMATIC1111_BASE_URL",
        None,
        "http://127.0.0.1:7860",
        "AUTOMATIC1111's web UI, Forge or SD.Next, started with --api",
    ),
    variable(
        "AUTOMATIC1111_API_KEY",
        None,
        "user:password",
        "As the server was given in --api-auth",
    ),
    variable(
        "AUTOMATIC1111_OPTIONS",
        None,
        "{\"steps\":30}",
        "More fields of txt2img, as a JSON object",
    ),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct Automatic1111Settings {
    /// Where the server is, `http://127.0.0.1:7860` for example. `None` = not configured.
    pub base_url: Option<Url>,
    /// `user:password`, as the server was started with in `--api-auth`.
    pub api_key: Option<SecretString>,
    /// A JSON object with more fields of the request, `{"steps":30}` for example.
    pub options: Option<String>,
}

impl Automatic1111Settings {
    /// Reads [`VARIABLES`] and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            base_url: reader.optional("AUTOMATIC1111_BASE_URL", values::http_url),
            api_key: reader.secret("AUTOMATIC1111_API_KEY"),
            options: reader.text("AUTOMATIC1111_OPTIONS"),
        };
        reader.all_faults(settings.faults());
        settings
    }

    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let base = self.base_url.as_ref();
        let base = base.and_then(|base| check_base_url(base).context(BASE_URL).err());
        [
            credentials(self.api_key.as_ref()).err(),
            base,
            self.more_fields().err(),
        ]
        .into_iter()
        .flatten()
        .map(|error| format!("{error:#}"))
        .collect()
    }

    pub(super) fn more_fields(&self) -> anyhow::Result<Map<String, Value>> {
        let Some(options) = self.options.as_deref().filter(|options| !options.is_empty()) else {
            return Ok(Map::new());
        };
        let fields: Map<String, Value> = serde_json::from_str(options).map_err(|_| {
            anyhow::anyhow!("AUTOMATIC1111_OPTIONS: is not a JSON object; write for example {{\"steps\":30}}")
        })?;
        if let Some(own) = OWN_FIELDS.iter().find(|own| fields.contains_key(**own)) {
            anyhow::bail!("AUTOMATIC1111_OPTIONS: {own} is set by each package and cannot be set here");
        }
        if fields
            .get("override_settings")
            .is_some_and(|settings| !settings.is_object())
        {
            anyhow::bail!("AUTOMATIC1111_OPTIONS: override_settings is not a JSON object");
        }
        Ok(fields)
    }
}

impl ServiceSettings for Automatic1111Settings {
    fn build(&self, _: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(Automatic1111::new(self)?))
    }

    /// Source: AUTOMATIC1111's web UI, "API".
    fn question(&self) -> Option<AccountQuestion> {
        let (headers, _) = credentials(self.api_key.as_ref()).ok()?;
        let base_url = self.base_url.clone()?;
        Some(AccountQuestion::new(base_url, "sdapi/v1/sd-models", headers))
    }
}

/// The header and what must not be repeated.
pub(super) fn credentials(api_key: Option<&SecretString>) -> anyhow::Result<(HeaderMap, Vec<SecretString>)> {
    let key = api_key
        .map(|key| key.expose_secret().trim())
        .filter(|key| !key.is_empty());
    let Some(key) = key else {
        return Ok((HeaderMap::new(), Vec::new()));
    };
    let (_, password) = key
        .split_once(':')
        .context("AUTOMATIC1111_API_KEY: user:password is accepted, as in --api-auth of the server")?;
    let encoded = BASE64_STANDARD.encode(key);
    let value = header_value("AUTOMATIC1111_API_KEY", &format!("Basic {encoded}"))?;
    let secrets = [key, password, &encoded].map(SecretString::from);
    Ok((HeaderMap::from_iter([(AUTHORIZATION, value)]), secrets.to_vec()))
}
