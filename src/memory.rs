//! Memory for pictures: a resource like slots, so that the process stays small however many jobs it works on at once.
//!
//! What has come from a service is held from before it is read until it is stored ([`Hold`]), and what is made of it
//! meanwhile takes a turn ([`work`]). Who holds waits for turns, and who has a turn waits for nothing more, so that
//! all get on.

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Answers and pictures together, those apart that are larger than [`MOST_BYTES`].
const IN_HAND_BYTES: usize = 16 * MIB;
/// More than this is one at a time, in the whole process, and not counted by its bytes.
pub const MOST_BYTES: usize = 8 * MIB;
/// What an answer is taken for that does not say how long it is. More than pictures of usual sizes have, as base64 too.
pub const UNKNOWN_BYTES: usize = 4 * MIB;
/// What is made of them: pixels, and values of JSON.
const AT_WORK_BYTES: usize = 168 * MIB;

const MIB: usize = 1024 * 1024;
/// What is counted.
const UNIT: usize = 1024;

static IN_HAND: Semaphore = Semaphore::const_new(IN_HAND_BYTES / UNIT);
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

struct Held {
    bytes: Bytes,
    _hold: Hold,
}

impl AsRef<[u8]> for Held {
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
