//! ComfyUI: a workflow is queued under an id of our choice, and the server is asked until its picture is there.
//!
//! Owns the order of the questions: what is known under the id already is used before anything is queued, so that
//! neither a lost answer nor a crash draws twice. What is queued is `workflow`, what comes back `history`.
//!
//! Source: ComfyUI documentation, "Server routes".

use crate::http_client::Downloads;
use crate::settings::{Reader, Variable, values, variable};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use rand::Rng;
use reqwest::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::failure::ErrorClass;
use crate::http_client::{HttpClient, check_base_url};
use crate::provider::catalog::pixels::{not_configured, sides};
use crate::provider::wire::account::{AccountQuestion, ServiceSettings};
use crate::provider::wire::header::header_value;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::prompt::without_markup;
use crate::provider::wire::self_hosted::Pauses;
use crate::provider::{
    Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn, ProviderError, Unsupported,
};
use crate::work_package::Prompt;

mod check;
mod history;
mod server;
#[cfg(test)]
mod tests;
mod workflow;

use history::{Ended, Place};
use server::{Look, Server, is_handle};
use workflow::{Inputs, Workflow};

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "comfyui";
const BASE_URL: &str = "COMFYUI_BASE_URL";
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const DEFAULT_CHECKPOINT: &str = "sd_xl_base_1.0.safetensors";
/// Larger numbers are rounded on the way through a browser that shows the workflow.
const SEEDS: u64 = 1 << 53;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable("COMFYUI_BASE_URL", None, "http://127.0.0.1:8188", "ComfyUI"),
    variable(
        "COMFYUI_API_KEY",
        None,
        "...",
        "Sent as X-API-Key, where somebody asks for it",
    ),
    variable(
        "COMFYUI_WORKFLOW",
        None,
        "workflow.json",
        "A workflow in API format with {{prompt}} and, where it takes them, {{negative}}, {{width}}, {{height}}, {{seed}}, {{job}}, {{checkpoint}}. Default: text to image with Stable Diffusion XL",
    ),
    variable(
        "COMFYUI_CHECKPOINT",
        Some("sd_xl_base_1.0.safetensors"),
        "sd_xl_base_1.0.safetensors",
        "Its checkpoint, for packages that name no imageModel",
    ),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct ComfyUiSettings {
    /// Where the server is, `http://127.0.0.1:8188` for example. `None` = not configured.
    pub base_url: Option<Url>,
    /// Sent as `X-API-Key`. Servers of one's own ask for none.
    pub api_key: Option<SecretString>,
    /// A workflow in API format with names such as `{{prompt}}`. `None` = one for Stable Diffusion XL.
    pub workflow: Option<PathBuf>,
    /// The checkpoint of packages that name no model.
    pub checkpoint: Option<String>,
}

impl ComfyUiSettings {
    /// Reads [`VARIABLES`] and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            base_url: reader.optional("COMFYUI_BASE_URL", values::http_url),
            api_key: reader.secret("COMFYUI_API_KEY"),
            workflow: reader.text("COMFYUI_WORKFLOW").map(PathBuf::from),
            checkpoint: reader.text("COMFYUI_CHECKPOINT"),
        };
        reader.all_faults(settings.faults());
        settings
    }

    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let key = self.api_key.as_ref().map(|key| key.expose_secret());
        let key = key.and_then(|key| header_value("COMFYUI_API_KEY", key).err());
        let base = self.base_url.as_ref();
        let base = base.and_then(|base| check_base_url(base).context(BASE_URL).err());
        let faults = [key, base, self.load().err()].into_iter().flatten();
        faults.map(|error| format!("{error:#}")).collect()
    }

    fn load(&self) -> anyhow::Result<Workflow> {
        Workflow::load(self.workflow.as_deref()).context("COMFYUI_WORKFLOW")
    }
}

impl ServiceSettings for ComfyUiSettings {
    fn build(&self, _: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(ComfyUi::new(self)?))
    }

    /// Source: ComfyUI, "Routes".
    fn question(&self) -> Option<AccountQuestion> {
        let key = self.api_key.as_ref().map(|key| key.expose_secret().trim());
        let value = key
            .filter(|key| !key.is_empty())
            .map(|key| header_value("COMFYUI_API_KEY", key));
        let headers = value.transpose().ok()?.into_iter().map(|value| (API_KEY, value));
        Some(AccountQuestion::new(
            self.base_url.clone()?,
            "system_stats",
            headers.collect(),
        ))
    }
}

