//! Which packages may be what replicas die of.
//!
//! What was with a replica when it crashed is a suspect (`recover.lua`). A worker runs one suspect at a time and notes
//! which, so that a further crash can be counted as the crash of that one. What merely ran beside it counts nothing.

use super::{Delivery, Queue, scripts};
use crate::redis::RedisFailure;

/// The name under which suspects are parked that find no room, as packages are under a provider's.
pub const SUSPECTS: &str = "suspects";
/// How long suspects are remembered after the last crash: a day.
pub(super) const SUSPECT_SECONDS: u32 = 24 * 60 * 60;

impl Queue {
    /// Notes that this worker runs a suspect, before it looks into the package: from here on a crash counts as its
    /// crash. In place of what was noted before.
    ///
    /// # Errors
    /// [`RedisFailure`]; worth doing again.
    pub async fn note_suspect(&self, delivery: &Delivery) -> Result<(), RedisFailure> {
        self.suspect(delivery, SUSPECT_SECONDS, None).await
    }

    /// Ends what [`Self::note_suspect`] has begun. Where the package `has_survived` a whole attempt, it is no suspect
    /// any more; one that only waits for something has not been tried, and keeps its crashes.
    ///
    /// # Errors
    /// [`RedisFailure`]; worth doing again.
    pub async fn end_suspect(&self, delivery: &Delivery, has_survived: bool) -> Result<(), RedisFailure> {
        let survivor = has_survived.then_some(&*delivery.payload);
        self.suspect(delivery, 0, survivor).await
    }

    async fn suspect(
        &self,
        delivery: &Delivery,
        seconds: u32,
        survivor: Option<&[u8]>,
    ) -> Result<(), RedisFailure> {
        let keys = self.redis.keys();
        let mut call = self.scripts.suspect.prepare_invoke();
        call.key(keys.suspect(&self.worker_id)).key(keys.suspects());
        call.arg(&delivery.id).arg(seconds).arg(survivor);
        let mut connection = self.redis.connection().await?;
        Ok(scripts::invoke(&call, &mut connection).await?)
    }
}

/// Deliveries with what scripts say of their crashes: nothing where there are no suspects at all, -1 for one that is
/// none.
pub(super) fn deliveries(pairs: Vec<(String, Vec<u8>)>, crashes: &[i64]) -> Vec<Delivery> {
    pairs
        .into_iter()
        .enumerate()
        .map(|(i, (id, payload))| Delivery {
            id,
            payload,
            crashes: crashes.get(i).and_then(|crashes| u32::try_from(*crashes).ok()),
        })
        .collect()
}
