//! Memory for pictures: a resource like slots, so that the process stays small however many jobs it works on at once.
//!
//! What has come from a service is held from before it is read until it is stored or an icon has been made of it
//! ([`Hold::of`]), the icon from before it is made until it is stored ([`Hold::to_make`]), and work on them takes a turn
//! ([`work`]). Who has what came waits for room for an icon, who has that waits for turns, and who has a turn waits for nothing
//! more, so that all get on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Answers and pictures together, those apart that are larger than [`MOST_BYTES`].
const IN_HAND_BYTES: usize = 16 * MIB;
/// Icons that are being made, or are made and not yet stored: while the store is away, those of a thousand slots would else wait
/// for it.
const MADE_BYTES: usize = 16 * MIB;
/// More than this is one at a time, in the whole process, and not counted by its bytes.
pub const MOST_BYTES: usize = 8 * MIB;
/// What an answer is taken for that does not say how long it is. More than pictures of usual sizes have, as base64 too.
pub const UNKNOWN_BYTES: usize = 4 * MIB;
/// Reference images of all calls, until they are sent.
const REFERENCES_BYTES: usize = 20 * MIB;
/// How long a call may take to have all of its reference images, once it has memory for them.
const REFERENCES_TIME: Duration = Duration::from_secs(45);
/// What is made of them: pixels, and values of JSON.
const AT_WORK_BYTES: usize = 168 * MIB;

const MIB: usize = 1024 * 1024;
/// What is counted.
const UNIT: usize = 1024;

static IN_HAND: Semaphore = Semaphore::const_new(IN_HAND_BYTES / UNIT);
static MADE: Semaphore = Semaphore::const_new(MADE_BYTES / UNIT);
static REFERENCES: Semaphore = Semaphore::const_new(REFERENCES_BYTES / UNIT);
static LARGE: Semaphore = Semaphore::const_new(1);
static AT_WORK: Semaphore = Semaphore::const_new(AT_WORK_BYTES / UNIT);

/// Memory that is held. Given back when it is dropped.
#[derive(Debug, Default)]
pub struct Hold {
    counted: Option<SemaphorePermit<'static>>,
    large: Option<SemaphorePermit<'static>>,
}

impl Hold {
    /// Waits for memory for so many bytes. Whoever holds some already must not ask for more in this way.
    pub async fn of(bytes: usize) -> Self {
        let mut hold = Self::default();
        if bytes > MOST_BYTES {
            hold.enlarge().await;
        } else {
            hold.counted = Some(take(&IN_HAND, units(bytes)).await);
        }
        hold
    }

    /// Waits for memory for an icon of so many bytes at the most, which may be done while what it is made of is held.
    pub async fn to_make(bytes: usize) -> Self {
        Self {
            counted: Some(take(&MADE, units(bytes.min(MADE_BYTES))).await),
            large: None,
        }
    }

    /// Nothing yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counted.is_none() && self.large.is_none()
    }

    /// Whether there is memory for any number of bytes.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.large.is_some()
    }

    /// Waits for memory for any number of bytes, which one has at a time.
    pub async fn enlarge(&mut self) {
        if self.large.is_none() {
            self.large = Some(take(&LARGE, 1).await);
        }
    }

    /// Gives back what is more than so many bytes take.
    pub fn shrink_to(&mut self, bytes: usize) {
        let Some(counted) = &mut self.counted else { return };
        let surplus = counted.num_permits().saturating_sub(units(bytes) as usize);
        drop(counted.split(surplus));
    }

    /// The bytes with what holds memory for them: it is given back with the last copy.
    #[must_use]
    pub fn around(mut self, bytes: Bytes) -> Bytes {
        self.shrink_to(bytes.len());
        if self.is_empty() {
            return bytes;
        }
        Bytes::from_owner(Held { bytes, _hold: self })
    }
}

/// Memory for all reference images of one call together, so that none of them is waited for while another is held.
#[derive(Debug)]
pub struct SharedHold {
    most: usize,
    hold: Hold,
    /// By when all are to be there, as others wait for the memory.
    until: Option<Instant>,
}

impl SharedHold {
    /// Nothing yet, of so many bytes at the most.
    #[must_use]
    pub fn of(most: usize) -> Self {
        Self {
            most: most.min(REFERENCES_BYTES),
            hold: Hold::default(),
            until: None,
        }
    }

    /// Waits for the memory, the first time.
    pub async fn take(&mut self) {
        if self.hold.is_empty() {
            self.hold.counted = Some(take(&REFERENCES, units(self.most)).await);
            self.until = Some(Instant::now() + REFERENCES_TIME);
        }
    }