/// A ComfyUI server.
#[derive(Debug)]
pub struct ComfyUi {
    server: Option<Server>,
    key: Option<SecretString>,
    workflow: Workflow,
    checkpoint: String,
}

impl ComfyUi {
    /// Reads the workflow and prepares the client; sends nothing. [`crate::http_client::install_tls`] must have
    /// been called.
    ///
    /// # Errors
    /// When one of the settings cannot be used. No secret is repeated.
    pub fn new(settings: &ComfyUiSettings) -> anyhow::Result<Self> {
        let key = settings.api_key.clone();
        let key = key.filter(|key| !key.expose_secret().trim().is_empty());
        let value = key
            .as_ref()
            .map(|key| header_value("COMFYUI_API_KEY", key.expose_secret().trim()))
            .transpose()?;
        let client = settings.base_url.as_ref().map(HttpClient::new).transpose();
        let server = client.context(BASE_URL)?.map(|client| Server {
            client,
            headers: value.into_iter().map(|value| (API_KEY, value)).collect(),
        });
        let checkpoint = settings.checkpoint.clone().filter(|name| !name.is_empty());
        Ok(Self {
            server,
            key,
            workflow: settings.load()?,
            checkpoint: checkpoint.unwrap_or_else(|| DEFAULT_CHECKPOINT.to_owned()),
        })
    }

    fn incident<'a>(&'a self, prompt: &'a str) -> Incident<'a> {
        let path = self.server.as_ref().map(|server| server.client.url("prompt"));
        let key = self.key.as_ref().map(|key| key.expose_secret());
        let request = format!("POST {}", path.as_ref().map_or("prompt", Url::path));
        Incident::new(NAME, request, prompt).with_secrets(key)
    }

    /// The workflow for a call, with a name for its file that no other try has: a server that has just run the very
    /// same workflow runs nothing and shows nothing.
    fn filled(&self, call: &Call<'_>, prompt: &str) -> serde_json::Value {
        let (width, height) = call.spec.size.as_deref().and_then(sides).unwrap_or((1024, 1024));
        let mut random = rand::rng();
        let given = call.spec.seed.and_then(|seed| u64::try_from(seed).ok());
        let negative = call.spec.negative().map(without_markup).unwrap_or_default();
        self.workflow.fill(&Inputs {
            prompt,
            negative: &negative,
            width,
            height,
            seed: given.unwrap_or_else(|| random.random_range(0..SEEDS)),
            job: &format!("{}-{:08x}", call.id, random.random::<u32>()),
            checkpoint: &call.spec.model,
        })
    }

    /// Asks for the picture known as `handle` until it is there or the deadline has come; `forgotten` is what it means
    /// that the server does not know it.
    async fn wait(
        &self,
        server: &Server,
        incident: &Incident<'_>,
        handle: &str,
        call: &Call<'_>,
        forgotten: ErrorClass,
    ) -> Result<DrawnImage, NotDrawn> {
        let deadline = call.deadline;
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut was_absent = false;
        let mut last = None;
        while Instant::now() < deadline {
            match server.look(incident, handle, deadline).await {
                Ok(Look::Ended(Ended::Drawn(file))) => {
                    return server.picture(incident, &file, handle, deadline).await;
                }
                Ok(Look::Ended(ended)) => return Err(failed(incident, &ended).into()),
                Ok(Look::Place(Place::Absent)) if was_absent => {
                    let why = "the server has forgotten the picture, as it does when it is restarted";
                    return Err(incident.error(forgotten, why).into());
                }
                Ok(Look::Place(place)) => {
                    was_absent = place == Place::Absent;
                    last = None;
                }
                // Asking again costs nothing, and the picture may be on its way.
                Err(error) if error.class.is_retried() => last = Some(error),
                Err(error) => return Err(NotDrawn::GoesOn(error)),
            }
            if call.is_brief && !was_absent {
                break;
            }
            pauses.pause(deadline).await;
        }
        Err(NotDrawn::GoesOn(last.unwrap_or_else(|| {
            let why = "accepted, and no picture before the deadline of this attempt";
            incident.error(ErrorClass::TimedOut, why)
        })))
    }
}

