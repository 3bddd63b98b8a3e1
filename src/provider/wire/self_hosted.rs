//! What providers have in common whose servers people run themselves: judging errors that nobody has documented
//! well, fetching files of the server's own, and patience.

use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use rand::Rng;
use tokio::time::{Instant, sleep};

use crate::failure::ErrorClass;
use crate::http_client::{Answer, BodyEnd, DownloadFault, HttpClient, Outgoing};
use crate::provider::ProviderError;
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::openai_images::{Signs, judge};
use crate::provider::wire::waits::asked_wait;

/// One try to fetch a file, its body included.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);
/// For this long a file may be missing where it was announced.
const LAG: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// An error answer, judged by its status, and by words where memory has run out.
pub(in crate::provider) fn error_of(incident: &Incident<'_>, answer: &Answer) -> ProviderError {
    let body = ErrorBody::parse(&answer.body);
    let message = incident.masked(&body.message);
    let more = body.json.as_ref().and_then(|json| json.get("errors")?.as_str());
    let is_out_of_memory = answer.status.as_u16() >= 500
        && [&*message, more.unwrap_or_default()]
            .into_iter()
            .any(out_of_memory);
    let class = if is_out_of_memory {
        ErrorClass::Overloaded
    } else {
        judge(&Signs {
            status: answer.status.as_u16(),
            ..Signs::default()
        })
    };
    let words = [
        ("type", body.kind.as_deref()),
        ("errors", more.filter(|more| !more.is_empty())),
    ];
    let said = incident.said(answer.status, &words, &message);
    let wait = || asked_wait(&answer.headers, body.json.as_ref(), &message, Utc::now());
    ProviderError {
        retry_after: class.is_retried().then(wait).flatten(),
        ..incident.error(class, &said)
    }
}

/// Whether a message says that the graphics card has too little memory for what was asked.
///
/// Source: PyTorch documentation, `torch.cuda.OutOfMemoryError`.
pub(in crate::provider) fn out_of_memory(message: &str) -> bool {
    let message = message.to_lowercase();
    ["outofmemory", "out of memory", "not enough memory"]
        .iter()
        .any(|words| message.contains(words))
}

/// Waits for a moment between two tries, not beyond `deadline`. The next pause is longer.
pub(in crate::provider) struct Pauses {
    limit: Duration,
    longest: Duration,
}

impl Pauses {
    pub(in crate::provider) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            limit: first,
            longest,
        }
    }

    pub(in crate::provider) async fn pause(&mut self, deadline: Instant) {
        let pause = rand::rng().random_range(self.limit / 2..=self.limit);
        self.limit = (self.limit * 3 / 2).min(self.longest);
        sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

/// Fetches a file from the configured server, which may be asked again until `deadline`, as that costs nothing.
///
/// # Errors
/// [`DownloadFault`], without anything of the answer.
pub(in crate::provider) async fn fetch_own(
    client: &HttpClient,
    asking: impl Fn() -> Outgoing,
    deadline: Instant,
) -> Result<Bytes, DownloadFault> {
    let begun = Instant::now();
    let mut pauses = Pauses::new(FIRST_PAUSE, MAX_PAUSE);
    let mut last = "there was no time left to ask for it".to_owned();
    while Instant::now() < deadline {
        match client
            .send(asking(), deadline.min(Instant::now() + TRY_TIMEOUT))
            .await
        {
            Ok(answer) if answer.status.is_success() => match answer.end {
                BodyEnd::Whole if answer.body.is_empty() => {
                    return Err(DownloadFault::Unreadable("its file is empty".to_owned()));
                }
                BodyEnd::Whole => return Ok(answer.body),
                BodyEnd::TooLarge(bytes) => return Err(DownloadFault::TooLarge(bytes)),
                BodyEnd::Cut(why) => last = why,
            },
            Ok(answer) => {
                let status = answer.status.as_u16();
                let may_pass =
                    matches!(status, 408 | 425 | 429 | 500..=599) || (status == 404 && begun.elapsed() < LAG);
                last = format!("its address answers {status}");
                if !may_pass {
                    return Err(DownloadFault::Answered(status));
                }
            }
            Err(fault) => last = fault.to_string(),
        }
        pauses.pause(deadline).await;
    }
    Err(DownloadFault::OutOfTime(last))
}
