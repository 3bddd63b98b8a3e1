//! AUTOMATIC1111's web UI and its relatives (Forge, SD.Next), reached by the API that they share.
//!
//! Owns the request, which blocks until the picture is there, and looking at the progress meanwhile. The server
//! draws one picture at a time and says of no picture whose it is, so a replica sends one request at a time.
//!
//! Source: AUTOMATIC1111 wiki, "API", and the server's own `/docs`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use crate::failure::ErrorClass;
use crate::http_client::{Answer, BodyEnd, Outgoing};
use crate::provider::catalog::pixels::{check_size, sides};
use crate::provider::catalog::{Choices, check_options, refused, repeated};
use crate::provider::wire::incident::Incident;
use crate::provider::wire::key::BASIC;
use crate::provider::wire::keyed::{Access, Make};
use crate::provider::wire::prompt::{Plain, Prompts, without_markup};
use crate::provider::wire::self_hosted::plain_picture;
use crate::provider::wire::service::Service;
use crate::provider::{
    Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn, ProviderError, Unsupported, Watch,
};
use crate::settings::variable;
use crate::work_package::{MAX_PROMPT_CHARS, Moderation, Prompt};

mod options;
mod response;
#[cfg(test)]
mod tests;

const OPTIONS: &str = "AUTOMATIC1111_OPTIONS";
const PROMPTS: Prompts = Prompts::Without(without_markup);
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

/// How it is reached. Source of the question: AUTOMATIC1111's web UI, "API".
pub(crate) const ACCESS: Access = Access {
    name: "automatic1111",
    variables: &[
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
            OPTIONS,
            None,
            "{\"steps\":30}",
            "More fields of txt2img, as a JSON object",
        ),
    ],
    keys: &["AUTOMATIC1111_API_KEY"],
    bases: &["AUTOMATIC1111_BASE_URL"],
    header: ("authorization", BASIC),
    question: Some("sdapi/v1/sd-models"),
    needs_key: false,
    ..Access::usual(|reader| {
        let more_fields = reader.optional(OPTIONS, options::parse).unwrap_or_default();
        Make::new(move |service| Automatic1111::new(service, more_fields.clone()))
    })
};

/// AUTOMATIC1111's web UI.
struct Automatic1111 {
    service: Arc<Service>,
    more_fields: Map<String, Value>,
    /// Held while a picture is drawn.
    turn: Arc<Mutex<()>>,
    /// Between two looks at the progress.
    pace: Duration,
}

impl Automatic1111 {
    fn new(service: Service, more_fields: Map<String, Value>) -> Self {
        Self {
            service: Arc::new(service),
            more_fields,
            turn: Arc::default(),
            pace: LOOK,
        }
    }

    fn request(&self, call: &Call<'_>) -> Value {
        // The server's own default of 50 takes long and shows no difference.
        let mut request = json!({"steps": 25, "negative_prompt": ""});
        let (width, height) = call.spec.size.as_deref().and_then(sides).unwrap_or((1024, 1024));
        let own = json!({
            "prompt": call.prompt.expose(),
            "seed": call.spec.seed.unwrap_or(-1),
            "width": width,
            "height": height,
            "batch_size": 1,
            "n_iter": 1,
            "send_images": true,
            "save_images": false,
            "force_task_id": call.id.to_string(),
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
                .chain([negative.to_owned()]);
            request["negative_prompt"] = all.collect::<Vec<_>>().join(", ").into();
        }
        if call.spec.model != LOADED {
            request["override_settings"]["sd_model_checkpoint"] = call.spec.model.as_str().into();
        }
        request
    }

    /// Asks for the picture and follows it. A server that is not done by the deadline is told to stop.
    async fn ask(&self, call: &Call<'_>, incident: &Incident<'_>) -> Result<Answer, ProviderError> {
        let task = call.id.to_string();
        let outgoing = Outgoing::post_json(DRAW, &self.request(call));
        let answer = tokio::select! {
            answer = self.service.call(outgoing, incident, call.deadline) => answer,
            () = follow(&self.service, &task, call.watch, self.pace) => unreachable!("it follows for ever"),
        };
        let is_unfinished = match &answer {
            Ok(answer) => answer.end != BodyEnd::Whole,
            // Sent too late, it was never begun.
            Err(error) => error.class != ErrorClass::TimedOut,
        };
        if is_unfinished && Instant::now() >= call.deadline {
            // Not awaited: nobody waits any longer than the deadline.
            let service = self.service.clone();
            tokio::spawn(async move { interrupt(&service, &task).await });
            let why = "no picture before the deadline; the server is told to stop";
            return Err(incident.error(ErrorClass::TimedOut, why));
        }
        answer
    }
}

/// Follows the progress of `task` until it is dropped. Whatever goes wrong is of no consequence.
async fn follow(service: &Service, task: &str, watch: &dyn Watch, pace: Duration) {
    loop {
        sleep(pace).await;
        if let Some(progress) = progress(service).await
            && progress.is_of(task)
        {
            watch.progress(progress.fraction);
        }
    }
}

async fn progress(service: &Service) -> Option<response::Progress> {
    let asking = Outgoing::get(PROGRESS).query("skip_current_image", "true");
    let answer = service.aside(asking, ASIDE).await.ok()?;
    let is_well = answer.status.is_success();
    is_well.then(|| response::Progress::read(&answer.body)).flatten()
}

/// Stops the drawing of `task`. The server stops whatever it draws, so it is asked first what that is; one that
/// does not say has nothing else in hand from this replica.
async fn interrupt(service: &Service, task: &str) {
    if progress(service)
        .await
        .is_some_and(|progress| progress.is_of(task))
    {
        let asking = Outgoing::post_json(INTERRUPT, &json!({}));
        if let Err(error) = service.aside(asking, ASIDE).await {
            tracing::debug!(%error, "the server was not told that nobody waits for a picture any more");
        }
    }
}

#[async_trait]
impl ImageProvider for Automatic1111 {
    fn name(&self) -> &'static str {
        ACCESS.name
    }

