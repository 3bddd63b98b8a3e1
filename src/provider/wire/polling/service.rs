//! How a service is reached: its key, orders, questions, and JSON that may not arrive whole.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::report::{Judge, Report};
use super::{Look, Pace};
use crate::failure::ErrorClass;
use crate::http_client::{Answer, BodyEnd, Downloads, HttpClient, HttpFault};
use crate::provider::wire::key::Key;
use crate::provider::{Call, ProviderError, catalog};
use crate::work_package::Prompt;
use tokio::time::Instant;

/// Nobody waits for the picture any more, so this is all that a cancellation may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// How a service is reached.
pub(in crate::provider) struct Service {
    pub(super) name: &'static str,
    client: HttpClient,
    downloads: Downloads,
    key: Option<Key>,
    pub(in crate::provider) pace: Pace,
}

impl Service {
    pub(in crate::provider) fn new(
        name: &'static str,
        client: HttpClient,
        downloads: Downloads,
        key: Option<Key>,
    ) -> Self {
        Self {
            name,
            client,
            downloads,
            key,
            pace: Pace::USUAL,
        }
    }

    pub(in crate::provider) fn client(&self) -> &HttpClient {
        &self.client
    }

    /// Fetches a picture without any key.
    pub(in crate::provider) fn downloads(&self) -> &Downloads {
        &self.downloads
    }

    pub(in crate::provider) fn is_configured(&self) -> bool {
        self.key.is_some()
    }

    /// The headers of every request that may carry the key.
    pub(in crate::provider) fn headers(&self) -> HeaderMap {
        self.key.as_ref().map(Key::headers).unwrap_or_default()
    }

    /// Starts the description of what may fail.
    pub(in crate::provider) fn report<'a>(&'a self, action: String, prompt: &'a Prompt) -> Report<'a> {
        Report {
            provider: self.name,
            action,
            prompt: prompt.expose(),
            secret: self.key.as_ref().map(|key| key.expose()),
            id: None,
        }
    }

    /// Refuses what cannot be sent: no key, or a prompt that is too long for the model.
    pub(in crate::provider) fn may_send(
        &self,
        call: &Call<'_>,
        report: &Report<'_>,
        variable: &str,
    ) -> Result<(), ProviderError> {
        if self.key.is_none() {
            let why = format!("not sent: {variable} is not set");
            return Err(report.error(ErrorClass::Auth, &why));
        }
        let length = call.prompt.expose().chars().count();
        match catalog::find(self.name, &call.spec.model) {
            Some(model) if length > model.prompt_max_chars => {
                let why = format!(
                    "not sent: the prompt has {length} characters, {} takes at most {}",
                    call.spec.model, model.prompt_max_chars
                );
                Err(report.error(ErrorClass::InvalidRequest, &why))
            }
            _ => Ok(()),
        }
    }

    /// Orders a picture: the answer's JSON.
    ///
    /// An answer that does not arrive whole is ambiguous: the order may have been taken under an id that nobody
    /// here knows.
    pub(in crate::provider) async fn order(
        &self,
        path: &str,
        headers: HeaderMap,
        body: &(impl Serialize + Sync),
        report: &Report<'_>,
        judge: Judge,
        deadline: Instant,
    ) -> Result<(Answer, Value), ProviderError> {
        let mut all = self.headers();
        all.extend(headers);
        let answer = self
            .client
            .post_json(path, all, body, deadline)
            .await
            .map_err(|fault| report.fault(&fault))?;
        tracing::Span::current().record("http.response.status_code", answer.status.as_u16());
        if !answer.status.is_success() {
            return Err(report.answer(&answer, judge));
        }
        match json_of(&answer) {
            Ok(json) => Ok((answer, json)),
            Err(NoJson::Page) => {
                let why = format!(
                    "{}: the answer is a page of HTML or XML, not JSON",
                    answer.status.as_u16()
                );
                Err(report.error(ErrorClass::BadOutput, &why))
            }
            Err(NoJson::Broken(why)) => {
                let why = format!("{}: {why}", answer.status.as_u16());
                Err(report.error(ErrorClass::Ambiguous, &why))
            }
        }
    }

    /// Asks `client`'s service about a call: the answer with its JSON, or what the lack of it means for the call.
    pub(in crate::provider) async fn ask(
        &self,
        client: &HttpClient,
        url: Url,
        report: &Report<'_>,
        judge: Judge,
        deadline: Instant,
    ) -> Result<(Answer, Value), Look> {
        let report = report.of(format!("GET {}", url.path()));
        let answer = match self.send(client, Method::GET, url, deadline).await {
            Ok(answer) => answer,
            // Asking buys nothing, so silence is no more than a fault of the network.
            Err(fault) => {
                return Err(Look::Unclear(
                    report.error(ErrorClass::Network, &fault.to_string()),
                ));
            }
        };
        if !answer.status.is_success() {
            let error = report.answer(&answer, judge);
            return Err(match (answer.status.as_u16(), error.class) {
                (404 | 410, _) => Look::Missing(ProviderError {
                    class: ErrorClass::Ambiguous,
                    ..error
                }),
                (
                    _,
                    ErrorClass::Overloaded
                    | ErrorClass::RateLimited
                    | ErrorClass::Ambiguous
                    | ErrorClass::Network
                    | ErrorClass::BadOutput,
                ) => Look::Unclear(error),
                _ => Look::Barred(error),
            });
        }
        match json_of(&answer) {
            Ok(json) => Ok((answer, json)),
            Err(why) => {
                let why = format!("{}: {why}", answer.status.as_u16());
                Err(Look::Unclear(report.error(ErrorClass::Network, &why)))
            }
        }
    }

    /// Cancels a call at the service. Best effort: otherwise it works for nothing, which nobody can help.
    pub(in crate::provider) async fn cancel(&self, method: Method, url: Url) -> bool {
        let deadline = Instant::now() + CANCEL_TIMEOUT;
        match self.send(&self.client, method, url, deadline).await {
            Ok(answer) if answer.status.is_success() => true,
            Ok(answer) => {
                tracing::debug!(provider = self.name, status = %answer.status, "a call could not be cancelled");
                false
            }
            Err(fault) => {
                tracing::debug!(provider = self.name, "a call could not be cancelled: {fault}");
                false
            }
        }
    }

    /// Sends a request without a body, with the key.
    pub(in crate::provider) async fn send(
        &self,
        client: &HttpClient,
        method: Method,
        url: Url,
        deadline: Instant,
    ) -> Result<Answer, HttpFault> {
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = self.headers();
        client.exchange(request, deadline).await
    }
}

/// Why an answer is no JSON.
enum NoJson {
    Page,
    Broken(String),
}

impl std::fmt::Display for NoJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Page => f.write_str("the answer is a page of HTML or XML, not JSON"),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

fn json_of(answer: &Answer) -> Result<Value, NoJson> {
    match &answer.end {
        BodyEnd::Whole => {}
        BodyEnd::Cut(why) => return Err(NoJson::Broken(format!("the answer broke off: {why}"))),
        BodyEnd::TooLarge(bytes) => {
            return Err(NoJson::Broken(format!("the answer has more than {bytes} bytes")));
        }
    }
    serde_json::from_slice(&answer.body).map_err(|error| match answer.body.trim_ascii().first() {
        Some(b'<') => NoJson::Page,
        None => NoJson::Broken("the answer is empty".to_owned()),
        // The place only: the parser's text can quote what it found.
        Some(_) => NoJson::Broken(format!(
            "the answer is not the JSON that was expected, see line {} column {}",
            error.line(),
            error.column()
        )),
    })
}
