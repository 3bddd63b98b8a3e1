//! The client for pictures behind URLs that somebody else wrote: services name them, and services can be wrong.
//!
//! Owns where such a URL may lead and how long and how much is read. It carries no credentials and
//! reaches public addresses alone unless an operator allows private ones. A proxy from the environment is used as for the
//! services themselves: it may be the only way out. Fetching again costs nothing, so what may pass is tried again until the deadline.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use reqwest::header::LOCATION;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use super::answer::chain;
use super::body::{Body, Broken};
use super::foreign::{ForeignClients, Reach, forbidden_by};
use super::{BodyEnd, HttpClient, HttpFault, Outgoing, decode_picture_text, is_data_uri};
use crate::failure::ErrorClass;
use crate::memory::{Hold, SharedHold};

#[cfg(test)]
mod tests;

/// Most bytes of a picture: a little more than are used of one, so that it can be told what is wrong with it.
pub const MAX_PICTURE_BYTES: usize = 33 * 1024 * 1024;
/// One try, its redirects and its body.
const TRY_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_REDIRECTS: usize = 3;
/// For this long a file may be missing where it was announced: delivery networks lag behind.
const LAG: Duration = Duration::from_secs(10);
/// So often a file is asked for where the job can come again later.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Why there are no bytes. Names scheme and host of the URL at most: its path and query may be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownloadFault {
    /// The URL leads where this service does not go, or is no URL.
    #[error("the picture's address is not fetched: {0}")]
    Refused(String),
    /// A status that will not change: 403, 404 or 410 once the file has expired.
    #[error("the picture's address answers {0}")]
    Answered(u16),
    /// The picture has more bytes than this and was not read to its end.
    #[error("the picture has more than {0} bytes and was not read to its end")]
    TooLarge(usize),
    /// There is an answer, and nothing in it that could be a picture.
    #[error("the picture cannot be read: {0}")]
    Unreadable(String),
    /// The deadline has passed. Holds what the last try ended with.
    #[error("the picture could not be fetched in time: {0}")]
    OutOfTime(String),
}

impl DownloadFault {
    /// The class of this fault. The picture has been made, and probably been paid for, in any case.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::OutOfTime(_) => ErrorClass::TimedOut,
            Self::Refused(_) | Self::Answered(_) | Self::TooLarge(_) | Self::Unreadable(_) => {
                ErrorClass::BadOutput
            }
        }
    }

    /// Whether the picture may yet be fetched: at another time, from an address that its service names then, or once an
    /// operator allows where it leads.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::OutOfTime(_) | Self::Answered(_) | Self::Refused(_))
    }
}

/// How one try ended without bytes.
enum Trouble {
    /// Another try ends in the same way.
    Lasting(DownloadFault),
    /// Another try may end differently.
    Passing(String),
    /// 404: the file is not there yet, or not any more.
    Missing,
}

/// Fetches pictures from URLs that somebody else wrote.
#[derive(Clone, Debug)]
pub struct Downloads {
    clients: ForeignClients,
    allow_private: bool,
    cap: usize,
    lag: Duration,
}

impl Downloads {
    /// `allow_private` (`ALLOW_PRIVATE_RESULT_URLS`) lets URLs lead to addresses that are not public, and be plain
    /// HTTP: for services that run nearby. Link-local addresses and those of metadata services are never asked. [`super::install_tls`] must have been called.
    ///
    /// # Errors
    /// Never with the TLS that this program has.
    pub fn new(allow_private: bool) -> anyhow::Result<Self> {
        let reach = Reach {
            allow_private,
            cure: "ALLOW_PRIVATE_RESULT_URLS=true allows that",
        };
        Ok(Self {
            clients: ForeignClients::new(reach)?,
            allow_private,
            cap: MAX_PICTURE_BYTES,
            lag: LAG,
        })
    }

    /// The same client with another limit on the bytes of a picture.
    #[must_use]
    pub fn with_cap(mut self, bytes: usize) -> Self {
        self.cap = bytes;
        self
    }

    /// The same client for files that are there or are not: one that answers 404 is not waited for longer than this.
    #[must_use]
    pub fn with_lag(mut self, lag: Duration) -> Self {
        self.lag = lag;
        self
    }

