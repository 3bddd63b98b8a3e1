//! What came back: status, headers and a bounded body, or why nothing did.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};
use tokio::time::Instant;
use url::Url;

use super::body::{Body, Broken};
use crate::failure::ErrorClass;
use crate::memory::Hold;

/// Most bytes of a successful answer: the largest picture that is used, as base64 in JSON.
pub const MAX_BODY_BYTES: usize = 45 * 1024 * 1024;
/// Most bytes of an error answer. More than this explains nothing.
const MAX_ERROR_BODY_BYTES: usize = 256 * 1024;
/// The status of an error is enough; its explanation may not hold a slot until the deadline.
const ERROR_BODY_TIME: Duration = Duration::from_secs(10);

/// A status that arrived, and as much of the body as did.
#[derive(Debug)]
pub struct Answer {
    /// Never a redirect: those are [`HttpFault::Redirected`].
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    /// The body up to where [`Answer::end`] says.
    pub body: Bytes,
    /// How the body ended.
    pub end: BodyEnd,
    /// Memory for the body, or for what was found in it.
    pub hold: Hold,
}

/// How a body ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// Read to its end.
    Whole,
    /// Larger than the limit, which is given here in bytes; the rest was not read.
    TooLarge(usize),
    /// The connection broke, for the reason given here, or the deadline passed.
    Cut(String),
}

/// Why there is no status to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpFault {
    /// Name, connection or TLS failed: the service has not seen the request.
    #[error("not sent: {0}")]
    NotSent(String),
    /// Sent, and then silence or a broken connection: the service may have done the work.
    #[error("{0}")]
    NoAnswer(String),
    /// A redirect, which is never followed: the request carries a key. Holds where it pointed, without query.
    #[error(
        "answered {status} with a redirect to {target}, which is not followed; check the configured base URL"
    )]
    Redirected {
        /// The status, 300 to 399.
        status: u16,
        /// Scheme, host and path of the target.
        target: String,
    },
    /// The deadline had passed before anything was sent.
    #[error("not sent: the deadline has passed")]
    TooLate,
}

impl HttpFault {
    /// The class of this fault. Only [`ErrorClass::Ambiguous`] can have cost money.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotSent(_) | Self::Redirected { .. } => ErrorClass::Network,
            Self::NoAnswer(_) => ErrorClass::Ambiguous,
            Self::TooLate => ErrorClass::TimedOut,
        }
    }

    pub(super) fn from_reqwest(error: reqwest::Error) -> Self {
        // Only these two kinds are certain not to have put the request on the wire.
        let not_sent = error.is_connect() || error.is_builder();
        let chain = chain(error);
        if not_sent {
            Self::NotSent(chain)
        } else {
            Self::NoAnswer(format!("sent, and then no answer: {chain}"))
        }
    }
}

/// The error and its causes in one line, without the URL, whose query could hold a key.
pub(super) fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some wrappers print their cause themselves.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

/// Reads the body of `response` with a running limit, which is that of successful answers.
pub(super) async fn read(
    mut response: reqwest::Response,
    mut body: Body,
    deadline: Instant,
) -> Result<Answer, HttpFault> {
    let status = response.status();
    if status.is_redirection() {
        return Err(HttpFault::Redirected {
            status: status.as_u16(),
            target: redirect_target(&response),
        });
    }
    let headers = response.headers().clone();
    let deadline = if status.is_success() {
        deadline
    } else {
        body.cap = body.cap.min(MAX_ERROR_BODY_BYTES);
        deadline.min(Instant::now() + ERROR_BODY_TIME)
    };
    let cap = body.cap;
    let ((body, mut hold), broken) = match body.fill(&mut response, deadline).await {
        Ok(()) => match body.into_content(&headers, deadline).await {
            Ok(content) => (content, None),
            Err(broken) => (Default::default(), Some(broken)),
        },
        // A picture that is not whole is of no use: free its memory before the caller gets here.
        Err(broken) if status.is_success() => (Default::default(), Some(broken)),
        Err(broken) => (body.into_bytes(), Some(broken)),
    };
    hold.shrink_to(body.len());
    let end = match broken {
        None => BodyEnd::Whole,
        Some(Broken::TooLarge) => BodyEnd::TooLarge(cap),
        Some(Broken::Cut(error)) => BodyEnd::Cut(chain(error)),
        Some(Broken::TooSlow(why) | Broken::Encoded(why)) => BodyEnd::Cut(why.into()),
    };
    Ok(Answer {
        status,
        headers,
        body,
        end,
        hold,
    })
}

fn redirect_target(response: &reqwest::Response) -> String {
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    let Some(location) = location else {
        return "an unnamed address".into();
    };
    match response.url().join(location) {
        Ok(url) => without_query(url),
        Err(_) => "an address that is not a URL".into(),
    }
}

fn without_query(mut url: Url) -> String {
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that cannot have a user name, such as `data:`.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    super::quote(url.as_str())
}
