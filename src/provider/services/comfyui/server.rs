//! One question to the server at a time, and what its answer means.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::history::{self, Ended, File, Place};
use crate::failure::ErrorClass;
use crate::http_client::{Answer, BodyEnd, Outgoing};
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::json::{self, NotJson};
use crate::provider::wire::polling;
use crate::provider::wire::self_hosted::{judge, pause, plain_picture};
use crate::provider::wire::service::{NotTold, Service};
use crate::provider::{DrawnImage, NotDrawn, ProviderError};

/// The server answers such questions at once, however busy it is.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// Before a workflow is queued it is checked.
const QUEUE_TIME: Duration = Duration::from_secs(60);
/// Nothing depends on these questions.
const ASIDE: Duration = Duration::from_secs(5);
/// How often a picture is looked for whose acceptance was lost.
const LOOKS_FOR_LOST: u32 = 3;
const LOST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_HANDLE: usize = 64;

/// What the server knows of a picture.
pub(super) type Look = polling::Look<File>;

/// A server and how it is asked.
#[derive(Debug)]
pub(super) struct Server(pub(super) Service);

/// Whether this can be an id of the server: it becomes part of a path.
pub(super) fn is_handle(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST_HANDLE && text.bytes().all(is_plain)
}

impl Server {
    /// Asks for JSON. Nothing is drawn by asking, so no outcome is unknown.
    ///
    /// # Errors
    /// What the lack of it means for the picture.
    async fn ask(&self, incident: &Incident<'_>, path: &str, deadline: Instant) -> Result<Value, Look> {
        let client = self.0.client();
        let until = deadline.min(Instant::now() + ANSWER_TIME);
        let asked = self.0.ask(client, client.url(path), incident, judge, until);
        asked
            .await
            .map(|(_, json)| json)
            .map_err(|not_told| match not_told {
                // A page of somebody else's: the server itself knows this path.
                NotTold::Barred(error) | NotTold::Missing(error) => Look::Barred(without_doubt(error)),
                NotTold::Unclear(error) => Look::Unclear(without_doubt(error)),
            })
    }

    /// Looks for a picture: among those that are done, in the queue, and once more among those that are done,
    /// where it may have come in between.
    pub(super) async fn look(&self, incident: &Incident<'_>, handle: &str, deadline: Instant) -> Look {
        let found = self.find(incident, handle, deadline).await;
        found.unwrap_or_else(|look| look)
    }

    async fn find(&self, incident: &Incident<'_>, handle: &str, deadline: Instant) -> Result<Look, Look> {
        for is_last in [false, true] {
            let history = self.ask(incident, &format!("history/{handle}"), deadline).await?;
            if let Some(ended) = history::read(&history, handle) {
                return Ok(end(incident, ended));
            }
            if is_last {
                break;
            }
            let queue = self.ask(incident, "queue", deadline).await?;
            match history::place(&queue, handle) {
                Some(Place::Absent) => {}
                Some(_) => return Ok(Look::Going(None)),
                None => {
                    let why = "asking for /queue: the answer holds no queue";
                    return Err(Look::Unclear(incident.error(ErrorClass::BadOutput, why)));
                }
            }
        }
        let why = "the server has forgotten the picture, as it does when it is restarted";
        Ok(Look::Missing(incident.error(ErrorClass::Ambiguous, why)))
    }

    /// Has a workflow queued under `id` and returns what the server knows it by: older ones choose an id themselves.
    /// An answer that is lost is made up for by looking.
    pub(super) async fn queue(
        &self,
        incident: &Incident<'_>,
        request: &Value,
        id: String,
        deadline: Instant,
    ) -> Result<String, ProviderError> {
        let until = deadline.min(Instant::now() + QUEUE_TIME);
        let outgoing = Outgoing::post_json("prompt", request);
        let lost = match self.0.call(outgoing, incident, until).await {
            Err(error) if error.class == ErrorClass::Ambiguous => error,
            Err(error) => return Err(error),
            Ok(answer) if !answer.status.is_success() => return Err(refusal(incident, &answer)),
            Ok(answer) => match accepted_as(&answer) {
                Some(handle) => return Ok(handle),
                None => incident.broken(&answer).unwrap_or_else(|| {
                    let (class, why) = match json::parse(&answer.body) {
                        Err(NotJson::Cut) => (ErrorClass::Ambiguous, NotJson::Cut.to_string()),
                        Err(fault) => (ErrorClass::BadOutput, fault.to_string()),
                        Ok(_) => (
                            ErrorClass::BadOutput,
                            "the answer says nothing of an id".to_owned(),
                        ),
                    };
                    incident.unusable(&answer, class, &why)
                }),
            },
        };
        for _ in 0..LOOKS_FOR_LOST {
            match self.look(incident, &id, deadline).await {
                Look::Going(_) | Look::Ready(_) | Look::Failed(_) => return Ok(id),
                Look::Missing(_) | Look::Barred(_) | Look::Unclear(_) => pause(LOST_PAUSE, deadline).await,
            }
        }
        Err(lost)
    }