    /// The bytes behind `url`, which may also be a `data:` URI. Nothing is sent after `deadline`.
    ///
    /// What may pass is tried again until then: failed connections, broken bodies, 408, 429, 5xx, and for the
    /// first seconds 404. What the bytes are has not been looked at.
    ///
    /// # Errors
    /// [`DownloadFault`].
    pub async fn fetch(&self, url: &str, deadline: Instant) -> Result<Bytes, DownloadFault> {
        if is_data_uri(url) {
            return self.decode(url).await;
        }
        let url = Url::parse(url.trim())
            .map_err(|error| DownloadFault::Refused(format!("it is not a URL ({error})")))?;
        until(deadline, self.lag, || self.fetch_once(&url)).await
    }

    /// The bytes behind `url`, at most `cap`, for who can come again later: what may pass is tried three times, and a file that is
    /// not there is not waited for. Memory is taken in `hold` once there is an answer.
    ///
    /// # Errors
    /// [`DownloadFault`].
    pub async fn fetch_file(
        &self,
        url: &Url,
        cap: usize,
        hold: &mut SharedHold,
        deadline: Instant,
    ) -> Result<Bytes, DownloadFault> {
        let late = || Trouble::Passing("it was not complete in time".to_owned());
        for tries in 1.. {
            let once = async {
                let opening = timeout_at(hold.until(deadline), self.open(url));
                let response = opening.await.map_err(|_| late())??;
                hold.take().await;
                let until = hold.until(deadline);
                self.read(response, Body::counted(cap), until).await
            };
            let why = match timeout_at(deadline, once).await.unwrap_or_else(|_| Err(late())) {
                Ok((bytes, _)) => return Ok(bytes),
                Err(Trouble::Lasting(fault)) => return Err(fault),
                Err(Trouble::Missing) => return Err(DownloadFault::Answered(404)),
                Err(Trouble::Passing(why)) => why,
            };
            if tries == TRIES || Instant::now() >= hold.until(deadline) {
                return Err(DownloadFault::OutOfTime(why));
            }
            sleep(FIRST_PAUSE * tries).await;
        }
        unreachable!("the loop ends by itself")
    }

    async fn decode(&self, uri: &str) -> Result<Bytes, DownloadFault> {
        let (uri, cap) = (uri.to_owned(), self.cap);
        // Tens of megabytes at worst: too long for a thread that other jobs share.
        tokio::task::spawn_blocking(move || Ok(decode_picture_text(&uri, cap)?))
            .await
            .map_err(|_| DownloadFault::Unreadable("decoding it failed".to_owned()))?
    }

    async fn fetch_once(&self, url: &Url) -> Result<Bytes, Trouble> {
        let response = self.open(url).await?;
        let body = Body::new(self.cap, false);
        let (content, hold) = self.read(response, body, Instant::now() + TRY_TIMEOUT).await?;
        Ok(hold.around(content))
    }

    /// The answer with the file, of which nothing is read yet. Redirects are followed, each where it may lead.
    async fn open(&self, url: &Url) -> Result<reqwest::Response, Trouble> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let sent = self.client_for(&url)?.get(url.clone()).send().await;
            let response = sent.map_err(trouble_of)?;
            let status = response.status();
            if !status.is_redirection() {
                return status_trouble(status.as_u16()).map(|()| response);
            }
            let target = response.headers().get(LOCATION);
            url = target
                .and_then(|target| url.join(target.to_str().ok()?).ok())
                .ok_or(Trouble::Lasting(DownloadFault::Answered(status.as_u16())))?;
        }
        Err(refused(&format!(
            "it is redirected more than {MAX_REDIRECTS} times"
        )))
    }

    /// The way to this URL, if it may be asked at all.
    fn client_for(&self, url: &Url) -> Result<&reqwest::Client, Trouble> {
        match url.scheme() {
            "https" => {}
            "http" if self.allow_private => {}
            scheme => {
                let why = format!("it begins with {}, not https", super::quote(scheme));
                return Err(refused(&why));
            }
        }
        self.clients.client_for(url).map_err(|why| refused(&why))
    }

    async fn read(
        &self,
        mut response: reqwest::Response,
        mut body: Body,
        deadline: Instant,
    ) -> Result<(Bytes, Hold), Trouble> {
        let headers = response.headers().clone();
        let cap = body.cap;
        let filled = body.fill(&mut response, deadline).await;
        let content = match filled {
            Ok(()) => body.into_content(&headers, deadline).await,
            Err(broken) => Err(broken),
        };
        let (content, hold) = content.map_err(|broken| match broken {
            Broken::TooLarge => Trouble::Lasting(DownloadFault::TooLarge(cap)),
            Broken::Cut(error) => trouble_of(error),
            Broken::TooSlow(why) | Broken::Encoded(why) => Trouble::Passing(why.to_owned()),
        })?;
        if content.is_empty() {
            return Err(Trouble::Passing(
                "its address answers 200 with nothing".to_owned(),
            ));
        }
        Ok((content, hold))
    }
}

