//! `flux`: the FLUX models (or whichever model an operator names) on Replicate.
//!
//! Owns what goes on the wire and what a prediction means. An order that was answered has an id, under which it
//! can be asked for; an order whose answer is lost may be under way all the same, and ends as `Ambiguous`: see
//! `listing` for how its id may be found.
//!
//! Source: Replicate, "HTTP API" (predictions.create, predictions.get, predictions.cancel, models.predictions.create)
//! and the topic pages "Create a prediction", "Prediction lifecycle", "Rate limits".

use crate::settings::{Reader, Variable, values, variable};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use url::Url;

use crate::failure::ErrorClass;
use crate::http_client::{Downloads, HttpClient};
use crate::provider::wire::account::{AccountQuestion, ServiceSettings};
use crate::provider::wire::errors::judge_by_path;
use crate::provider::wire::incident::{Incident, is_plain_id};
use crate::provider::wire::key::{self, Key};
use crate::provider::wire::polling::{self, Look, Polled};
use crate::provider::wire::service::Service;
use crate::provider::{
    Call, CheckedSpec, DrawnImage, Found, ImageProvider, ImageSpec, NotDrawn, ProviderError, Unsupported,
    catalog,
};
use crate::work_package::Prompt;

mod check;
mod listing;
mod prediction;
#[cfg(test)]
mod tests;

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "flux";
const TOKEN: &str = "REPLICATE_API_TOKEN";
const BASE: &str = "REPLICATE_BASE_URL";
const MODEL: &str = "FLUX_PRO_MODEL_NAME";
/// How long the service holds its first answer back for a picture that comes quickly. Meanwhile nobody here knows
/// the prediction's id, and a crash would cost the picture.
const WAIT: Duration = Duration::from_secs(2);

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable(
        "REPLICATE_API_TOKEN",
        None,
        "r8_...",
        "Token of Replicate, for flux",
    ),
    variable(
        "REPLICATE_BASE_URL",
        Some("https://api.replicate.com/v1"),
        "https://api.replicate.com/v1",
        "Where Replicate's API is",
    ),
    variable(
        "FLUX_PRO_MODEL_NAME",
        None,
        "black-forest-labs/flux-1.1-pro",
        "The model of flux: owner/name, owner/name:version or deployments/owner/name",
    ),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct ReplicateSettings {
    /// `REPLICATE_API_TOKEN`. `None` or empty = not configured: every request is refused before it is sent.
    pub api_token: Option<SecretString>,
    /// `REPLICATE_BASE_URL`, such as `https://api.replicate.com/v1`.
    pub base_url: Url,
    /// `FLUX_PRO_MODEL_NAME`: `owner/name`, `owner/name:version`, a version alone, or `deployments/owner/name`.
    pub model: Option<String>,
}

impl ReplicateSettings {
    /// Reads [`VARIABLES`] and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            api_token: reader.secret("REPLICATE_API_TOKEN"),
            base_url: reader.or_default("REPLICATE_BASE_URL", values::http_url),
            model: reader.text("FLUX_PRO_MODEL_NAME"),
        };
        reader.all_faults(settings.faults());
        settings
    }

    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = key::faults(own_key(self.api_token.clone()), BASE, &self.base_url);
        let target = self.model.as_deref().map(Target::parse).transpose();
        faults.extend(target.err().map(|error| format!("{error:#}")));
        faults
    }
}

impl ServiceSettings for ReplicateSettings {
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(Replicate::new(self.clone(), downloads.clone())?))
    }

    /// Source: Replicate, "HTTP API", `account.get`.
    fn question(&self) -> Option<AccountQuestion> {
        Some(AccountQuestion::bearer(
            &self.base_url,
            "account",
            self.api_token.as_ref(),
        ))
    }
}

fn own_key(token: Option<SecretString>) -> anyhow::Result<Option<Key>> {
    Key::new(TOKEN, token, AUTHORIZATION, "Bearer ")
}

/// Where predictions of the configured model are created.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// A path of its own: official models and deployments.
    Own(String),
    /// The common path, with this version in the body.
    Version(String),
}

impl Target {
    fn parse(model: &str) -> anyhow::Result<Self> {
        let is_version = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (name, version) = match model.split_once(':') {
            Some((name, version)) => (name, Some(version)),
            None => (model, None),
        };
        let parts: Vec<&str> = name.split('/').collect();
        let is_plain = parts.iter().all(|part| is_plain_id(part)) && version.is_none_or(is_plain_id);
        match (&parts[..], version) {
            ([_, _], None) if is_plain => Ok(Self::Own(format!("models/{name}/predictions"))),
            (["deployments", _, _], None) if is_plain => Ok(Self::Own(format!("{name}/predictions"))),
            ([_, _], Some(_)) if is_plain => Ok(Self::Version(model.to_owned())),
            ([_], None) if is_version(name) => Ok(Self::Version(model.to_owned())),
            _ => bail!(
                "{MODEL}: a model is written owner/name, owner/name:version or deployments/owner/name, such as \
                 black-forest-labs/flux-1.1-pro"
            ),
        }
    }
}

/// FLUX on Replicate.
pub struct Replicate {
    service: Service,
    model: Option<(String, Target)>,
}