    /// Fetches the file of a picture and takes the workflow out of it.
    pub(super) async fn picture(
        &self,
        incident: &Incident<'_>,
        file: &File,
        handle: &str,
        deadline: Instant,
    ) -> Result<DrawnImage, NotDrawn> {
        let asking = || {
            Outgoing::get("view")
                .query("filename", &*file.name)
                .query("subfolder", &*file.subfolder)
                .query("type", &*file.kind)
                .headers(self.0.headers())
        };
        let fetched = self.0.client().fetch(asking, deadline).await;
        let bytes = fetched.map_err(|fault| {
            let error = incident.error(fault.class(), &fault.to_string());
            NotDrawn::unfetched(&fault, error)
        })?;
        let plain = plain_picture(bytes).await;
        let bytes = plain.map_err(|why| incident.error(ErrorClass::BadOutput, &why))?;
        Ok(DrawnImage {
            request_id: Some(handle.to_owned()),
            ..DrawnImage::by_model(bytes)
        })
    }

    /// Has the server forget how a picture ended, so that another can be drawn under its id.
    pub(super) async fn forget(
        &self,
        incident: &Incident<'_>,
        handle: &str,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        let until = deadline.min(Instant::now() + ANSWER_TIME);
        let outgoing = Outgoing::post_json("history", &json!({"delete": [handle]}));
        match self.0.call(outgoing, incident, until).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(incident.answer(&answer, judge)),
            Err(error) => Err(without_doubt(error)),
        }
    }

    /// Takes a picture out of the queue, or stops it where it is being drawn. Older servers stop whatever they draw,
    /// which is why it has to be this one.
    pub(super) async fn cancel(&self, handle: &str) -> bool {
        let delete = Outgoing::post_json("queue", &json!({"delete": [handle]}));
        let told = self.0.aside(delete, ASIDE).await;
        let queue = self.0.aside(Outgoing::get("queue"), ASIDE).await;
        let is_running = queue.is_ok_and(|answer| {
            let queue = json::parse(&answer.body).unwrap_or_default();
            history::place(&queue, handle) == Some(Place::Running)
        });
        let interrupt = Outgoing::post_json("interrupt", &json!({"prompt_id": handle}));
        let interrupted = match is_running {
            true => self.0.aside(interrupt, ASIDE).await,
            false => told,
        };
        interrupted
            .inspect_err(
                |error| tracing::debug!(%error, "the server was not told that nobody waits for a picture any more"),
            )
            .is_ok()
    }
}

/// How a picture has ended.
fn end(incident: &Incident<'_>, ended: Ended) -> Look {
    let (class, why) = match ended {
        Ended::Drawn(file) => return Look::Ready(file),
        Ended::OutOfMemory(said) => (ErrorClass::Overloaded, incident.quoted(&said)),
        Ended::Failed(said) => (ErrorClass::InvalidRequest, incident.quoted(&said)),
        // Not at once: whoever stopped it has a reason.
        Ended::Interrupted => (
            ErrorClass::BadOutput,
            "somebody stopped it at the server".to_owned(),
        ),
        Ended::Nothing => (
            ErrorClass::BadOutput,
            "the workflow has ended without a picture; it needs a node that saves one".to_owned(),
        ),
    };
    Look::Failed(incident.error(class, &why))
}

/// Nothing was drawn, whatever became of the answer.
fn without_doubt(error: ProviderError) -> ProviderError {
    match error.class {
        ErrorClass::Ambiguous => ProviderError {
            class: ErrorClass::Network,
            ..error
        },
        _ => error,
    }
}

fn accepted_as(answer: &Answer) -> Option<String> {
    if answer.end != BodyEnd::Whole {
        return None;
    }
    let body: Value = json::parse(&answer.body).ok()?;
    let id = body.get("prompt_id")?.as_str()?;
    is_handle(id).then(|| id.to_owned())
}

/// A workflow that is not queued: what its nodes say is what an operator wants to know.
///
/// Source: ComfyUI documentation, "Server routes", `/prompt`: `error.type`, and `node_errors` by node with `errors`.
fn refusal(incident: &Incident<'_>, answer: &Answer) -> ProviderError {
    let error = incident.answer(answer, judge);
    let body = ErrorBody::parse(&answer.body);
    let nodes = body
        .json
        .as_ref()
        .and_then(|json| json.get("node_errors")?.as_object());
    let errors: Vec<&Value> = nodes
        .into_iter()
        .flat_map(|nodes| nodes.values())
        .filter_map(|node| node.get("errors")?.as_array())
        .flatten()
        .collect();
    if error.class != ErrorClass::InvalidRequest || errors.is_empty() {
        return error;
    }
    let text = |error: &Value, pointer: &str| {
        let found = error.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let lacks_checkpoint = errors.iter().any(|error| {
        text(error, "/type") == "value_not_in_list" && text(error, "/extra_info/input_name") == "ckpt_name"
    });
    let said: Vec<String> = errors
        .iter()
        .take(3)
        .map(|error| format!("{}: {}", text(error, "/message"), text(error, "/details")))
        .collect();
    ProviderError {
        class: match lacks_checkpoint {
            true => ErrorClass::ModelGone,
            false => error.class,
        },
        details: format!("{}; {}", error.details, incident.quoted(&said.join("; "))),
        ..error
    }
}
