//! Stability AI's "Stable Image" and "Stable Diffusion 3.5": one form, one picture, as base64 in JSON.
//!
//! An answer that is lost cannot be asked for again.
//!
//! Source: Stability AI, REST API v2beta, "Generate".

use anyhow::Context;
use async_trait::async_trait;
use chrono::Utc;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

use crate::failure::ErrorClass;
use crate::http_client::HttpClient;
use crate::provider::catalog::pixels::not_configured;
use crate::provider::wire::account::{AccountQuestion, HasAccount};
use crate::provider::wire::incident::Incident;
use crate::provider::wire::key::{self, Key};
use crate::provider::{
    Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn, Unsupported, catalog,
};
use crate::work_package::{ImageType, Prompt};

mod answer;
#[cfg(test)]
mod tests;

/// The name that packages write.
const NAME: &str = "stability";
const KEY: &str = "STABILITY_API_KEY";
const BASE: &str = "STABILITY_BASE_URL";
/// Source: Stability AI, REST API v2beta, "Generate", field `seed`.
const MAX_SEED: i64 = 4_294_967_294;

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct StabilitySettings {
    /// `None` or empty = not configured: every request is refused before it is sent.
    pub api_key: Option<SecretString>,
    /// `https://api.stability.ai`, without the version of the API.
    pub base_url: Url,
}

impl StabilitySettings {
    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        key::faults(own_key(self.api_key.clone()), BASE, &self.base_url)
    }
}

impl HasAccount for StabilitySettings {
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
    client: HttpClient,
    key: Option<Key>,
}

impl Stability {
    /// Prepares the client; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When the base URL or the key cannot be used. No secret is repeated.
    pub fn new(settings: StabilitySettings) -> anyhow::Result<Self> {
        let client = HttpClient::new(&settings.base_url).context(BASE)?;
        let key = own_key(settings.api_key)?;
        Ok(Self { client, key })
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
    fn prompt_for(&self, prompt: &Prompt, _: ImageType) -> Prompt {
        prompt.clone()
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = catalog::check(NAME, spec, Utc::now().date_naive())?;
        catalog::check_seed(&checked, MAX_SEED)?;
        if self.key.is_none() {
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
        let url = self
            .client
            .url(&format!("v2beta/stable-image/generate/{endpoint}"));
        let mut incident = Incident {
            provider: NAME,
            request: format!("POST {}", url.path()),
            prompt: call.prompt.expose(),
            secrets: Vec::new(),
        };
        let Some(key) = &self.key else {
            return Err(incident
                .error(ErrorClass::Auth, &format!("not sent: {KEY} is not set"))
                .into());
        };
        incident.secrets.push(key.expose());
        catalog::check_prompt(model, call.prompt)
            .map_err(|why| incident.error(ErrorClass::InvalidRequest, &why))?;

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
        let mut request = Request::new(Method::POST, url);
        *request.body_mut() = Some(form(&boundary, &fields).into());
        let kind = format!("multipart/form-data; boundary={boundary}");
        let kind = HeaderValue::from_str(&kind)
            .map_err(|_| incident.error(ErrorClass::Internal, "not sent: the boundary is no header value"))?;
        let more = [
            (ACCEPT, HeaderValue::from_static("application/json")),
            (CONTENT_TYPE, kind),
        ];
        *request.headers_mut() = key
            .headers()
            .into_iter()
            .filter_map(|(name, value)| Some((name?, value)))
            .chain(more)
            .collect();
        let answer = self
            .client
            .exchange(request, call.deadline)
            .await
            .map_err(|fault| incident.fault(&fault))?;
        // Does nothing where the caller's span has no such field.
        tracing::Span::current().record("http.response.status_code", answer.status.as_u16());
        Ok(answer::picture_of(&answer, model, &incident).await?)
    }
}
