//! A body as it comes in: capped, and few large ones at once, so that ten slots cannot fill the memory.

use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::encoding::{self, Encoded};

/// Bodies that are larger than [`LARGE_BYTES`], in the whole process. The others wait where they are: nobody reads on.
const LARGE_AT_ONCE: usize = 2;
/// More than pictures of usual sizes have, as base64 too.
const LARGE_BYTES: usize = 4 * 1024 * 1024;
/// How long a large body may bring nothing while others wait for its place.
const STALL: Duration = Duration::from_secs(30);

static LARGE: Semaphore = Semaphore::const_new(LARGE_AT_ONCE);

/// What has come so far.
pub(super) struct Body {
    bytes: Vec<u8>,
    cap: usize,
    place: Option<SemaphorePermit<'static>>,
}

/// Why a body is not whole.
#[derive(Debug)]
pub(super) enum Broken {
    /// More than the cap; what fits is kept while it comes.
    TooLarge,
    /// The other side, or the way to it.
    Cut(reqwest::Error),
    /// The deadline, or a large body that stood still.
    TooSlow(&'static str),
    /// What it is encoded in.
    Encoded(&'static str),
}

impl Body {
    /// Nothing yet. Grows with what has really come: a Content-Length is a promise of the other side and reserves nothing.
    pub(super) fn new(cap: usize) -> Self {
        Self {
            bytes: Vec::new(),
            cap,
            place: None,
        }
    }

    /// Reads to the end, at most until `deadline`.
    pub(super) async fn fill(
        &mut self,
        response: &mut reqwest::Response,
        deadline: Instant,
    ) -> Result<(), Broken> {
        let late = |_| Broken::TooSlow("not complete before the deadline");
        loop {
            let patience = if self.place.is_some() {
                deadline.min(Instant::now() + STALL)
            } else {
                deadline
            };
            let chunk = match timeout_at(patience, response.chunk()).await {
                Ok(chunk) => chunk.map_err(Broken::Cut)?,
                Err(_) if patience < deadline => {
                    return Err(Broken::TooSlow("it stood still for 30 s"));
                }
                Err(elapsed) => return Err(late(elapsed)),
            };
            let Some(chunk) = chunk else { return Ok(()) };
            let room = self.cap - self.bytes.len();
            if self.place.is_none() && self.bytes.len() + chunk.len().min(room) > LARGE_BYTES {
                let place = timeout_at(deadline, LARGE.acquire()).await.map_err(late)?;
                self.place = Some(place.expect("the semaphore is never closed"));
                // Memory is used when it is written to, while a body that doubles its own is there twice for a moment.
                self.bytes.reserve_exact(room);
            }
            self.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return Err(Broken::TooLarge);
            }
        }
    }

    /// What has come, and the place for the next large one.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The content of what has come, which is whole: `headers` say how it is encoded.
    pub(super) async fn into_content(
        mut self,
        headers: &HeaderMap,
        deadline: Instant,
    ) -> Result<Vec<u8>, Broken> {
        if !encoding::is_encoded(headers, &self.bytes) {
            return Ok(self.bytes);
        }
        // A small body can have a large content.
        if self.place.is_none() && self.cap > LARGE_BYTES {
            let late = |_| Broken::TooSlow("not complete before the deadline");
            let place = timeout_at(deadline, LARGE.acquire()).await.map_err(late)?;
            self.place = Some(place.expect("the semaphore is never closed"));
        }
        let (headers, cap, bytes) = (headers.clone(), self.cap, std::mem::take(&mut self.bytes));
        // Tens of megabytes at worst: too long for a thread that other jobs share.
        let decoded = tokio::task::spawn_blocking(move || encoding::decode(&headers, bytes, cap)).await;
        decoded
            .map_err(|_| Broken::Encoded("decoding it failed"))?
            .map_err(|fault| match fault {
                Encoded::TooLarge => Broken::TooLarge,
                Encoded::Broken(why) => Broken::Encoded(why),
            })
    }
}
