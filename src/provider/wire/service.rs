//! How a service is reached: its key, orders, questions, and what of an answer is fetched from elsewhere.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::errors::Judge;
use super::fetching::{self, Origin};
use super::incident::Incident;
use super::json::{self, NotJson};
use super::key::Key;
use super::picture::Picture;
use crate::failure::ErrorClass;
use crate::http_client::{Answer, DownloadFault, Downloads, HttpClient, HttpFault, Outgoing};
use crate::provider::catalog::not_configured;
use crate::provider::{Call, DrawnImage, NotDrawn, ProviderError, Unsupported, catalog};

/// Nobody waits for the picture any more, so this is all that a cancellation may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// When the next look is due.
#[derive(Clone, Copy, Debug)]
pub(in crate::provider) struct Pace {
    /// Before the first look, and between the looks after it.
    pub(in crate::provider) first: Duration,
    /// Longest pause between two looks.
    pub(in crate::provider) longest: Duration,
    /// For this long a service may not know what it has accepted: its parts learn of it one after the other.
    pub(in crate::provider) lag: Duration,
}

impl Pace {
    /// What the services' own clients do, and slower with time: a picture takes seconds, and limits count looks.
    pub(in crate::provider) const USUAL: Self = Self {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(3),
        lag: Duration::from_secs(10),
    };
}

/// Why a service has told nothing of a call.
#[derive(Debug)]
pub(in crate::provider) enum NotTold {
    /// It cannot be asked about for now: the key, for example, is not accepted any more.
    Barred(ProviderError),
    /// The service does not know it.
    Missing(ProviderError),
    /// Nothing has been learnt; the next look may tell more.
    Unclear(ProviderError),
}

/// How a service is reached.
#[derive(Debug)]
pub(in crate::provider) struct Service {
    pub(in crate::provider) name: &'static str,
    client: HttpClient,
    downloads: Downloads,
    key: Option<Key>,
    /// The variable that an operator has not set, and without which nothing is sent.
    pub(in crate::provider) missing: Option<&'static str>,
    pub(in crate::provider) pace: Pace,
}

impl Service {
    /// `client` is `None` where an operator has said nothing of an address, which `missing` names then.
    pub(in crate::provider) fn new(
        name: &'static str,
        client: Option<HttpClient>,
        downloads: Downloads,
        key: Option<Key>,
        missing: Option<&'static str>,
    ) -> anyhow::Result<Self> {
        // Never asked: what is missing stops every request before.
        let nowhere = || HttpClient::new(&Url::parse("https://unset.invalid/")?);
        Ok(Self {
            name,
            client: client.map_or_else(nowhere, Ok)?,
            downloads,
            key,
            missing,
            pace: Pace::USUAL,
        })
    }

    pub(in crate::provider) fn client(&self) -> &HttpClient {
        &self.client
    }

    pub(in crate::provider) fn is_configured(&self) -> bool {
        self.missing.is_none()
    }

    /// Refuses every request where an operator has not said enough.
    pub(in crate::provider) fn check_configured(&self) -> Result<(), Unsupported> {
        match self.missing {
            Some(variable) => Err(not_configured(self.name, variable)),
            None => Ok(()),
        }
    }

    /// The headers of every request that may carry the key.
    pub(in crate::provider) fn headers(&self) -> HeaderMap {
        self.key.as_ref().map(Key::headers).unwrap_or_default()
    }

    /// Starts the description of what may fail.
    pub(in crate::provider) fn incident<'a>(&'a self, request: String, call: &Call<'a>) -> Incident<'a> {
        let secrets = self.key.iter().flat_map(Key::expose);
        Incident::new(self.name, request, call.prompt.expose())
            .hiding(call.spec.negative())
            .with_secrets(secrets)
    }

    /// The same for a POST to `path`, below the base URL.
    pub(in crate::provider) fn posting<'a>(&'a self, path: &str, call: &Call<'a>) -> Incident<'a> {
        self.incident(format!("POST {}", self.client.url(path).path()), call)
    }

    /// Refuses what cannot be sent: no key, a prompt that is too long for the model, or nothing at all.
    pub(in crate::provider) fn may_send(
        &self,
        call: &Call<'_>,
        incident: &Incident<'_>,
    ) -> Result<(), ProviderError> {
        if let Some(variable) = self.missing {
            return Err(incident.unset(variable));
        }
        let refused = |why: &str| incident.error(ErrorClass::InvalidRequest, why);
        if call.prompt.expose().trim().is_empty() {
            let why = "not sent: nothing is left of the prompt without what the server would obey";
            return Err(refused(why));
        }
        let model = catalog::find(self.name, &call.spec.model);
        catalog::check_prompt(model, call.prompt).map_err(|why| refused(&why))
    }

    /// Sends a request, with the key.
    pub(in crate::provider) async fn call(
        &self,
        outgoing: Outgoing,
        incident: &Incident<'_>,
        deadline: Instant,
    ) -> Result<Answer, ProviderError> {
        let outgoing = outgoing.headers(self.headers());
        let signed = self.client.prepare(outgoing).and_then(|mut request| {
            let signed = self.key.as_ref().map(|key| key.sign(&mut request));
            signed.transpose().map(|_| request)
        });
        let answer = match signed {
            Ok(request) => self.client.exchange(request, deadline).await,
            Err(fault) => Err(fault),
        };
        answer.map_err(|fault| incident.fault(&fault))
    }

