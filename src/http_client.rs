//! The one outgoing HTTP client for image services: limits on time and bytes, no redirects, redaction.
//!
//! Owns how a request leaves this process and what may come back. What an answer means is its
//! provider's business. Pictures behind URLs that somebody else wrote are not fetched with this client:
//! it carries credentials and trusts the address that an operator configured.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use crate::trace;

mod answer;
mod body;
mod download;
mod encoding;
mod foreign;
mod guard;
mod outgoing;
mod picture_text;
mod pieces;
mod posting;
mod redact;
#[cfg(test)]
pub(crate) mod tests;
mod trust;

pub use answer::{Answer, BodyEnd, HttpFault, MAX_BODY_BYTES};
use body::Body;
pub use download::{DownloadFault, Downloads, MAX_PICTURE_BYTES};
pub use guard::{lasting_refusal, literal_address, metadata_name, refused_host};
pub use outgoing::Outgoing;
pub use picture_text::{NotDecoded, decode_picture_text, is_data_uri};
pub use pieces::{Attachment, Inline};
pub use posting::{Posted, Posting};
pub use redact::{QUOTE_CHARS, mask, quote, redact};

/// A service that does not accept a connection in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Below the usual idle timeouts of load balancers, so that a kept connection is rarely a dead one.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const POOL_IDLE_PER_HOST: usize = 8;
/// An image service is silent for minutes: these probes keep NAT tables and find dead peers meanwhile.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);

/// Which trace a request is part of.
///
/// Source: W3C Trace Context, "traceparent Header".
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Makes ring the process's TLS provider. Call it first in `main` and in every test that builds a client.
///
/// May be called any number of times: a provider that is there already stays.
pub fn install_tls() {
    // Err means that some provider has been installed before, which is what was asked for.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An HTTP client bound to one service's base URL, so that its credentials can go nowhere else.
#[derive(Clone, Debug)]
pub struct HttpClient {
    inner: reqwest::Client,
    base: Url,
    body_cap: usize,
}

impl HttpClient {
    /// A client for the service at `base_url`, with or without a slash at its end.
    ///
    /// A proxy from the environment is used, except for a service on this machine.
    ///
    /// # Errors
    /// When the URL is not plain `http` or `https`.
    pub fn new(base_url: &Url) -> anyhow::Result<Self> {
        let base = checked_base(base_url)?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("generative-ai-worker/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .tls_backend_preconfigured(trust::tls()?)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE_ANSWER)
            .http2_keep_alive_interval(KEEPALIVE)
            .http2_keep_alive_timeout(KEEPALIVE_ANSWER);
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        Ok(Self {
            inner: builder.build().context("making the HTTP client")?,
            base,
            body_cap: MAX_BODY_BYTES,
        })
    }

    /// The same client with another limit on the bytes of a successful answer.
    #[must_use]
    pub fn with_body_cap(mut self, bytes: usize) -> Self {
        self.body_cap = bytes;
        self
    }

    /// The address of `path` (without a slash at its beginning) below the base URL.
    #[must_use]
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        // The base ends with a slash, see `checked_base`.
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    /// Sends `request` and reads the whole answer, at most until `deadline`.
    ///
    /// An answer of any status but a redirect is `Ok`, also one whose body broke off: see [`Answer::end`].
    ///
    /// # Errors
    /// [`HttpFault`], which says whether the request can have reached the service. One to another origin than the base URL's is
    /// not sent.
    pub async fn exchange(
        &self,
        mut request: reqwest::Request,
        deadline: Instant,
    ) -> Result<Answer, HttpFault> {
        if request.url().origin() != self.base.origin() {
            return Err(HttpFault::NotSent(
                "the address does not belong to the configured service".into(),
            ));
        }
        if deadline <= Instant::now() {
            return Err(HttpFault::TooLate);
        }
        let told = trace::current().and_then(|parent| HeaderValue::from_str(parent.as_str()).ok());
        if let Some(parent) = told {
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        // What is posted has an effect, so that its answer may be the only one.
        let is_only = request.method() == Method::POST;
        let response = match timeout_at(deadline, self.inner.execute(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(HttpFault::from_reqwest(error)),
            Err(_) => return Err(HttpFault::NoAnswer("no answer before the deadline".into())),
        };
        answer::read(response, Body::new(self.body_cap, is_only), deadline).await
    }

    /// The same client for another host of the same service. Whoever calls this answers for it that the
    /// credentials may go there.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn at(&self, base_url: &Url) -> anyhow::Result<Self> {
        Ok(Self {
            base: checked_base(base_url)?,
            ..self.clone()
        })
    }

    /// Makes the request that has been described; sends nothing.
    ///
    /// # Errors
    /// [`HttpFault::NotSent`].
    pub fn prepare(&self, outgoing: Outgoing) -> Result<reqwest::Request, HttpFault> {
        outgoing.into_request(self)
    }

    /// Sends what has been described and reads the whole answer, at most until `deadline`.
    ///
    /// # Errors
    /// As [`HttpClient::exchange`].
    pub async fn send(&self, outgoing: Outgoing, deadline: Instant) -> Result<Answer, HttpFault> {
        self.exchange(self.prepare(outgoing)?, deadline).await
    }
}

/// Whether [`HttpClient::new`] takes this address.
///
/// # Errors
/// Says what is wrong with it and repeats no part that could be a secret.
pub fn check_base_url(base_url: &Url) -> anyhow::Result<()> {
    checked_base(base_url).map(|_| ())
}

/// Brings a base URL into the form that [`HttpClient::url`] relies on: a slash at the end, nothing after it.
fn checked_base(base_url: &Url) -> anyhow::Result<Url> {
    if !matches!(base_url.scheme(), "http" | "https") {
        bail!(
            "the scheme {:?} of the base URL is not supported; use https, or http for a service nearby",
            base_url.scheme()
        );
    }
    if !base_url.username().is_empty() || base_url.password().is_some() {
        bail!("the base URL must not hold a user name or password; give the key in its own variable");
    }
    if base_url.query().is_some() || base_url.fragment().is_some() {
        bail!("the base URL must end with its path, without ? or #");
    }
    let mut base = base_url.clone();
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base_url.path()));
    }
    Ok(base)
}

/// Whether no proxy can reach this address in our place: this machine, and the metadata server beside it.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain("metadata.google.internal")) => true,
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_link_local(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
