//! ComfyUI: a workflow is queued under an id of our choice, and the server is asked until its picture is there.
//!
//! Owns the order of the questions: what is known under the id already is used before anything is queued, so that
//! neither a lost answer nor a crash draws twice. What is queued is `workflow`, what comes back `history`.
//!
//! Source: ComfyUI documentation, "Server routes".

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::failure::ErrorClass;
use crate::imaging;
use crate::provider::catalog::pixels::sides;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::keyed::{Access, Make};
use crate::provider::wire::polling::follow;
use crate::provider::wire::prompt::{Plain, Prompts, without_markup};
use crate::provider::wire::service::{Pace, Service};
use crate::provider::{
    Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn, ProviderError, Unsupported,
};
use crate::settings::variable;
use crate::work_package::Prompt;

mod check;
mod history;
mod server;
#[cfg(test)]
mod tests;
mod workflow;

use history::File;
use server::{Look, Server, is_handle};
use workflow::{Inputs, Workflow};

const WORKFLOW: &str = "COMFYUI_WORKFLOW";
const CHECKPOINT: &str = "COMFYUI_CHECKPOINT";
const DEFAULT_CHECKPOINT: &str = "sd_xl_base_1.0.safetensors";
const PROMPTS: Prompts = Prompts::Without(without_markup);
/// Larger numbers are rounded on the way through a browser that shows the workflow.
const SEEDS: u64 = 1 << 53;
/// What is absent at two looks in a row is forgotten, as it is when the server is restarted.
const PACE: Pace = Pace {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(2),
    lag: Duration::from_millis(150),
};

/// How it is reached. Source of the question: ComfyUI, "Routes".
pub(crate) const ACCESS: Access = Access {
    name: "comfyui",
    variables: &[
        variable("COMFYUI_BASE_URL", None, "http://127.0.0.1:8188", "ComfyUI"),
        variable(
            "COMFYUI_API_KEY",
            None,
            "...",
            "Sent as X-API-Key, where somebody asks for it",
        ),
        variable(
            WORKFLOW,
            None,
            "workflow.json",
            "A workflow in API format with {{prompt}} and, where it takes them, {{negative}}, {{width}}, {{height}}, {{seed}}, {{job}}, {{checkpoint}}. Default: text to image with Stable Diffusion XL",
        ),
        variable(
            CHECKPOINT,
            Some(DEFAULT_CHECKPOINT),
            DEFAULT_CHECKPOINT,
            "Its checkpoint, for packages that name no imageModel",
        ),
    ],
    keys: &["COMFYUI_API_KEY"],
    bases: &["COMFYUI_BASE_URL"],
    header: ("x-api-key", ""),
    question: Some("system_stats"),
    needs_key: false,
    ..Access::usual(|reader| {
        let workflow = reader.optional(WORKFLOW, Workflow::load);
        let workflow = workflow.unwrap_or_else(Workflow::usual);
        let checkpoint = reader.text(CHECKPOINT);
        let checkpoint = checkpoint.unwrap_or_else(|| DEFAULT_CHECKPOINT.to_owned());
        Make::new(move |service| ComfyUi {
            server: Server(service),
            workflow: workflow.clone(),
            checkpoint: checkpoint.clone(),
        })
    })
};

/// A ComfyUI server.
struct ComfyUi {
    server: Server,
    workflow: Workflow,
    /// Of packages that name no model.
    checkpoint: String,
}

impl ComfyUi {
    fn service(&self) -> &Service {
        &self.server.0
    }

    /// The workflow for a call, with a name for its file that no other try has: a server that has just run the very
    /// same workflow runs nothing and shows nothing.
    fn filled(&self, call: &Call<'_>) -> Value {
        let (width, height) = call.spec.size.as_deref().and_then(sides).unwrap_or((1024, 1024));
        let mut random = rand::rng();
        let given = call.spec.seed.and_then(|seed| u64::try_from(seed).ok());
        self.workflow.fill(&Inputs {
            prompt: call.prompt.expose(),
            negative: call.spec.negative().unwrap_or_default(),
            width,
            height,
            seed: given.unwrap_or_else(|| random.random_range(0..SEEDS)),
            job: &format!("{}-{:08x}", call.id, random.random::<u32>()),
            checkpoint: &call.spec.model,
        })
    }

