//! Any server that speaks OpenAI's Images API: LocalAI, LiteLLM, vLLM-Omni, stable-diffusion.cpp and others.
//!
//! Owns what can be asked of a server of which nothing is known but its address, and the shapes of their answers:
//! only the fields that all of them know are sent, and those that one refuses are left out the second time.
//! Whether a picture costs money is not to be seen from here either: an operator says so, and until then it does.

use crate::settings::{Reader, Variable, values, variable};
use anyhow::Context;
use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use tokio::time::Instant;
use url::Url;

use crate::failure::ErrorClass;
use crate::http_client::{Answer, Downloads, HttpClient, Outgoing, check_base_url};
use crate::provider::catalog::pixels::{not_configured, refused, sides};
use crate::provider::catalog::{self, Model, repeated};
use crate::provider::wire::account::{AccountQuestion, ServiceSettings};
use crate::provider::wire::errors::Signs;
use crate::provider::wire::fetching::{self, Origin};
use crate::provider::wire::header::header_value;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::openai_images::{self, DIALECT, PATH};
use crate::provider::wire::prompt::without_directives;
use crate::provider::wire::reading::Dialect;
use crate::provider::{
    Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn, ProviderError, Unsupported,
};
use crate::work_package::{Prompt, Word};

#[cfg(test)]
mod tests;

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "openaiCompatible";
const BASE_URL: &str = "OPENAI_COMPATIBLE_BASE_URL";
/// What almost every server draws, whichever model is behind it.
const DEFAULT_SIZE: &str = "1024x1024";
const LARGEST_SIDE_PX: u32 = 4096;
const SMALLEST_SIDE_PX: u32 = 64;
/// Longest model id and quality that are passed on.
const WORD_CHARS: usize = 200;
/// Fields that a server may refuse to know, and does without.
const OPTIONAL_FIELDS: [&str; 2] = ["response_format", "seed"];

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable(
        "OPENAI_COMPATIBLE_BASE_URL",
        None,
        "http://127.0.0.1:8080/v1",
        "A server that speaks OpenAI's Images API: LocalAI, LiteLLM, vLLM-Omni, stable-diffusion.cpp, ...",
    ),
    variable(
        "OPENAI_COMPATIBLE_API_KEY",
        None,
        "...",
        "Its key, where it wants one",
    ),
    variable(
        "OPENAI_COMPATIBLE_MODEL",
        None,
        "stablediffusion",
        "Its model, for packages that name none",
    ),
    variable(
        "OPENAI_COMPATIBLE_IS_FREE",
        Some("false"),
        "true",
        "Whether its pictures cost nothing, so that calls are not kept in the ledger and may be repeated",
    ),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct OpenAiCompatibleSettings {
    /// Where the server is, `http://127.0.0.1:8080/v1` for example. `None` = not configured.
    pub base_url: Option<Url>,
    /// Many servers ask for none.
    pub api_key: Option<SecretString>,
    /// The model of packages that name none.
    pub model: Option<String>,
    /// Whether a picture costs nothing, so that drawing again after a fault harms nobody.
    pub is_free: bool,
}

impl OpenAiCompatibleSettings {
    /// Reads [`VARIABLES`] and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            base_url: reader.optional("OPENAI_COMPATIBLE_BASE_URL", values::http_url),
            api_key: reader.secret("OPENAI_COMPATIBLE_API_KEY"),
            model: reader.text("OPENAI_COMPATIBLE_MODEL"),
            is_free: reader.or_default("OPENAI_COMPATIBLE_IS_FREE", values::boolean),
        };
        reader.all_faults(settings.faults());
        settings
    }

    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let key = self.api_key.as_ref().map(|key| key.expose_secret());
        let key = key.and_then(|key| header_value("OPENAI_COMPATIBLE_API_KEY", key).err());
        let base = self.base_url.as_ref();
        let base = base.and_then(|base| check_base_url(base).context(BASE_URL).err());
        let faults = key.into_iter().chain(base);
        faults.map(|error| format!("{error:#}")).collect()
    }
}

