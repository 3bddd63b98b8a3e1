//! What an answer of Stability AI means: a picture, a filtered one, or an error.

use std::time::Duration;

use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::ErrorClass;
use crate::http_client::Answer;
use crate::provider::catalog::Model;
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::picture_text::{NotJson, Text, decode, parse};
use crate::provider::wire::waits::asked_wait;
use crate::provider::{Cost, CostBasis, DigitalSource, DrawnImage, ProviderError};

/// After more than 150 requests in 10 s the service refuses all for this long, and does not say so in a header.
/// Source: Stability AI, REST API v2beta, "Rate limits".
const REFUSAL: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    image: Option<Text<'a>>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    seed: Option<Value>,
    #[serde(default)]
    errors: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

/// What a body with a successful status holds.
enum Found {
    Picture(bytes::Bytes, Option<Value>),
    /// The body explains an error in spite of its status.
    IsError,
    Nothing(ErrorClass, String),
}

fn read(body: &[u8]) -> Found {
    let body: Body<'_> = match parse(body) {
        Ok(body) => body,
        Err(NotJson::Cut) => {
            let why = "the answer broke off in the middle of its JSON".to_owned();
            return Found::Nothing(ErrorClass::Ambiguous, why);
        }
        Err(NotJson::Other(why)) => return Found::Nothing(ErrorClass::BadOutput, why),
    };
    if body.error.is_some() || body.errors.is_some() {
        return Found::IsError;
    }
    match body.finish_reason.as_deref() {
        // The picture is there, blurred.
        Some("CONTENT_FILTERED") => {
            let why = "what was drawn was filtered, finish reason CONTENT_FILTERED".to_owned();
            return Found::Nothing(ErrorClass::Moderation, why);
        }
        None | Some("SUCCESS") => {}
        Some(_) => {
            let why = "the finish reason is not SUCCESS".to_owned();
            return Found::Nothing(ErrorClass::BadOutput, why);
        }
    }
    match body.image.as_ref().map(|Text(text)| decode(text)) {
        Some(Ok(bytes)) => Found::Picture(bytes, body.seed.filter(Value::is_number)),
        Some(Err(why)) => Found::Nothing(ErrorClass::BadOutput, why.to_owned()),
        None => Found::Nothing(ErrorClass::BadOutput, "the answer holds no picture".to_owned()),
    }
}

/// Finds the picture in an answer, or why there is none.
pub(super) async fn picture_of(
    answer: &Answer,
    model: Option<&Model>,
    incident: &Incident<'_>,
) -> Result<DrawnImage, ProviderError> {
    if !answer.status.is_success() {
        return Err(explain(incident, answer));
    }
    match incident.read(answer, read).await? {
        Found::Picture(bytes, seed) => Ok(DrawnImage {
            bytes,
            source: DigitalSource::TrainedModel,
            request_id: None,
            usage: seed.map(|seed| json!({ "seed": seed })),
            cost: model.and_then(|model| model.usd_per_image).map(|usd| Cost {
                usd,
                basis: CostBasis::Estimated,
            }),
        }),
        Found::IsError => Err(explain(incident, answer)),
        Found::Nothing(class, why) => Err(incident.unusable(answer.status, class, &why)),
    }
}

fn judge(status: u16, name: Option<&str>) -> ErrorClass {
    match name {
        Some("content_moderation") => return ErrorClass::Moderation,
        Some("unauthorized" | "permission_denied") => return ErrorClass::Auth,
        Some("payment_required") => return ErrorClass::Quota,
        Some("rate_limit_exceeded") => return ErrorClass::RateLimited,
        Some("internal_error") => return ErrorClass::Overloaded,
        Some("bad_request") => return ErrorClass::InvalidRequest,
        _ => {}
    }
    match status {
        // A success without a picture.
        200..=299 => ErrorClass::BadOutput,
        401 | 403 | 407 => ErrorClass::Auth,
        402 => ErrorClass::Quota,
        410 => ErrorClass::ModelGone,
        429 => ErrorClass::RateLimited,
        // Something between stopped waiting, and the service may go on drawing.
        408 | 499 | 504 | 520 | 524 => ErrorClass::Ambiguous,
        409 | 425 | 500..=599 => ErrorClass::Overloaded,
        _ => ErrorClass::InvalidRequest,
    }
}

/// Describes an answer that explains an error: `{"id", "name", "errors": […]}`.
fn explain(incident: &Incident<'_>, answer: &Answer) -> ProviderError {
    let body = ErrorBody::parse(&answer.body);
    let field = |name: &str| body.json.as_ref().and_then(|json| json.get(name)?.as_str());
    let name = field("name");
    let class = judge(answer.status.as_u16(), name);
    let request_id = field("id").and_then(|id| incident.id(id));
    let message = incident.masked(&body.message);
    let asked = asked_wait(&answer.headers, body.json.as_ref(), &message, Utc::now());
    let retry_after = match class {
        ErrorClass::RateLimited => Some(asked.unwrap_or(REFUSAL)),
        class if class.is_retried() => asked,
        _ => None,
    };
    let why = incident.said(
        answer.status,
        &[("name", name), ("request", request_id.as_deref())],
        &body.message,
    );
    ProviderError {
        request_id,
        retry_after,
        ..incident.error(class, &why)
    }
}