impl Replicate {
    /// Prepares the clients; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When one of the settings cannot be used. No secret is repeated.
    pub fn new(settings: ReplicateSettings, downloads: Downloads) -> anyhow::Result<Self> {
        let client = HttpClient::new(&settings.base_url).context(BASE)?;
        let model = match settings.model.filter(|model| !model.is_empty()) {
            Some(model) => {
                let target = Target::parse(&model)?;
                Some((model, target))
            }
            None => None,
        };
        Ok(Self {
            service: Service::new(NAME, client, downloads, own_key(settings.api_token)?),
            model,
        })
    }
}

/// The fields that the FLUX models share. One that a model does not know is refused with 422 before it costs.
/// Source: Replicate, the models' "Schema" pages, as of 2026-11.
fn input(call: &Call<'_>) -> Map<String, Value> {
    let mut input = Map::new();
    input.insert("prompt".into(), call.prompt.expose().into());
    if let Some(ratio) = &call.spec.size {
        input.insert("aspect_ratio".into(), ratio.as_str().into());
    }
    if let Some(seed) = call.spec.seed {
        input.insert("seed".into(), seed.into());
    }
    // The default is WebP, in which many places cannot show a picture.
    let format = match call.spec.format() {
        "jpeg" => "jpg",
        format => format,
    };
    input.insert("output_format".into(), format.into());
    input
}

fn unusable(message: String) -> Unsupported {
    Unsupported {
        class: ErrorClass::Auth,
        message,
    }
}

/// `Prefer: wait=2`. Not `Cancel-After`: the deadline bounds what is bought, not what is fetched, and with it the
/// service would end a prediction that a later attempt is going to ask for. Its own limit bounds one that hangs.
fn headers(deadline: Instant) -> HeaderMap {
    let left = deadline.saturating_duration_since(Instant::now());
    let wait = format!("wait={}", WAIT.min(left).as_secs().max(1));
    let prefer = HeaderValue::from_str(&wait).ok();
    prefer
        .map(|prefer| (HeaderName::from_static("prefer"), prefer))
        .into_iter()
        .collect()
}

#[async_trait]
impl ImageProvider for Replicate {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The prompt alone: these models draw what they read, instructions included.
    fn prompt_for(&self, prompt: &Prompt, _: &str) -> Prompt {
        prompt.clone()
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let Some((model, _)) = &self.model else {
            return Err(unusable(format!(
                "No image model is configured for provider: {NAME}; {MODEL} is not set. Choose another image provider, \
                 or have an operator set it."
            )));
        };
        let checked = check::check(model, spec)?;
        if !self.service.is_configured() {
            return Err(unusable(format!(
                "Flux image generator is not configured. {TOKEN} is not set: choose another image provider, or have an \
                 operator set it."
            )));
        }
        Ok(checked)
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let Some((_, target)) = &self.model else {
            let incident = self.service.posting("predictions", call.prompt);
            return Err(incident
                .error(ErrorClass::Auth, &format!("not sent: {MODEL} is not set"))
                .into());
        };
        let (path, body) = match target {
            Target::Own(path) => (path.as_str(), json!({ "input": input(call) })),
            Target::Version(version) => ("predictions", json!({ "version": version, "input": input(call) })),
        };
        let incident = self.service.posting(path, call.prompt);
        self.service.may_send(call, &incident, TOKEN)?;
        let (answer, prediction) = self
            .service
            .order(
                path,
                headers(call.deadline),
                &body,
                &incident,
                prediction::judge_order,
                call.deadline,
            )
            .await?;
        let Some(id) = prediction::id(&prediction) else {
            return Err(prediction::without_id(&answer, &prediction, &incident).into());
        };
        // The moment from which a crash does not cost the picture, even one that is finished already.
        call.watch.accepted(&id).await;
        let incident = incident.known_as(&id);
        let first = prediction::look(&prediction, &incident);
        polling::picture(self, &id, &incident, call, Some(first)).await
    }

    async fn find(&self, call: &Call<'_>, sent_at: DateTime<Utc>) -> Result<Found, ProviderError> {
        self.find_listed(call, sent_at).await
    }

    async fn resume(&self, handle: &str, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let incident = self.service.posting("predictions", call.prompt);
        if !is_plain_id(handle) {
            return Err(incident.unreadable_handle());
        }
        let url = self.service.client().url(&format!("predictions/{handle}"));
        let incident = incident.of(format!("GET {}", url.path())).known_as(handle);
        polling::picture(self, &handle.to_owned(), &incident, call, None).await
    }

    async fn cancel(&self, handle: &str) -> bool {
        let url = self.service.client().url(&format!("predictions/{handle}/cancel"));
        is_plain_id(handle) && self.service.cancel(Method::POST, url).await
    }

    fn lists_orders(&self) -> bool {
        true
    }
}

#[async_trait]
impl Polled for Replicate {
    type Handle = String;

    fn service(&self) -> &Service {
        &self.service
    }

    async fn look(&self, id: &String, incident: &Incident<'_>, deadline: Instant) -> Look {
        let client = self.service.client();
        let url = client.url(&format!("predictions/{id}"));
        match self
            .service
            .ask(client, url, incident, judge_by_path, deadline)
            .await
        {
            Ok((_, prediction)) => prediction::look(&prediction, incident),
            Err(not_told) => not_told.into(),
        }
    }
}
