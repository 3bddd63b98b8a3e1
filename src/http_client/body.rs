//! A body as it comes in: capped, and read only where there is memory for it, so that a thousand slots cannot fill it.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use tokio::time::{Instant, timeout_at};

use super::encoding::{self, Encoded};
use crate::memory::{self, Hold};

/// So much of a body is read before memory is asked for: it is no picture, or has not come yet.
const FREE_BYTES: usize = 16 * 1024;
/// How long a body may bring nothing while others wait for its memory.
const STALL: Duration = Duration::from_secs(30);
/// How long the only answer to a request waits for memory. Services do not hold one for ever, and what it brings is paid for: while
/// the store is away and pictures wait for it, it is read all the same.
const ONLY_ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// What has come so far.
pub(super) struct Body {
    bytes: Vec<u8>,
    pub(super) cap: usize,
    hold: Hold,
    /// Whether there is no other to be had.
    is_only: bool,
    /// Whether it is read without memory of its own: there is none for it, or somebody else has it.
    is_extra: bool,
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

impl Broken {
    const LATE: Self = Self::TooSlow("not complete before the deadline");
}

impl Body {
    /// Nothing yet. Grows with what has really come: a Content-Length is a promise of the other side.
    pub(super) fn new(cap: usize, is_only: bool) -> Self {
        Self {
            bytes: Vec::new(),
            cap,
            hold: Hold::default(),
            is_only,
            is_extra: false,
        }
    }

    /// Nothing yet, for who has memory for all of it and takes care of that.
    pub(super) fn counted(cap: usize) -> Self {
        Self {
            is_extra: true,
            ..Self::new(cap, false)
        }
    }

    /// Reads to the end, at most until `deadline`.
    pub(super) async fn fill(
        &mut self,
        response: &mut reqwest::Response,
        deadline: Instant,
    ) -> Result<(), Broken> {
        // The protocol sees to it that no more comes.
        let is_encoded = encoding::is_encoded(response.headers(), &[]);
        let promised = response
            .content_length()
            .filter(|_| !is_encoded)
            .and_then(|length| usize::try_from(length).ok());
        let most = promised.unwrap_or(memory::UNKNOWN_BYTES).min(self.cap);
        if promised.is_some() && most > FREE_BYTES {
            self.hold(most, deadline).await?;
        }
        loop {
            let patience = deadline.min(Instant::now() + STALL);
            let chunk = match timeout_at(patience, response.chunk()).await {
                Ok(chunk) => chunk.map_err(Broken::Cut)?,
                Err(_) if patience == deadline => return Err(Broken::LATE),
                Err(_) if self.is_in_the_way() => {
                    return Err(Broken::TooSlow("it stood still for 30 s"));
                }
                Err(_) => continue,
            };
            let Some(chunk) = chunk else { return Ok(()) };
            let room = self.cap - self.bytes.len();
            let length = self.bytes.len() + chunk.len().min(room);
            if length > FREE_BYTES {
                self.hold(most, deadline).await?;
            }
            if length > most.max(FREE_BYTES) {
                self.enlarge(deadline).await?;
            }
            if (self.is_extra || !self.hold.is_empty()) && self.bytes.capacity() < length {
                // Memory is used when it is written to, while a body that doubles its own is there twice for a moment.
                let whole = if self.hold.is_large() { self.cap } else { most };
                self.bytes.reserve_exact(whole.max(length) - self.bytes.len());
            }
            self.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return Err(Broken::TooLarge);
            }
        }
    }

    /// Whether others wait for what it holds. They do not wait long for the only answer, unless it is a large one, of which there is
    /// one at a time.
    fn is_in_the_way(&self) -> bool {
        self.hold.is_large() || (!self.is_only && !self.hold.is_empty() && memory::is_short())
    }

    /// Has memory for so many bytes, if it has none yet.
    async fn hold(&mut self, bytes: usize, deadline: Instant) -> Result<(), Broken> {
        if self.is_extra || !self.hold.is_empty() {
            return Ok(());
        }
        match timeout_at(self.patience(deadline), Hold::of(bytes)).await {
            Ok(hold) => self.hold = hold,
            Err(_) => self.go_on_without(deadline)?,
        }
        Ok(())
    }