impl ServiceSettings for OpenAiCompatibleSettings {
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(OpenAiCompatible::new(self.clone(), downloads.clone())?))
    }

    fn question(&self) -> Option<AccountQuestion> {
        let base_url = self.base_url.as_ref()?;
        Some(AccountQuestion::bearer(base_url, "models", self.api_key.as_ref()))
    }
}

/// Any server that speaks OpenAI's Images API.
#[derive(Debug)]
pub struct OpenAiCompatible {
    client: Option<HttpClient>,
    key: Option<SecretString>,
    headers: HeaderMap,
    model: Option<String>,
    is_free: bool,
    downloads: Downloads,
}

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
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    negative_prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    background: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moderation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'static str>,
}

impl OpenAiCompatible {
    /// Prepares the client; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When the base URL or the key cannot be used. No secret is repeated.
    pub fn new(settings: OpenAiCompatibleSettings, downloads: Downloads) -> anyhow::Result<Self> {
        let client = settings.base_url.as_ref().map(HttpClient::new).transpose();
        let key = settings
            .api_key
            .filter(|key| !key.expose_secret().trim().is_empty());
        let mut headers = HeaderMap::new();
        if let Some(key) = &key {
            let bearer = format!("Bearer {}", key.expose_secret().trim());
            headers.insert(AUTHORIZATION, header_value("OPENAI_COMPATIBLE_API_KEY", &bearer)?);
        }
        Ok(Self {
            client: client.context(BASE_URL)?,
            key,
            headers,
            model: settings.model.filter(|model| !model.is_empty()),
            is_free: settings.is_free,
            downloads,
        })
    }

    /// Asks once, and once more for each optional field that the server does not want. A refusal costs nothing.
    async fn ask(
        &self,
        client: &HttpClient,
        mut request: Request<'_>,
        incident: &Incident<'_>,
        deadline: Instant,
    ) -> Result<Answer, ProviderError> {
        loop {
            let outgoing = Outgoing::post_json(PATH, &request).headers(self.headers.clone());
            let answer = client
                .send(outgoing, deadline)
                .await
                .map_err(|fault| incident.fault(&fault))?;
            let is_sent = |field: &&&str| match **field {
                "seed" => request.seed.is_some(),
                _ => request.response_format.is_some(),
            };
            let unwanted = OPTIONAL_FIELDS
                .iter()
                .filter(is_sent)
                .find(|field| refuses(&answer, field, incident));
            match unwanted {
                Some(&"seed") => request.seed = None,
                Some(_) => request.response_format = None,
                None => return Ok(answer),
            }
        }
    }

    /// Below its own origin the server is asked with the key.
    fn origin<'a>(&'a self, client: &'a HttpClient) -> Origin<'a> {
        Origin {
            client,
            headers: &self.headers,
        }
    }

    fn incident<'a>(&'a self, request: String, prompt: &'a str) -> Incident<'a> {
        let key = self.key.as_ref().map(|key| key.expose_secret());
        Incident::new(NAME, request, prompt).with_secrets(key)
    }
}

/// Whether an answer refuses a request for this field, as far as one can tell among many servers.
fn refuses(answer: &Answer, field: &str, incident: &Incident<'_>) -> bool {
    if !matches!(answer.status.as_u16(), 400 | 422) {
        return false;
    }
    let text = incident.masked(&String::from_utf8_lossy(&answer.body));
    text.contains(field) && incident.answer(answer, judge).class == ErrorClass::InvalidRequest
}

#[async_trait]
impl ImageProvider for OpenAiCompatible {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_free(&self) -> bool {
        self.is_free
    }

