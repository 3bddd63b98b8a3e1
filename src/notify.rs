//! Tells the end of a job over HTTP, to the `callbackUrl` of a package: one signed POST, by the Standard Webhooks specification, and what its
//! answer means. When it is tried again is in `schedule`; what is still to be told, and by whom, is the ledger's and the worker's business.

mod receivers;
mod schedule;
mod secrets;

use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::http_client::{Posting, TRACEPARENT, redact};
use crate::plain_text::one_line;

pub use receivers::Receivers;
pub use schedule::{MOST_TRIES, next_try};
pub use secrets::Secrets;

/// One try, its answer included.
const PATIENCE: Duration = Duration::from_secs(15);
/// Part of a path that may be a token.
const SECRET_CHARS: usize = 16;
/// As much of an answer as is written down.
const SAID_CHARS: usize = 200;

/// Where ends of jobs may be posted, and what signs them; made by `config`.
#[derive(Clone, Debug)]
pub struct NotifySettings {
    /// `CALLBACK_HOSTS`
    pub receivers: Receivers,
    /// `CALLBACK_SECRET`
    pub secrets: Secrets,
}

/// Posts ends of jobs. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Notifier {
    settings: NotifySettings,
    posting: Posting,
}

/// What is told.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The same in each try.
    pub id: Uuid,
    /// Where.
    pub url: &'a str,
    /// JSON.
    pub body: &'a str,
    /// The trace that the job is part of, for the header of that name.
    pub traceparent: Option<&'a str>,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was told, with this status.
    Delivered(u16),
    /// It was not told: the status where there was an answer, and why, without a secret.
    Failed {
        /// Of the answer.
        status: Option<u16>,
        /// In a sentence.
        why: String,
        /// Whether it is not to be told again: the receiver is gone.
        is_final: bool,
        /// How long the receiver asks to be left alone.
        retry_after: Option<Duration>,
    },
}

impl Notifier {
    /// [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// Never with the TLS that this program has.
    pub fn new(settings: NotifySettings) -> anyhow::Result<Self> {
        let posting = Posting::new()?;
        Ok(Self { settings, posting })
    }

    /// Origins that are posted to.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.settings.receivers.origins()
    }

    /// Posts once, and waits for the answer for 15 s.
    pub async fn post(&self, message: &Message<'_>) -> Verdict {
        let not_sent = |why: &str| Verdict::Failed {
            status: None,
            why: why.to_owned(),
            is_final: false,
            retry_after: None,
        };
        let Ok(url) = Url::parse(message.url) else {
            return not_sent("it is no URL");
        };
        let Some(is_public) = self.settings.receivers.is_public(&url) else {
            return not_sent("CALLBACK_HOSTS does not allow its host any more");
        };
        let Some(headers) = self.headers(message) else {
            return not_sent("its headers cannot be written");
        };
        let body = Bytes::from(message.body.to_owned());
        let deadline = Instant::now() + PATIENCE;
        match self.posting.post(&url, is_public, headers, body, deadline).await {
            Ok(posted) => {
                let secrets = [
                    url.path().trim_start_matches('/'),
                    url.query().unwrap_or_default(),
                ];
                let said = one_line(&redact(&posted.said, &secrets), SAID_CHARS);
                judge(posted.status, &said, posted.retry_after)
            }
            Err(why) => not_sent(&why),
        }
    }

    /// Source: Standard Webhooks specification, "Webhook Headers (sending metadata to consumers)".
    fn headers(&self, message: &Message<'_>) -> Option<HeaderMap> {
        let (id, now) = (format!("msg_{}", message.id.simple()), Utc::now().timestamp());
        let signature = self.settings.secrets.sign(&id, now, message.body);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [
            ("webhook-id", id),
            ("webhook-timestamp", now.to_string()),
            ("webhook-signature", signature),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?);
        }
        if let Some(parent) = message.traceparent {
            headers.insert(TRACEPARENT, HeaderValue::from_str(parent).ok()?);
        }
        Some(headers)
    }
}

/// Source: Standard Webhooks specification, "Deliverability and reliability" (2xx is success, 410 ends it, redirects are failures).
fn judge(status: u16, said: &str, retry_after: Option<Duration>) -> Verdict {
    let said = match said {
        "" => String::new(),
        said => format!(": {said}"),
    };
    let why = match status {
        200..=299 => return Verdict::Delivered(status),
        300..=399 => {
            format!("answered {status}, a redirect, which is not followed: push the URL that it leads to")
        }
        410 => format!("answered 410: nobody wants to be told there any more{said}"),
        _ => format!("answered {status}{said}"),
    };
    Verdict::Failed {
        status: Some(status),
        why,
        is_final: status == 410,
        retry_after,
    }
}

/// A URL as people may see it: the host, and of the path what is too short to be a secret.
#[must_use]
pub fn masked(url: &str) -> String {
    let Ok(url) = Url::parse(url) else {
        return "***".to_owned();
    };
    let mut text = url.origin().ascii_serialization();
    for part in url.path_segments().into_iter().flatten() {
        text.push('/');
        text.push_str(if part.len() < SECRET_CHARS { part } else { "***" });
    }
    if url.query().is_some() {
        text.push_str("?***");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        for (url, shown) in [
            ("https://hooks.example.org/", "https://hooks.example.org/"),
            ("http://127.0.0.1:3000/done/42", "http://127.0.0.1:3000/done/42"),
            ("https://h.example/a?token=hunter2", "https://h.example/a?***"),
            (
                "https://hooks.example.org/services/T024BE7LD/B01/XyZ12345678901234567890",
                "https://hooks.example.org/services/T024BE7LD/B01/***",
            ),
            ("no URL", "***"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }

    #[test]
    fn only_a_success_is_one_and_only_a_receiver_that_is_gone_is_left_for_good() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(status, "", None), Verdict::Delivered(status));
        }
        for status in [
            100, 301, 302, 307, 308, 400, 401, 403, 404, 408, 410, 422, 429, 500, 502, 503,
        ] {
            let asked = Some(Duration::from_secs(9));
            let Verdict::Failed {
                status: found,
                why,
                is_final,
                retry_after,
            } = judge(status, "no", asked)
            else {
                panic!("{status} is no delivery");
            };
            assert_eq!(
                (found, is_final, retry_after),
                (Some(status), status == 410, asked)
            );
            assert!(why.contains(&status.to_string()), "{why}");
        }
    }
}