impl HttpClient {
    /// Fetches a file of the service's own, which may be asked for again until `deadline`, as that costs nothing.
    ///
    /// # Errors
    /// [`DownloadFault`], without anything of the answer.
    pub async fn fetch(
        &self,
        asking: impl Fn() -> Outgoing,
        deadline: Instant,
    ) -> Result<Bytes, DownloadFault> {
        until(deadline, LAG, || async {
            let answer = match self
                .send(asking(), deadline.min(Instant::now() + TRY_TIMEOUT))
                .await
            {
                Ok(answer) => answer,
                Err(fault @ HttpFault::Redirected { .. }) => return Err(refused(&fault.to_string())),
                Err(fault) => return Err(Trouble::Passing(fault.to_string())),
            };
            status_trouble(answer.status.as_u16())?;
            match answer.end {
                BodyEnd::Whole if answer.body.is_empty() => {
                    Err(Trouble::Passing("its file is empty".to_owned()))
                }
                BodyEnd::Whole => Ok(answer.hold.around(answer.body)),
                BodyEnd::TooLarge(bytes) => Err(Trouble::Lasting(DownloadFault::TooLarge(bytes))),
                BodyEnd::Cut(why) => Err(Trouble::Passing(why)),
            }
        })
        .await
    }
}

/// Tries until there are bytes, or what another try will not change. A file may be missing for `lag`.
async fn until<F: Future<Output = Result<Bytes, Trouble>>>(
    deadline: Instant,
    lag: Duration,
    once: impl Fn() -> F,
) -> Result<Bytes, DownloadFault> {
    let begun = Instant::now();
    let mut limit = FIRST_PAUSE;
    let mut last = "there was no time left to ask for it".to_owned();
    loop {
        let now = Instant::now();
        if now >= deadline {
            return Err(DownloadFault::OutOfTime(last));
        }
        last = match timeout_at(deadline.min(now + TRY_TIMEOUT), once()).await {
            Ok(Ok(bytes)) => return Ok(bytes),
            Ok(Err(Trouble::Lasting(fault))) => return Err(fault),
            Ok(Err(Trouble::Missing)) if begun.elapsed() >= lag => {
                return Err(DownloadFault::Answered(404));
            }
            Ok(Err(Trouble::Missing)) => "404".to_owned(),
            Ok(Err(Trouble::Passing(why))) => why,
            Err(_) => "it was not complete in time".to_owned(),
        };
        let pause = rand::rng().random_range(limit / 2..=limit);
        limit = (limit * 2).min(MAX_PAUSE);
        let left = deadline.saturating_duration_since(Instant::now());
        sleep(pause.min(left)).await;
    }
}

/// What is wrong with the status of a file, if anything.
fn status_trouble(status: u16) -> Result<(), Trouble> {
    match status {
        200 => Ok(()),
        404 => Err(Trouble::Missing),
        408 | 425 | 429 | 500..=599 => Err(Trouble::Passing(status.to_string())),
        status => Err(Trouble::Lasting(DownloadFault::Answered(status))),
    }
}

fn refused(why: &str) -> Trouble {
    Trouble::Lasting(DownloadFault::Refused(why.to_owned()))
}

/// A refused address will be refused again; anything else that happens on the way may pass.
fn trouble_of(error: reqwest::Error) -> Trouble {
    if let Some(why) = forbidden_by(&error) {
        return refused(&why);
    }
    if error.is_builder() {
        return refused("it cannot be asked for over HTTP");
    }
    Trouble::Passing(chain(error))
}
