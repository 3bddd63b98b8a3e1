//! Limits to the calls of a provider, or to packages of a type, over all replicas and for each.

use std::time::Duration;

use redis::AsyncCommands;

use super::{Delivery, Queue, QueueError, scripts};

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
    /// It is parked in Redis until a call ends, and not this worker's any more.
    Parked,
    /// Not for this time.
    NotFor(Duration),
    /// It was not this worker's any more.
    Lost,
}

impl Queue {
    /// Asks to call a provider for a delivery, before it is begun. With `may_park` the delivery waits in Redis where
    /// as many calls are open as are allowed, here (`has_own_room`) or over all replicas. `call_no` tells the calls of one
    /// delivery apart.
    ///
    /// # Errors
    /// [`QueueError`]; the call may count as open, for twice the lease's time.
    pub async fn enter_provider(
        &self,
        provider: &str,
        limit: Limit,
        delivery: &Delivery,
        call_no: u32,
        may_park: bool,
        has_own_room: bool,
    ) -> Result<Entry, QueueError> {
        let keys = self.redis.keys();
        let mut call = self.scripts.enter.prepare_invoke();
        call.key(keys.processing(&self.worker_id))
            .key(keys.in_flight())
            .key(keys.open_calls(provider))
            .key(keys.parked(provider))
            .key(keys.recent_calls(provider));
        call.arg(&delivery.id)
            .arg(&*self.worker_id)
            .arg(limit.open)
            .arg(limit.per_minute)
            .arg(self.hold_ms())
            .arg(u8::from(may_park))
            .arg(call_no)
            .arg(u8::from(has_own_room));
        let mut connection = self.redis.connection().await?;
        let (what, ms): (u8, u64) = scripts::invoke(&call, &mut connection).await?;
        Ok(match what {
            0 => Entry::Parked,
            1 => Entry::Granted,
            2 => Entry::NotFor(Duration::from_millis(ms)),
            _ => Entry::Lost,
        })
    }

    /// Takes a call back that was let through and is not made: it does not count as one of this minute.
    ///
    /// # Errors
    /// [`QueueError`]; it counts until its minute is over.
    pub async fn uncount_call(
        &self,
        provider: &str,
        delivery: &Delivery,
        call_no: u32,
    ) -> Result<(), QueueError> {
        let mut connection = self.redis.connection().await?;
        let call = format!("{}/{}:{call_no}", self.worker_id, delivery.id);
        let recent = self.redis.keys().recent_calls(provider);
        Ok(connection.zrem(recent, call).await?)
    }

    /// Ends the calls of some deliveries to a provider, confirms those of others, and lets parked packages wait for a
    /// worker again where there is room, for all replicas and, `own_room`, for this one.
    ///
    /// # Errors
    /// [`QueueError`]; calls that are not confirmed count as ended after twice the lease's time.
    pub async fn leave_provider(
        &self,
        provider: &str,
        limit: Limit,
        own_room: u32,
        ended: &[String],
        open: &[String],
    ) -> Result<u64, QueueError> {
        let keys = self.redis.keys();
        let mut call = self.scripts.leave.prepare_invoke();
        call.key(keys.open_calls(provider))
            .key(keys.parked(provider))
            .key(&keys.heads());
        call.arg(limit.open)
            .arg(&*self.worker_id)
            .arg(self.hold_ms())
            .arg(own_room)
            .arg(ended.len())
            .arg(ended)
            .arg(open);
        let mut connection = self.redis.connection().await?;
        Ok(scripts::invoke(&call, &mut connection).await?)
    }

    /// Whether packages are parked for any of these providers and types.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn has_parked(&self, names: &[String]) -> Result<bool, QueueError> {
        if names.is_empty() {
            return Ok(false);
        }
        let parked: Vec<String> = names.iter().map(|name| self.redis.keys().parked(name)).collect();
        let mut connection = self.redis.connection().await?;
        let count: u64 = redis::cmd("EXISTS")
            .arg(parked)
            .query_async(&mut connection)
            .await?;
        Ok(count > 0)
    }

    fn hold_ms(&self) -> u64 {
        u64::try_from((2 * self.lease_ttl).as_millis()).unwrap_or(u64::MAX)
    }
}
