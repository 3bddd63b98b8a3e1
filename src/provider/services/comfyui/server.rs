//! One question to the server at a time, and what its answer means.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::time::Instant;

use super::history::{self, Ended, File, Place};
use crate::failure::ErrorClass;
use crate::http_client::{Answer, BodyEnd, HttpClient, HttpFault, Outgoing};
use crate::imaging;
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::json::{self, NotJson};
use crate::provider::wire::self_hosted::{Pauses, judge, plain_picture};
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

/// A server and how it is asked.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) client: HttpClient,
    pub(super) headers: HeaderMap,
}

/// What the server knows of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Ended(Ended),
    Place(Place),
}

/// Whether this can be an id of the server: it becomes part of a path.
pub(super) fn is_handle(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST_HANDLE && text.bytes().all(is_plain)
}

impl Server {
    async fn send(
        &self,
        outgoing: Outgoing,
        limit: Duration,
        deadline: Instant,
    ) -> Result<Answer, HttpFault> {
        let outgoing = outgoing.headers(self.headers.clone());
        self.client
            .send(outgoing, deadline.min(Instant::now() + limit))
            .await
    }

    /// Asks for JSON. Nothing is drawn by asking, so no outcome is unknown.
    async fn ask(
        &self,
        incident: &Incident<'_>,
        path: &str,
        outgoing: Outgoing,
        deadline: Instant,
    ) -> Result<Value, ProviderError> {
        let answered = self.send(outgoing, ANSWER_TIME, deadline).await;
        let asking = |error: ProviderError| ProviderError {
            class: match error.class {
                ErrorClass::Ambiguous => ErrorClass::Network,
                class => class,
            },
            details: format!("asking for /{path}: {}", error.details),
            ..error
        };
        let answer = answered.map_err(|fault| asking(incident.fault(&fault)))?;
        if !answer.status.is_success() {
            return Err(asking(incident.answer(&answer, judge)));
        }
        if let Some(error) = incident.broken(&answer) {
            return Err(asking(error));
        }
        json::parse(&answer.body)
            .map_err(|fault| asking(incident.unusable(&answer, ErrorClass::BadOutput, &fault.to_string())))
    }

    /// Looks for a picture: among those that are done, in the queue, and once more among those that are done,
    /// where it may have come in between.
    pub(super) async fn look(
        &self,
        incident: &Incident<'_>,
        handle: &str,
        deadline: Instant,
    ) -> Result<Look, ProviderError> {
        for is_last in [false, true] {
            let asking = Outgoing::get(format!("history/{handle}"));
            let history = self.ask(incident, "history", asking, deadline).await?;
            if let Some(ended) = history::read(&history, handle) {
                return Ok(Look::Ended(ended));
            }
            if is_last {
                break;
            }
            let queue = self
                .ask(incident, "queue", Outgoing::get("queue"), deadline)
                .await?;
            match history::place(&queue, handle) {
                Some(Place::Absent) => {}
                Some(place) => return Ok(Look::Place(place)),
                None => {
                    let why = "asking for /queue: the answer holds no queue";
                    return Err(incident.error(ErrorClass::BadOutput, why));
                }
            }
        }
        Ok(Look::Place(Place::Absent))
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
        let outgoing = Outgoing::post_json("prompt", request);
        let lost = match self.send(outgoing, QUEUE_TIME, deadline).await {
            Err(fault @ HttpFault::NoAnswer(_)) => incident.fault(&fault),
            Err(fault) => return Err(incident.fault(&fault)),
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
        let mut pauses = Pauses::new(LOST_PAUSE, LOST_PAUSE);
        for _ in 0..LOOKS_FOR_LOST {
            match self.look(incident, &id, deadline).await {
                Ok(Look::Place(Place::Absent)) | Err(_) => pauses.pause(deadline).await,
                Ok(_) => return Ok(id),
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
                .headers(self.headers.clone())
        };
        let fetched = self.client.fetch(asking, deadline).await;
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
        let outgoing = Outgoing::post_json("history", &serde_json::json!({"delete": [handle]}));
        match self.send(outgoing, ANSWER_TIME, deadline).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(incident.answer(&answer, judge)),
            Err(fault) => Err(ProviderError {
                class: match fault.class() {
                    ErrorClass::Ambiguous => ErrorClass::Network,
                    class => class,
                },
                ..incident.fault(&fault)
            }),
        }
    }

    /// Takes a picture out of the queue, or stops it where it is being drawn. Older servers stop whatever they draw,
    /// which is why it has to be this one.
    pub(super) async fn cancel(&self, handle: &str) -> bool {
        let aside = || Instant::now() + ASIDE;
        let delete = Outgoing::post_json("queue", &serde_json::json!({"delete": [handle]}));
        let told = self.send(delete, ASIDE, aside()).await;
        let queue = self.send(Outgoing::get("queue"), ASIDE, aside()).await;
        let is_running = queue.is_ok_and(|answer| {
            let queue = json::parse(&answer.body).unwrap_or_default();
            history::place(&queue, handle) == Some(Place::Running)
        });
        let interrupted = match is_running {
            true => {
                let interrupt = Outgoing::post_json("interrupt", &serde_json::json!({"prompt_id": handle}));
                self.send(interrupt, ASIDE, aside()).await.map(|_| ())
            }
            false => told.map(|_| ()),
        };
        interrupted
            .inspect_err(
                |error| tracing::debug!(%error, "the server was not told that nobody waits for a picture any more"),
            )
            .is_ok()
    }
}

/// Whether what an earlier attempt has left can be used.
pub(super) async fn is_picture(image: &DrawnImage) -> bool {
    let bytes = image.bytes.clone();
    let inspected = tokio::task::spawn_blocking(move || imaging::inspect(&bytes).is_ok()).await;
    inspected.unwrap_or(false)
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