    async fn enlarge(&mut self, deadline: Instant) -> Result<(), Broken> {
        if self.is_extra {
            return Ok(());
        }
        match timeout_at(self.patience(deadline), self.hold.enlarge()).await {
            Ok(()) => Ok(()),
            Err(_) => self.go_on_without(deadline),
        }
    }

    fn patience(&self, deadline: Instant) -> Instant {
        match self.is_only {
            true => deadline.min(Instant::now() + ONLY_ANSWER_PATIENCE),
            false => deadline,
        }
    }

    fn go_on_without(&mut self, deadline: Instant) -> Result<(), Broken> {
        if deadline <= Instant::now() {
            return Err(Broken::LATE);
        }
        self.is_extra = true;
        tracing::warn!("an answer is read although there is no memory for it: pictures wait to be stored");
        Ok(())
    }

    /// What has come, and what holds memory for it.
    pub(super) fn into_bytes(self) -> (Bytes, Hold) {
        (self.bytes.into(), self.hold)
    }

    /// The content of what has come, which is whole: `headers` say how it is encoded.
    pub(super) async fn into_content(
        mut self,
        headers: &HeaderMap,
        deadline: Instant,
    ) -> Result<(Bytes, Hold), Broken> {
        if !encoding::is_encoded(headers, &self.bytes) {
            return Ok(self.into_bytes());
        }
        let encoded = Bytes::from(std::mem::take(&mut self.bytes));
        // A small body can have a large content.
        self.hold(memory::UNKNOWN_BYTES, deadline).await?;
        let usual = match self.hold.is_large() {
            true => self.cap,
            false => self.cap.min(memory::UNKNOWN_BYTES),
        };
        let content = match decode(headers, encoded.clone(), usual).await {
            Err(Broken::TooLarge) if usual < self.cap => {
                self.enlarge(deadline).await?;
                decode(headers, encoded, self.cap).await?
            }
            content => content?,
        };
        Ok((content.into(), self.hold))
    }
}

async fn decode(headers: &HeaderMap, body: Bytes, cap: usize) -> Result<Vec<u8>, Broken> {
    let headers = headers.clone();
    let _turn = memory::work(body.len() as u64).await;
    // Tens of megabytes at worst: too long for a thread that other jobs share.
    let decoded = tokio::task::spawn_blocking(move || encoding::decode(&headers, body.into(), cap)).await;
    decoded
        .map_err(|_| Broken::Encoded("decoding it failed"))?
        .map_err(|fault| match fault {
            Encoded::TooLarge => Broken::TooLarge,
            Encoded::Broken(why) => Broken::Encoded(why),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_can_be_fetched_again_makes_way_when_it_stands_still() {
        let soon = Instant::now() + STALL;
        let (mut only, mut another) = (Body::new(usize::MAX, true), Body::new(usize::MAX, false));
        assert!(only.hold(FREE_BYTES, soon).await.is_ok() && another.hold(FREE_BYTES, soon).await.is_ok());
        assert!(!another.is_in_the_way(), "there is memory for others");
        let mut all = Vec::new();
        while let Ok(hold) = tokio::time::timeout(Duration::ZERO, Hold::of(memory::UNKNOWN_BYTES)).await {
            all.push(hold);
        }
        assert!(another.is_in_the_way() && !only.is_in_the_way());
        drop(all);
        assert!(only.enlarge(soon).await.is_ok() && only.is_in_the_way());
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_answer_is_read_although_there_is_no_memory_for_it() {
        let mut all = Vec::new();
        while let Ok(hold) = tokio::time::timeout(Duration::ZERO, Hold::of(memory::MOST_BYTES)).await {
            all.push(hold);
        }
        let later = Instant::now() + ONLY_ANSWER_PATIENCE * 2;
        let mut only = Body::new(usize::MAX, true);
        assert!(only.hold(memory::MOST_BYTES, later).await.is_ok());
        assert!(only.hold.is_empty() && Instant::now() < later);
        let mut another = Body::new(usize::MAX, false);
        assert!(matches!(
            another.hold(memory::MOST_BYTES, later).await,
            Err(Broken::TooSlow(_))
        ));
        assert_eq!(Instant::now(), later);
        let mut late = Body::new(usize::MAX, true);
        assert!(late.hold(memory::MOST_BYTES, later).await.is_err());
        drop(all);
    }
}