    /// The prompt alone, since most of these servers draw instructions; without what some of them obey.
    fn prompt_for(&self, prompt: &Prompt, _: &str) -> Prompt {
        Prompt::new(without_directives(prompt.expose()))
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let given = |option: &Option<String>| option.clone().filter(|text| !text.is_empty());
        let Some(model) = given(&spec.model).or_else(|| self.model.clone()) else {
            return Err(refused(format!(
                "No image model is configured for provider: {NAME}; name one in imageModel, or have an operator set \
                 OPENAI_COMPATIBLE_MODEL"
            )));
        };
        let is_word = |text: &str| text.chars().count() <= WORD_CHARS && !text.chars().any(char::is_control);
        if !is_word(&model) {
            return Err(refused(format!(
                "Unsupported image model for {NAME}: {}; use the id of a model of that server",
                repeated(&model)
            )));
        }
        let size = match given(&spec.size).as_deref() {
            None => Some(DEFAULT_SIZE.to_owned()),
            Some("auto") => None,
            Some(size) => {
                let bounds = SMALLEST_SIDE_PX..=LARGEST_SIDE_PX;
                let found =
                    sides(size).filter(|(width, height)| bounds.contains(width) && bounds.contains(height));
                let (width, height) = found.ok_or_else(|| {
                    refused(format!(
                        "Unsupported image size for {}: {}; use auto or WIDTHxHEIGHT with both edges from \
                         {SMALLEST_SIDE_PX} to {LARGEST_SIDE_PX}",
                        repeated(&model),
                        repeated(size)
                    ))
                })?;
                Some(format!("{width}x{height}"))
            }
        };
        let quality = given(&spec.quality);
        if let Some(quality) = quality.as_deref().filter(|quality| !is_word(quality)) {
            return Err(refused(format!(
                "Unsupported image quality for {}: {}; use a word that its server knows, or leave it out",
                repeated(&model),
                repeated(quality)
            )));
        }
        // Nothing is known of its models but what an operator says in MODELS_FILE.
        let choices = catalog::find(NAME, &model).map(Model::choices);
        let checked = catalog::check_options(choices.unwrap_or_default(), NAME, &model, spec)?;
        if self.client.is_none() {
            return Err(not_configured(NAME, BASE_URL));
        }
        Ok(CheckedSpec {
            model,
            size,
            quality,
            seed: spec.seed,
            ..checked
        })
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let prompt = without_directives(call.prompt.expose());
        let path = self.client.as_ref().map(|client| client.url(PATH));
        let request = format!("POST {}", path.as_ref().map_or(PATH, Url::path));
        let negative = call.spec.negative().map(without_directives);
        let incident = self.incident(request, &prompt).hiding(call.spec.negative());
        let Some(client) = &self.client else {
            return Err(incident.unset(BASE_URL).into());
        };
        if prompt.trim().is_empty() {
            let why = "not sent: nothing is left of the prompt without what a server would obey";
            return Err(incident.error(ErrorClass::InvalidRequest, why).into());
        }
        let request = Request {
            model: &call.spec.model,
            prompt: &prompt,
            n: 1,
            size: call.spec.size.as_deref(),
            quality: call.spec.quality.as_deref(),
            seed: call.spec.seed,
            negative_prompt: negative.as_deref(),
            background: call.spec.background(),
            moderation: call.spec.moderation(),
            output_format: call.spec.options.output_format.map(Word::as_str),
            response_format: Some("b64_json"),
        };
        let answer = self.ask(client, request, &incident, call.deadline).await?;
        let reading = incident.picture(answer, OWN_DIALECT).await?;
        let own = self.origin(client);
        let bytes = fetching::obtain(reading.picture, &incident, call, &self.downloads, own).await?;
        Ok(DrawnImage {
            request_id: reading.id,
            usage: reading.usage,
            ..DrawnImage::by_model(bytes)
        })
    }

    async fn resume(&self, handle: &str, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let incident = self.incident("GET a picture".to_owned(), call.prompt.expose());
        let Some(client) = &self.client else {
            return Err(NotDrawn::GoesOn(incident.unset(BASE_URL)));
        };
        fetching::resume(handle, &incident, call, &self.downloads, self.origin(client)).await
    }
}

const OWN_DIALECT: Dialect = Dialect { judge, ..DIALECT };

/// What these servers mean by signs of their own, and what OpenAI means by the rest.
///
/// Source: LiteLLM documentation, "Budgets, Rate Limits" and "Exception Mapping".
fn judge(signs: &Signs<'_>) -> ErrorClass {
    match signs.body.kinds.iter().any(|kind| kind == "budget_exceeded") {
        true => ErrorClass::Quota,
        false => openai_images::judge(signs),
    }
}