    /// How long may be waited for files, and until `deadline` at the most: there is no hurry before there is memory.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Instant {
        self.until.map_or(deadline, |until| until.min(deadline))
    }

    /// The files with what holds memory for them: it is given back with the last copy of the last one.
    #[must_use]
    pub fn around(mut self, files: Vec<Bytes>) -> Vec<Bytes> {
        self.hold.shrink_to(files.iter().map(Bytes::len).sum());
        let hold = Arc::new(self.hold);
        let held = files.into_iter().map(|bytes| {
            let _hold = hold.clone();
            Bytes::from_owner(Held { bytes, _hold })
        });
        held.collect()
    }
}

struct Held<H> {
    bytes: Bytes,
    _hold: H,
}

impl<H> AsRef<[u8]> for Held<H> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Whether others may be waiting for what is held.
#[must_use]
pub fn is_short() -> bool {
    IN_HAND.available_permits() < UNKNOWN_BYTES / UNIT
}

/// Waits for a turn at work that takes so many bytes: it is over when what comes back is dropped. Work that takes
/// more than there may ever be is done alone.
pub async fn work(bytes: u64) -> SemaphorePermit<'static> {
    let bytes = usize::try_from(bytes).unwrap_or(AT_WORK_BYTES);
    take(&AT_WORK, units(bytes.min(AT_WORK_BYTES))).await
}

async fn take(semaphore: &'static Semaphore, permits: u32) -> SemaphorePermit<'static> {
    let taken = semaphore.acquire_many(permits).await;
    taken.expect("the semaphore is never closed")
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn memory_is_given_back_with_the_last_copy_of_the_bytes() {
        let all = IN_HAND.available_permits();
        let held = Hold::of(7 * MIB).await.around(Bytes::from(vec![1; 3 * MIB]));
        assert_eq!(
            IN_HAND.available_permits(),
            all - 3 * MIB / UNIT,
            "no more than there is"
        );
        let part = held.slice(5..6);
        drop(held);
        assert!(IN_HAND.available_permits() < all);
        drop(part);
        assert_eq!(IN_HAND.available_permits(), all);
    }

    #[tokio::test]
    async fn icons_that_are_not_stored_yet_wait_for_room_and_for_no_picture() {
        let all = MADE.available_permits();
        let picture = Hold::of(IN_HAND_BYTES / 2).await;
        let mut icons = Vec::new();
        while let Some(icon) = Hold::to_make(MIB).now_or_never() {
            icons.push(icon.around(Bytes::from(vec![1; MIB / 2])));
        }
        assert!(icons.len() > MADE_BYTES / MIB, "what is made takes what it has");
        icons.pop();
        icons.pop();
        assert!(Hold::to_make(MIB).now_or_never().is_some());
        drop((icons, picture));
        assert_eq!(MADE.available_permits(), all);
    }

    #[tokio::test]
    async fn what_is_held_together_is_given_back_with_the_last_file() {
        let all = REFERENCES.available_permits();
        let (mut first, mut second) = (SharedHold::of(usize::MAX), SharedHold::of(1));
        first.take().await;
        first.take().await;
        assert!(second.take().now_or_never().is_none(), "one has all there is");
        let files = [1, 2].map(|mib| Bytes::from(vec![1; mib * MIB])).to_vec();
        let mut files = first.around(files);
        assert_eq!(
            REFERENCES.available_permits(),
            all - 3 * MIB / UNIT,
            "no more than there is"
        );
        files.pop();
        assert!(REFERENCES.available_permits() < all);
        drop(files);
        assert_eq!(REFERENCES.available_permits(), all);
        second.take().await;
    }

    #[tokio::test]
    async fn what_there_is_no_memory_for_waits() {
        let first = Hold::of(MOST_BYTES + 1).await;
        assert!(Hold::of(MOST_BYTES + 1).now_or_never().is_none());
        let mut others = Vec::new();
        while let Some(other) = Hold::of(MOST_BYTES).now_or_never() {
            others.push(other);
        }
        assert_eq!(others.len(), IN_HAND_BYTES / MOST_BYTES);
        assert!(is_short());
        drop(first);
        assert!(Hold::of(usize::MAX).now_or_never().is_some());
        let turn = work(u64::MAX).await;
        assert!(work(1).now_or_never().is_none());
        drop(turn);
        assert!(work(1).now_or_never().is_some());
    }
}
