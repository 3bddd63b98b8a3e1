//! What all services have in common that speak OpenAI's Images API: reading an answer and judging an error.
//!
//! What goes on the wire is each provider's business; so is what its service means by codes of its own.

use bytes::Bytes;
use serde_json::Value;

use crate::failure::ErrorClass;
use crate::http_client::{Answer, BodyEnd};
use crate::provider::ProviderError;

mod errors;
mod response;

pub(in crate::provider) use errors::{Report, request_id};
pub use errors::{Signs, judge};
pub(in crate::provider) use response::Found;

/// The path of every service, below its base URL.
pub(in crate::provider) const PATH: &str = "images/generations";

/// A picture, or where it is.
#[derive(Debug)]
pub(in crate::provider) struct Drawn {
    pub(in crate::provider) found: Found,
    /// Token counts, where given.
    pub(in crate::provider) usage: Option<Value>,
}

/// Finds the picture in an answer of any status.
pub(in crate::provider) async fn picture_of(
    answer: &Answer,
    report: &Report<'_>,
) -> Result<Drawn, ProviderError> {
    if !answer.status.is_success() {
        return Err(report.answer(answer));
    }
    match &answer.end {
        BodyEnd::Whole => {}
        BodyEnd::Cut(why) => {
            let why = format!("the answer broke off: {why}");
            return Err(report.unusable(answer, ErrorClass::Ambiguous, &why));
        }
        BodyEnd::TooLarge(bytes) => {
            let why = format!("the answer has more than {bytes} bytes and was not read to its end");
            return Err(report.unusable(answer, ErrorClass::BadOutput, &why));
        }
    }
    let body: Bytes = answer.body.clone();
    // Tens of megabytes at worst: too long for a thread that other jobs share.
    let read = tokio::task::spawn_blocking(move || response::read(&body))
        .await
        .map_err(|_| report.unusable(answer, ErrorClass::BadOutput, "reading the answer failed"))?;
    read.map(|picture| Drawn {
        found: picture.found,
        usage: picture.usage,
    })
    .map_err(|fault| match fault {
        response::Fault::IsError => report.answer(answer),
        response::Fault::Cut => report.unusable(
            answer,
            ErrorClass::Ambiguous,
            "the answer broke off in the middle of its JSON",
        ),
        response::Fault::Filtered => report.unusable(
            answer,
            ErrorClass::Moderation,
            "the answer holds the verdict of a content filter in place of a picture",
        ),
        response::Fault::NoPicture(why) => report.unusable(answer, ErrorClass::BadOutput, &why),
    })
}
