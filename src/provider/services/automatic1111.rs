//! AUTOMATIC1111's web UI and its relatives (Forge, SD.Next), reached by the API that they share.
//!
//! Owns the request, which blocks until the picture is there, and looking at the progress meanwhile. The server
//! draws one picture at a time and says of no picture whose it is, so a replica sends one request at a time.
//!
//! Source: AUTOMATIC1111 wiki, "API", and the server's own `/docs`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;
use uuid::Uuid;

use crate::failure::ErrorClass;
use crate::http_client::{BodyEnd, HttpClient, HttpFault, Outgoing};
use crate::provider::catalog::pixels::{check_size, not_configured, refused, sides};
use crate::provider::catalog::{Choices, check_options, repeated};
use crate::provider::wire::incident::Incident;
use crate::provider::wire::picture::Picture;
use crate::provider::wire::prompt::without_markup;
use crate::provider::wire::self_hosted::plain_picture;
use crate::provider::{
    Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn, Unsupported, Watch,
};
use crate::work_package::{MAX_PROMPT_CHARS, Moderation, Prompt};

mod response;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::Automatic1111Settings;
pub(crate) use settings::VARIABLES;
use settings::credentials;

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "automatic1111";
const BASE_URL: &str = "AUTOMATIC1111_BASE_URL";
const DRAW: &str = "sdapi/v1/txt2img";
const PROGRESS: &str = "sdapi/v1/progress";
const INTERRUPT: &str = "sdapi/v1/interrupt";
/// Stands for the checkpoint that the server has loaded.
const LOADED: &str = "loaded-checkpoint";
const SIDES_MULTIPLE_OF: u32 = 8;
/// Seeds of the server are 32 bits wide.
const LARGEST_SEED: i64 = 0xffff_ffff;
const LONGEST_CHECKPOINT: usize = 200;
/// The usual pace of looks at the progress.
const LOOK: Duration = Duration::from_secs(1);
/// Nothing depends on these questions.
const ASIDE: Duration = Duration::from_secs(5);

/// AUTOMATIC1111's web UI.
#[derive(Debug)]
pub struct Automatic1111 {
    server: Option<Server>,
    secrets: Vec<SecretString>,
    more_fields: Map<String, Value>,
    /// Held while a picture is drawn.
    turn: Arc<Mutex<()>>,
    /// Between two looks at the progress.
    pace: Duration,
}

#[derive(Clone, Debug)]
struct Server {
    client: HttpClient,
    headers: HeaderMap,
}

impl Automatic1111 {
    /// Prepares the client; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When one of the settings cannot be used. No secret is repeated.
    pub fn new(settings: &Automatic1111Settings) -> anyhow::Result<Self> {
        let (headers, secrets) = credentials(settings.api_key.as_ref())?;
        let client = settings.base_url.as_ref().map(HttpClient::new).transpose();
        Ok(Self {
            server: client.context(BASE_URL)?.map(|client| Server { client, headers }),
            secrets,
            more_fields: settings.more_fields()?,
            turn: Arc::default(),
            pace: LOOK,
        })
    }

    fn request(&self, call: &Call<'_>, prompt: &str) -> Value {
        // The server's own default of 50 takes long and shows no difference.
        let mut request = json!({"steps": 25, "negative_prompt": ""});
        let (width, height) = call.spec.size.as_deref().and_then(sides).unwrap_or((1024, 1024));
        let own = json!({
            "prompt": prompt,
            "seed": call.spec.seed.unwrap_or(-1),
            "width": width,
            "height": height,
            "batch_size": 1,
            "n_iter": 1,
            "send_images": true,
            "save_images": false,
            "force_task_id": task_id(call),
        });
        for fields in [Value::Object(self.more_fields.clone()), own] {
            if let (Value::Object(request), Value::Object(fields)) = (&mut request, fields) {
                request.extend(fields);
            }
        }
        if let Some(negative) = call.spec.negative() {
            // What an operator keeps out of every picture stays out.
            let kept_out = request["negative_prompt"]
                .as_str()
                .filter(|text| !text.is_empty());
            let all = kept_out
                .map(str::to_owned)
                .into_iter()
                .chain([without_markup(negative)]);
            request["negative_prompt"] = all.collect::<Vec<_>>().join(", ").into();
        }
        if call.spec.model != LOADED {
            request["override_settings"]["sd_model_checkpoint"] = call.spec.model.as_str().into();
        }
        request
    }
}

fn task_id(call: &Call<'_>) -> String {
    call.id.to_string()
}

impl Server {
    /// Follows the progress of `task` until it is dropped. Whatever goes wrong is of no consequence.
    async fn follow(&self, task: &str, watch: &dyn Watch, pace: Duration) {
        loop {
            sleep(pace).await;
            if let Some(progress) = self.progress().await
                && progress.is_of(task)
            {
                watch.progress(progress.fraction);
            }
        }
    }

    async fn progress(&self) -> Option<response::Progress> {
        let asking = Outgoing::get(PROGRESS)
            .query("skip_current_image", "true")
            .headers(self.headers.clone());
        let answer = self.client.send(asking, Instant::now() + ASIDE).await.ok()?;
        let is_well = answer.status.is_success();
        is_well.then(|| response::Progress::read(&answer.body)).flatten()
    }

