//! Stability AI's "Stable Image" and "Stable Diffusion 3.5": one form, one picture, as base64 in JSON.
//!
//! An answer that is lost cannot be asked for again.
//!
//! Source: Stability AI, REST API v2beta, "Generate".

use crate::settings::{Reader, Variable, values, variable};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use chrono::Utc;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

use crate::failure::ErrorClass;
use crate::http_client::{Downloads, HttpClient};
use crate::provider::catalog::pixels::not_configured;
use crate::provider::wire::account::{AccountQuestion, ServiceSettings};
use crate::provider::wire::key::{self, Key};
use crate::provider::wire::service::Service;
use crate::provider::{
    Call, CheckedSpec, Cost, CostBasis, DrawnImage, ImageProvider, ImageSpec, NotDrawn, ProviderError,
    Unsupported, catalog,
};
use crate::work_package::Prompt;

mod answer;
#[cfg(test)]
mod tests;

use answer::DIALECT;

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "stability";
const KEY: &str = "STABILITY_API_KEY";
const BASE: &str = "STABILITY_BASE_URL";
/// Source: Stability AI, REST API v2beta, "Generate", field `seed`.
const MAX_SEED: i64 = 4_294_967_294;
/// After more than 150 requests in 10 s the service refuses all for this long, and does not say so in a header.
/// Source: Stability AI, REST API v2beta, "Rate limits".
const REFUSAL: Duration = Duration::from_secs(60);

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable("STABILITY_API_KEY", None, "sk-...", "Key of Stability AI"),
    variable(
        "STABILITY_BASE_URL",
        Some("https://api.stability.ai"),
        "https://api.stability.ai",
        "Where Stability AI's API is",
    ),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct StabilitySettings {
    /// `None` or empty = not configured: every request is refused before it is sent.
    pub api_key: Option<SecretString>,
    /// `https://api.stability.ai`, without the version of the API.
    pub base_url: Url,
}

impl StabilitySettings {
    /// Reads [`VARIABLES`] and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            api_key: reader.secret("STABILITY_API_KEY"),
            base_url: reader.or_default("STABILITY_BASE_URL", values::http_url),
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

impl ServiceSettings for StabilitySettings {
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(Stability::new(self.clone(), downloads.clone())?))
    }

    /// Source: Stability AI, REST API v1, "Account balance".
    fn question(&self) -> Option<AccountQuestion> {
        Some(AccountQuestion::bearer(
            &self.base_url,
            "v1/user/balance",
            self.api_key.as_ref(),
        ))
    }
}

fn own_key(key: Option<SecretString>) -> anyhow::Result<Option<Key>> {
    Key::new(KEY, key, AUTHORIZATION, "Bearer ")
}

/// Stability AI.
#[derive(Debug)]
pub struct Stability {
    service: Service,
}

impl Stability {
    /// Prepares the clients; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When the base URL or the key cannot be used. No secret is repeated.
    pub fn new(settings: StabilitySettings, downloads: Downloads) -> anyhow::Result<Self> {
        let client = HttpClient::new(&settings.base_url).context(BASE)?;
        Ok(Self {
            service: Service::new(NAME, client, downloads, own_key(settings.api_key)?),
        })
    }
}

/// A form with these fields. The service takes no other kind of body, with or without files.
///
/// `boundary` stands in none of the values.
fn form(boundary: &str, fields: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, value) in fields {
        body.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str(&format!("--{boundary}--\r\n"));
    body
}

#[async_trait]
impl ImageProvider for Stability {
    fn name(&self) -> &'static str {
        NAME
    }

    /// As it is: these models draw what they read, instructions too.
    fn prompt_for(&self, prompt: &Prompt, _: &str) -> Prompt {
        prompt.clone()
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = catalog::check(NAME, spec, Utc::now().date_naive())?;
        catalog::check_seed(&checked, MAX_SEED)?;
        if !self.service.is_configured() {
            return Err(not_configured(NAME, KEY));
        }
        Ok(checked)
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let model = catalog::find(NAME, &call.spec.model);
        let id = model.map_or(&*call.spec.model, |model| &*model.id);
        let (endpoint, sd3_model) = match id {
            "core" | "ultra" => (id, None),
            id => ("sd3", Some(id)),
        };
        let path = format!("v2beta/stable-image/generate/{endpoint}");
        let incident = self.service.posting(&path, call.prompt);
        self.service.may_send(call, &incident, KEY)?;

        let seed = call.spec.seed.map(|seed| seed.to_string());
        let mut fields = vec![
            ("prompt", call.prompt.expose()),
            ("output_format", call.spec.format()),
        ];
        fields.extend(sd3_model.map(|model| ("model", model)));
        fields.extend(call.spec.size.as_deref().map(|ratio| ("aspect_ratio", ratio)));
        fields.extend(seed.as_deref().map(|seed| ("seed", seed)));
        // New for each call, so that nobody can write a prompt that ends its field.
        let boundary = Uuid::new_v4().simple().to_string();
        let mut request = Request::new(Method::POST, self.service.client().url(&path));
        *request.body_mut() = Some(form(&boundary, &fields).into());
        let kind = format!("multipart/form-data; boundary={boundary}");
        let kind = HeaderValue::from_str(&kind)
            .map_err(|_| incident.error(ErrorClass::Internal, "not sent: the boundary is no header value"))?;
        let mut headers = self.service.headers();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, kind);
        *request.headers_mut() = headers;
        let answer = self.service.client().exchange(request, call.deadline).await;
        let answer = answer.map_err(|fault| incident.fault(&fault))?;
        let reading = incident.picture(answer, DIALECT).await;
        let reading = reading.map_err(|error| match error.class {
            ErrorClass::RateLimited => ProviderError {
                retry_after: error.retry_after.or(Some(REFUSAL)),
                ..error
            },
            _ => error,
        })?;
        let bytes = self.service.obtain(reading.picture, &incident, call).await?;
        Ok(DrawnImage {
            usage: reading.usage,
            cost: model.and_then(|model| model.usd_per_image).map(|usd| Cost {
                usd,
                basis: CostBasis::Estimated,
            }),
            ..DrawnImage::by_model(bytes)
        })
    }

    async fn resume(&self, handle: &str, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        self.service.resume(handle, call).await
    }
}
