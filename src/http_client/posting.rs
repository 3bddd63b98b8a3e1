//! Posting to addresses that producers wrote and an operator allows: one try, whose answer is read no further than needed.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::answer::chain;
use super::foreign::{ForeignClients, Reach, forbidden_by};

/// So much of an answer is read.
const MOST_ANSWER_BYTES: usize = 16 * 1024;

/// What an address has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The status.
    pub status: u16,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The beginning of its answer, as it came.
    pub said: String,
}

/// Posts to addresses of others.
#[derive(Clone, Debug)]
pub struct Posting {
    public: ForeignClients,
    any: ForeignClients,
}

impl Posting {
    /// [`super::install_tls`] must have been called.
    ///
    /// # Errors
    /// Never with the TLS that this program has.
    pub fn new() -> anyhow::Result<Self> {
        let clients = |allow_private| {
            ForeignClients::new(Reach {
                allow_private,
                cure: "an origin that is written out in full in CALLBACK_HOSTS may have one",
            })
        };
        Ok(Self {
            public: clients(false)?,
            any: clients(true)?,
        })
    }

    /// Posts once. Redirects are not followed. `is_public`: only to a public address; link-local ones and those of metadata services are
    /// never asked.
    ///
    /// # Errors
    /// Why there is no answer, without the URL.
    pub async fn post(
        &self,
        url: &Url,
        is_public: bool,
        headers: HeaderMap,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Posted, String> {
        let clients = if is_public { &self.public } else { &self.any };
        let request = clients
            .client_for(url)?
            .post(url.clone())
            .headers(headers)
            .body(body);
        let mut response = match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(forbidden_by(&error).unwrap_or_else(|| chain(error))),
            Err(_) => return Err("no answer in time".to_owned()),
        };
        let asked = response.headers().get(RETRY_AFTER);
        let asked = asked.and_then(|value| value.to_str().ok());
        let mut posted = Posted {
            status: response.status().as_u16(),
            retry_after: asked.and_then(|text| time_asked_for(text, Utc::now())),
            said: String::new(),
        };
        let mut said = Vec::new();
        // The status is the answer: what breaks off behind it changes nothing.
        while let Ok(Ok(Some(piece))) = timeout_at(deadline, response.chunk()).await {
            let room = MOST_ANSWER_BYTES - said.len();
            said.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() >= room {
                break;
            }
        }
        posted.said = String::from_utf8_lossy(&said).into_owned();
        Ok(posted)
    }
}

/// Seconds, or a date.
///
/// Source: RFC 9110, "Retry-After".
fn time_asked_for(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::method;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    async fn post(url: &str, is_public: bool) -> Result<Posted, String> {
        crate::http_client::install_tls();
        let deadline = Instant::now() + Duration::from_secs(10);
        let body = Bytes::from_static(b"{}");
        let posting = Posting::new().unwrap();
        posting
            .post(&url.parse().unwrap(), is_public, HeaderMap::new(), body, deadline)
            .await
    }

    #[test]
    fn a_time_is_asked_for_in_seconds_or_by_a_date() {
        let now = "2026-11-30T10:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Mon, 30 Nov 2026 10:01:00 GMT", Some(60)),
            ("Mon, 30 Nov 2026 09:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(
                time_asked_for(text, now),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn redirects_are_answers_and_no_more_is_read_than_is_quoted() {
        let server = MockServer::start().await;
        let elsewhere = MockServer::start().await;
        let answer = ResponseTemplate::new(307)
            .insert_header("location", elsewhere.uri())
            .insert_header("retry-after", "7")
            .set_body_string("x".repeat(100_000));
        Mock::given(method("POST"))
            .respond_with(answer)
            .mount(&server)
            .await;
        let posted = post(&server.uri(), false).await.unwrap();
        assert_eq!((posted.status, posted.said.len()), (307, MOST_ANSWER_BYTES));
        assert_eq!(posted.retry_after, Some(Duration::from_secs(7)));
        assert!(elsewhere.received_requests().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_not_public_is_asked_where_that_is_allowed_and_metadata_never() {
        let server = MockServer::start().await;
        let cure = "; an origin that is written out in full in CALLBACK_HOSTS may have one";
        assert_eq!(
            post(&server.uri(), true).await,
            Err(format!("its host has a loopback address{cure}"))
        );
        let port = server.address().port();
        let by_name = post(&format!("http://localhost:{port}/"), true).await;
        assert_eq!(by_name, Err(format!("its host has a name of this machine{cure}")));
        assert!(server.received_requests().await.unwrap().is_empty());
        assert_eq!(
            post(&server.uri(), false).await.map(|posted| posted.status),
            Ok(404)
        );
        for metadata in [
            "http://169.254.169.254/",
            "http://0xa9fea9fe/",
            "http://[fd00:ec2::254]/",
        ] {
            let said = post(metadata, false).await.unwrap_err();
            assert!(said.ends_with(", which is never asked"), "{said}");
        }
        let with_user = post("http://a:b@127.0.0.1/", false).await;
        assert_eq!(with_user, Err("it holds a user name or password".to_owned()));
    }
}