    /// Has the workflow queued, and returns what the server knows it by.
    async fn queue(&self, incident: &Incident<'_>, call: &Call<'_>) -> Result<String, ProviderError> {
        let id = call.id.to_string();
        let request = json!({
            "prompt": self.filled(call),
            "client_id": "generative-ai-worker",
            "prompt_id": id,
        });
        self.server.queue(incident, &request, id, call.deadline).await
    }

    /// What an earlier attempt has left, where that can be used.
    async fn known(
        &self,
        incident: &Incident<'_>,
        file: &File,
        handle: &str,
        call: &Call<'_>,
    ) -> Option<DrawnImage> {
        let image = self
            .server
            .picture(incident, file, handle, call.deadline)
            .await
            .ok()?;
        let bytes = image.bytes.clone();
        let inspected = tokio::task::spawn_blocking(move || imaging::inspect(&bytes).is_ok()).await;
        inspected.is_ok_and(|is_picture| is_picture).then_some(image)
    }

    /// Asks for the picture known as `handle` until it is there or the deadline has come; `forgotten` is what it means
    /// that the server does not know it.
    async fn wait(
        &self,
        incident: &Incident<'_>,
        handle: &str,
        call: &Call<'_>,
        forgotten: ErrorClass,
    ) -> Result<DrawnImage, NotDrawn> {
        // A server that does not know a picture has forgotten it, however young it is.
        let call = Call {
            may_be_forgotten: true,
            ..*call
        };
        let followed = follow(PACE, incident, &call, None, |until| {
            Box::pin(async move {
                match self.server.look(incident, handle, until).await {
                    Look::Missing(error) => Look::Missing(ProviderError {
                        class: forgotten,
                        ..error
                    }),
                    found => found,
                }
            })
        });
        let file = followed.await?;
        self.server.picture(incident, &file, handle, call.deadline).await
    }
}

#[async_trait]
impl ImageProvider for ComfyUi {
    fn name(&self) -> &'static str {
        ACCESS.name
    }

    fn is_free(&self) -> bool {
        true
    }

    fn prompt_for(&self, prompt: &Prompt, suffix: &str) -> Prompt {
        PROMPTS.of(prompt, suffix)
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = check::check(spec, &self.workflow, &self.checkpoint)?;
        self.service().check_configured()?;
        Ok(checked)
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let plain = Plain::of(call, PROMPTS);
        let call = &plain.call(call);
        let incident = self.service().posting("prompt", call);
        self.service().may_send(call, &incident)?;
        let id = call.id.to_string();
        let handle = match self.server.look(&incident, &id, call.deadline).await {
            Look::Going(_) => id,
            Look::Missing(_) => self.queue(&incident, call).await?,
            Look::Ready(file) => {
                if let Some(image) = self.known(&incident, &file, &id, call).await {
                    tracing::info!("an earlier attempt has had this picture drawn; it is used");
                    return Ok(image);
                }
                self.server.forget(&incident, &id, call.deadline).await?;
                self.queue(&incident, call).await?
            }
            // How an earlier attempt ended would be taken for the end of this one.
            Look::Failed(_) => {
                self.server.forget(&incident, &id, call.deadline).await?;
                self.queue(&incident, call).await?
            }
            Look::Barred(error) | Look::Unclear(error) => return Err(error.into()),
        };
        call.watch.accepted(&handle).await;
        // Nothing was drawn, and asking anew costs nothing.
        self.wait(&incident, &handle, call, ErrorClass::Overloaded).await
    }

    fn handle_of(&self, call_id: Uuid) -> Option<String> {
        Some(call_id.to_string())
    }

    async fn resume(&self, handle: &str, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let incident = self.service().incident("GET /history".to_owned(), call);
        if let Some(missing) = self.service().missing {
            return Err(NotDrawn::GoesOn(incident.unset(missing)));
        }
        if !is_handle(handle) {
            return Err(incident.unreadable_handle());
        }
        self.wait(&incident, handle, call, ErrorClass::Ambiguous).await
    }

    async fn cancel(&self, handle: &str) -> bool {
        self.service().is_configured() && is_handle(handle) && self.server.cancel(handle).await
    }
}