    /// Stops the drawing of `task`. The server stops whatever it draws, so it is asked first what that is; one that
    /// does not say has nothing else in hand from this replica.
    async fn interrupt(&self, task: &str) {
        if self.progress().await.is_some_and(|progress| progress.is_of(task)) {
            let asking = Outgoing::post_json(INTERRUPT, &json!({})).headers(self.headers.clone());
            if let Err(error) = self.client.send(asking, Instant::now() + ASIDE).await {
                tracing::debug!(%error, "the server was not told that nobody waits for a picture any more");
            }
        }
    }
}

#[async_trait]
impl ImageProvider for Automatic1111 {
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
        let model = spec
            .model
            .as_deref()
            .filter(|model| !model.is_empty())
            .unwrap_or(LOADED);
        let is_name = model.chars().count() <= LONGEST_CHECKPOINT && !model.chars().any(char::is_control);
        if !is_name {
            return Err(refused(format!(
                "Unsupported image model for {NAME}: {}; use the name of a checkpoint of that server, or leave it out",
                repeated(model)
            )));
        }
        let size = check_size(
            spec.size.as_deref(),
            spec.image_type,
            SIDES_MULTIPLE_OF,
            &repeated(model),
        )?;
        if spec.quality.as_deref().is_some_and(|quality| !quality.is_empty()) {
            return Err(refused(format!(
                "Image quality is not supported for {NAME}; leave it out"
            )));
        }
        if let Some(seed) = spec.seed.filter(|seed| !(0..=LARGEST_SEED).contains(seed)) {
            return Err(refused(format!(
                "Unsupported seed for {NAME}: {seed}; use 0 to {LARGEST_SEED}, or leave it out"
            )));
        }
        // It refuses no prompt, and its settings alone choose the format.
        let choices = Choices {
            moderations: &[Moderation::Low],
            negative_prompt_max_chars: Some(MAX_PROMPT_CHARS),
            ..Choices::default()
        };
        let checked = check_options(choices, NAME, model, spec)?;
        if self.server.is_none() {
            return Err(not_configured(NAME, BASE_URL));
        }
        Ok(CheckedSpec {
            model: model.to_owned(),
            size: Some(size),
            seed: spec.seed,
            ..checked
        })
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let prompt = without_markup(call.prompt.expose());
        let path = self.server.as_ref().map(|server| server.client.url(DRAW));
        let request = format!("POST {}", path.as_ref().map_or(DRAW, Url::path));
        let secrets = self.secrets.iter().map(|secret| secret.expose_secret());
        let incident = Incident::new(NAME, request, &prompt)
            .hiding(call.spec.negative())
            .with_secrets(secrets);
        let Some(server) = &self.server else {
            return Err(incident.unset(BASE_URL).into());
        };
        if prompt.trim().is_empty() {
            let why = "not sent: nothing is left of the prompt without what would steer the server";
            return Err(incident.error(ErrorClass::InvalidRequest, why).into());
        }
        let Ok(_turn) = timeout_at(call.deadline, self.turn.lock()).await else {
            let why = "not sent: the server drew other pictures until the deadline";
            return Err(incident.error(ErrorClass::TimedOut, why).into());
        };
        let request = self.request(call, &prompt);
        let task = task_id(call);
        let outgoing = Outgoing::post_json(DRAW, &request).headers(server.headers.clone());
        let answer = tokio::select! {
            answer = server.client.send(outgoing, call.deadline) => answer,
            () = server.follow(&task, call.watch, self.pace) => unreachable!("it follows for ever"),
        };
        let is_unfinished = match &answer {
            Ok(answer) => answer.end != BodyEnd::Whole,
            Err(fault) => *fault != HttpFault::TooLate,
        };
        if is_unfinished && Instant::now() >= call.deadline {
            // Not awaited: nobody waits any longer than the deadline.
            let server = server.clone();
            tokio::spawn(async move { server.interrupt(&task).await });
            let why = "no picture before the deadline; the server is told to stop";
            return Err(incident.error(ErrorClass::TimedOut, why).into());
        }
        let answer = answer.map_err(|fault| incident.fault(&fault))?;
        let is_missing = answer.status.as_u16() == 404;
        let reading = incident.picture(answer, response::DIALECT).await;
        let reading = reading.map_err(|mut error| {
            if is_missing && error.class == ErrorClass::InvalidRequest {
                error.details.push_str("; is the server started with --api?");
            }
            error
        })?;
        let Picture::Bytes(bytes) = reading.picture else {
            let why = "the answer holds an address in place of the picture";
            return Err(incident.error(ErrorClass::BadOutput, why).into());
        };
        // The server writes the whole prompt into it.
        let plain = plain_picture(bytes).await;
        let bytes = plain.map_err(|why| incident.error(ErrorClass::BadOutput, &why))?;
        Ok(DrawnImage::by_model(bytes))
    }

    fn handle_of(&self, call_id: Uuid) -> Option<String> {
        Some(call_id.to_string())
    }

    async fn cancel(&self, handle: &str) -> bool {
        if let Some(server) = &self.server {
            server.interrupt(handle).await;
        }
        // It answers nothing that would say so.
        false
    }
}