    /// Sends a request on which nothing depends, with the key, and waits no longer than this.
    pub(in crate::provider) async fn aside(
        &self,
        outgoing: Outgoing,
        patience: Duration,
    ) -> Result<Answer, HttpFault> {
        let outgoing = outgoing.headers(self.headers());
        self.client.send(outgoing, Instant::now() + patience).await
    }

    /// The bytes of a picture that this service has made.
    pub(in crate::provider) async fn fetch(
        &self,
        picture: Picture,
        deadline: Instant,
    ) -> Result<Bytes, DownloadFault> {
        let headers = self.headers();
        fetching::fetch(picture, &self.downloads, self.origin(&headers), deadline).await
    }

    /// The bytes of a picture that the answer to a call has brought, or said the address of.
    pub(in crate::provider) async fn obtain(
        &self,
        picture: Picture,
        incident: &Incident<'_>,
        call: &Call<'_>,
    ) -> Result<Bytes, NotDrawn> {
        let headers = self.headers();
        fetching::obtain(picture, incident, call, &self.downloads, self.origin(&headers)).await
    }

    /// The picture whose address [`Service::obtain`] has saved.
    pub(in crate::provider) async fn resume(
        &self,
        handle: &str,
        call: &Call<'_>,
    ) -> Result<DrawnImage, NotDrawn> {
        let headers = self.headers();
        let incident = self.incident("GET a picture".to_owned(), call);
        fetching::resume(handle, &incident, call, &self.downloads, self.origin(&headers)).await
    }

    fn origin<'a>(&'a self, headers: &'a HeaderMap) -> Origin<'a> {
        Origin {
            client: &self.client,
            headers,
        }
    }

    /// Orders a picture: the answer's JSON.
    ///
    /// An answer that does not arrive whole is ambiguous: the order may have been taken under an id that nobody
    /// here knows.
    pub(in crate::provider) async fn order(
        &self,
        outgoing: Outgoing,
        incident: &Incident<'_>,
        judge: Judge,
        deadline: Instant,
    ) -> Result<(Answer, Value), ProviderError> {
        let answer = self.call(outgoing, incident, deadline).await?;
        // Does nothing where the caller's span has no such field.
        tracing::Span::current().record("http.response.status_code", answer.status.as_u16());
        if !answer.status.is_success() {
            return Err(incident.answer(&answer, judge));
        }
        let unread = |class, why: &str| incident.unusable(&answer, class, why);
        if let Some(error) = incident.broken(&answer) {
            return Err(unread_as(error, ErrorClass::Ambiguous));
        }
        match json::parse(&answer.body) {
            Ok(json) => Ok((answer, json)),
            Err(NotJson::Page) => Err(unread(ErrorClass::BadOutput, &NotJson::Page.to_string())),
            Err(fault) => Err(unread(ErrorClass::Ambiguous, &fault.to_string())),
        }
    }

    /// Asks `client`'s service about a call: the answer with its JSON.
    ///
    /// # Errors
    /// [`NotTold`]: what the lack of it means for the call.
    pub(in crate::provider) async fn ask(
        &self,
        client: &HttpClient,
        url: Url,
        incident: &Incident<'_>,
        judge: Judge,
        deadline: Instant,
    ) -> Result<(Answer, Value), NotTold> {
        let incident = incident.of(format!("GET {}", url.path()));
        let answer = match self.send(client, Method::GET, url, deadline).await {
            Ok(answer) => answer,
            // Asking buys nothing, so silence is no more than a fault of the network.
            Err(fault) => {
                let class = match fault {
                    HttpFault::TooLate => ErrorClass::TimedOut,
                    _ => ErrorClass::Network,
                };
                return Err(NotTold::Unclear(incident.error(class, &fault.to_string())));
            }
        };
        if !answer.status.is_success() {
            let error = incident.answer(&answer, judge);
            return Err(match (answer.status.as_u16(), error.class) {
                (404 | 410, _) => NotTold::Missing(unread_as(error, ErrorClass::Ambiguous)),
                (
                    _,
                    ErrorClass::Overloaded
                    | ErrorClass::RateLimited
                    | ErrorClass::Ambiguous
                    | ErrorClass::Network
                    | ErrorClass::BadOutput,
                ) => NotTold::Unclear(error),
                _ => NotTold::Barred(error),
            });
        }
        let read = match incident.broken(&answer) {
            Some(error) => Err(unread_as(error, ErrorClass::Network)),
            None => json::parse(&answer.body)
                .map_err(|fault| incident.unusable(&answer, ErrorClass::Network, &fault.to_string())),
        };
        match read {
            Ok(json) => Ok((answer, json)),
            Err(error) => Err(NotTold::Unclear(error)),
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

fn unread_as(error: ProviderError, class: ErrorClass) -> ProviderError {
    ProviderError { class, ..error }
}