fn failed(incident: &Incident<'_>, ended: &Ended) -> ProviderError {
    let (class, why) = match ended {
        Ended::OutOfMemory(said) => (ErrorClass::Overloaded, incident.quoted(said)),
        Ended::Failed(said) => (ErrorClass::InvalidRequest, incident.quoted(said)),
        // Not at once: whoever stopped it has a reason.
        Ended::Interrupted => (
            ErrorClass::BadOutput,
            "somebody stopped it at the server".to_owned(),
        ),
        Ended::Drawn(_) | Ended::Nothing => (
            ErrorClass::BadOutput,
            "the workflow has ended without a picture; it needs a node that saves one".to_owned(),
        ),
    };
    incident.error(class, &why)
}

#[async_trait]
impl ImageProvider for ComfyUi {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_free(&self) -> bool {
        true
    }

    /// The prompt alone, since these models draw instructions; without what would steer the server.
    fn prompt_for(&self, prompt: &Prompt, _: &str) -> Prompt {
        Prompt::new(without_markup(prompt.expose()))
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = check::check(spec, &self.workflow, &self.checkpoint)?;
        match self.server {
            Some(_) => Ok(checked),
            None => Err(not_configured(NAME, BASE_URL)),
        }
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let prompt = without_markup(call.prompt.expose());
        let incident = self.incident(&prompt).hiding(call.spec.negative());
        let Some(server) = &self.server else {
            return Err(incident.unset(BASE_URL).into());
        };
        if prompt.trim().is_empty() {
            let why = "not sent: nothing is left of the prompt without what would steer the server";
            return Err(incident.error(ErrorClass::InvalidRequest, why).into());
        }
        let id = call.id.to_string();
        let handle = match server.look(&incident, &id, call.deadline).await? {
            Look::Place(Place::Running | Place::Pending) => id,
            Look::Ended(Ended::Drawn(file)) => {
                let known = server.picture(&incident, &file, &id, call.deadline).await;
                if let Ok(image) = known
                    && server::is_picture(&image).await
                {
                    tracing::info!("an earlier attempt has had this picture drawn; it is used");
                    return Ok(image);
                }
                server.forget(&incident, &id, call.deadline).await?;
                self.queue(server, &incident, call, &prompt, id).await?
            }
            // How an earlier attempt ended would be taken for the end of this one.
            Look::Ended(_) => {
                server.forget(&incident, &id, call.deadline).await?;
                self.queue(server, &incident, call, &prompt, id).await?
            }
            Look::Place(Place::Absent) => self.queue(server, &incident, call, &prompt, id).await?,
        };
        call.watch.accepted(&handle).await;
        // Nothing was drawn, and asking anew costs nothing.
        self.wait(server, &incident, &handle, call, ErrorClass::Overloaded)
            .await
    }

    fn handle_of(&self, call_id: Uuid) -> Option<String> {
        Some(call_id.to_string())
    }

    async fn resume(&self, handle: &str, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let incident = self.incident(call.prompt.expose()).hiding(call.spec.negative());
        let incident = incident.of("GET /history".to_owned());
        let Some(server) = &self.server else {
            return Err(NotDrawn::GoesOn(incident.unset(BASE_URL)));
        };
        if !is_handle(handle) {
            return Err(incident.unreadable_handle());
        }
        self.wait(server, &incident, handle, call, ErrorClass::Ambiguous)
            .await
    }

    async fn cancel(&self, handle: &str) -> bool {
        match &self.server {
            Some(server) if is_handle(handle) => server.cancel(handle).await,
            _ => false,
        }
    }
}

impl ComfyUi {
    /// Has the workflow queued, and returns what the server knows it by.
    async fn queue(
        &self,
        server: &Server,
        incident: &Incident<'_>,
        call: &Call<'_>,
        prompt: &str,
        id: String,
    ) -> Result<String, ProviderError> {
        let request = json!({
            "prompt": self.filled(call, prompt),
            "client_id": "generative-ai-worker",
            "prompt_id": id,
        });
        server.queue(incident, &request, id, call.deadline).await
    }
}