    fn is_free(&self) -> bool {
        true
    }

    /// The prompt alone, since these models draw instructions; without what would steer the server.
    fn prompt_for(&self, prompt: &Prompt, suffix: &str) -> Prompt {
        PROMPTS.of(prompt, suffix)
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let name = ACCESS.name;
        let model = spec
            .model
            .as_deref()
            .filter(|model| !model.is_empty())
            .unwrap_or(LOADED);
        let is_name = model.chars().count() <= LONGEST_CHECKPOINT && !model.chars().any(char::is_control);
        if !is_name {
            return Err(refused(format!(
                "Unsupported image model for {name}: {}; use the name of a checkpoint of that server, or leave it out",
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
                "Image quality is not supported for {name}; leave it out"
            )));
        }
        if let Some(seed) = spec.seed.filter(|seed| !(0..=LARGEST_SEED).contains(seed)) {
            return Err(refused(format!(
                "Unsupported seed for {name}: {seed}; use 0 to {LARGEST_SEED}, or leave it out"
            )));
        }
        // It refuses no prompt, and its settings alone choose the format.
        let choices = Choices {
            moderations: &[Moderation::Low],
            negative_prompt_max_chars: Some(MAX_PROMPT_CHARS),
            ..Choices::default()
        };
        let checked = check_options(choices, name, model, spec)?;
        self.service.check_configured()?;
        Ok(CheckedSpec {
            model: model.to_owned(),
            size: Some(size),
            seed: spec.seed,
            ..checked
        })
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let plain = Plain::of(call, PROMPTS);
        let call = &plain.call(call);
        let incident = self.service.posting(DRAW, call);
        self.service.may_send(call, &incident)?;
        let Ok(_turn) = timeout_at(call.deadline, self.turn.lock()).await else {
            let why = "not sent: the server drew other pictures until the deadline";
            return Err(incident.error(ErrorClass::TimedOut, why).into());
        };
        let answer = self.ask(call, &incident).await?;
        let is_missing = answer.status.as_u16() == 404;
        let reading = incident.picture(answer, response::DIALECT).await;
        let reading = reading.map_err(|mut error| {
            if is_missing && error.class == ErrorClass::InvalidRequest {
                error.details.push_str("; is the server started with --api?");
            }
            error
        })?;
        let bytes = self.service.obtain(reading.picture, &incident, call).await?;
        // The server writes the whole prompt into it.
        let plain = plain_picture(bytes).await;
        let bytes = plain.map_err(|why| incident.error(ErrorClass::BadOutput, &why))?;
        Ok(DrawnImage::by_model(bytes))
    }

    fn handle_of(&self, call_id: Uuid) -> Option<String> {
        Some(call_id.to_string())
    }

    async fn cancel(&self, handle: &str) -> bool {
        if self.service.is_configured() {
            interrupt(&self.service, handle).await;
        }
        // It answers nothing that would say so.
        false
    }
}
