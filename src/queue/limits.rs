//! Whether a delivery may call a provider, or be among the packages of its type: limits over all replicas and for each, and how it
//! stands with the provider.

use std::time::Duration;

use redis::AsyncCommands;

use super::provider::{Fields, Standing, ms};
use super::{Delivery, Queue, scripts};
use crate::redis::RedisFailure;

/// What a provider may be asked for at the most. 0 = any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Calls that are open at once, over all replicas.
    pub open: u32,
    /// Calls that one replica has open at once.
    pub per_replica: u32,
    /// Calls within a minute.
    pub per_minute: u32,
}

/// Whether a delivery may call a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It may; to be ended by [`Queue::leave_provider`].
    Granted,
    /// It is parked in Redis and not this worker's any more. After this time parked packages may be woken, or by a call that ends.
    Parked(Duration),
    /// Not for this time.
    NotFor(Duration),
    /// It was not this worker's any more.
    Lost,
}

/// What has come of [`Queue::leave_provider`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Packages that were woken.
    pub woken: u64,
    /// When more may be; `None` = none is parked.
    pub next_wake: Option<Duration>,
    /// How it stands with the provider.
    pub standing: Standing,
}

impl Queue {
    /// Asks to call a provider for a delivery, before it is begun. With `may_park` the delivery waits in Redis where the provider
    /// is shut, or as many calls are open or were made as are allowed, here (`has_own_room`) or over all replicas. `call_no`
    /// keeps the calls of one delivery apart.
    ///
    /// # Errors
    /// [`RedisFailure`]; the call may count as open, for twice the lease's time.
    pub async fn enter_provider(
        &self,
        provider: &str,
        limit: Limit,
        delivery: &Delivery,
        call_no: u32,
        may_park: bool,
        has_own_room: bool,
    ) -> Result<(Entry, Standing), RedisFailure> {
        let keys = self.redis.keys();
        let mut call = self.scripts.enter.prepare_invoke();
        call.key(keys.processing(&self.worker_id))
            .key(keys.in_flight())
            .key(&keys.of_provider(provider))
            .key(&keys.heads());
        call.arg(&delivery.id)
            .arg(&*self.worker_id)
            .arg(limit.open)
            .arg(limit.per_minute)
            .arg(self.hold_ms())
            .arg(u8::from(may_park))
            .arg(call_no)
            .arg(u8::from(has_own_room))
            .arg(provider)
            .arg(keys.control());
        let mut connection = self.redis.connection().await?;
        let (what, wait_ms, now_ms, fields): (u8, i64, u64, Fields) =
            scripts::invoke(&call, &mut connection).await?;
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or_default());
        let entry = match what {
            0 => Entry::Parked(wait),
            1 => Entry::Granted,
            2 => Entry::NotFor(wait),
            _ => Entry::Lost,
        };
        Ok((entry, Standing::new(&fields, now_ms)))
    }

    /// Takes a call back that was let through and is not made: it does not count as one of this minute.
    ///
    /// # Errors
    /// [`RedisFailure`]; it counts until its minute is over.
    pub async fn uncount_call(
        &self,
        provider: &str,
        delivery: &Delivery,
        call_no: u32,
    ) -> Result<(), RedisFailure> {
        let mut connection = self.redis.connection().await?;
        let call = format!("{}/{}:{call_no}", self.worker_id, delivery.id);
        let recent = self.redis.keys().recent_calls(provider);
        Ok(connection.zrem(recent, call).await?)
    }

    /// Ends the calls of some deliveries to a provider, confirms those of others, and wakes parked packages where there is room,
    /// for all replicas and, `own_room`, for this one.
    ///
    /// # Errors
    /// [`RedisFailure`]; calls that are not confirmed count as ended after twice the lease's time.
    pub async fn leave_provider(
        &self,
        provider: &str,
        limit: Limit,
        own_room: u32,
        ended: &[String],
        open: &[String],
    ) -> Result<Left, RedisFailure> {
        let keys = self.redis.keys();
        let mut call = self.scripts.leave.prepare_invoke();
        call.key(&keys.of_provider(provider)).key(&keys.heads());
        call.arg(limit.open)
            .arg(limit.per_minute)
            .arg(&*self.worker_id)
            .arg(self.hold_ms())
            .arg(own_room)
            .arg(provider)
            .arg(keys.control())
            .arg(ended.len())
            .arg(ended)
            .arg(open);
        let mut connection = self.redis.connection().await?;
        let (woken, wait_ms, now_ms, fields): (u64, i64, u64, Fields) =
            scripts::invoke(&call, &mut connection).await?;
        Ok(Left {
            woken,
            next_wake: u64::try_from(wait_ms).ok().map(Duration::from_millis),
            standing: Standing::new(&fields, now_ms),
        })
    }

    /// How long a call counts as open unless it is confirmed.
    pub(super) fn hold_ms(&self) -> u64 {
        ms(2 * self.lease_ttl)
    }
}
