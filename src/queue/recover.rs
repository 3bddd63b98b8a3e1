//! Bringing back the packages of replicas that died, or that leave.

use std::time::Duration;

use redis::AsyncCommands;

use super::suspects::SUSPECT_SECONDS;
use super::{Queue, gone, scripts};
use crate::fault;
use crate::redis::{Connection, RedisFailure};

/// Packages that one script call moves at the most, so that Redis is never held up for long.
const CHUNK: i64 = 200;

impl Queue {
    /// Puts the packages of those of some workers whose lease has ended back into their lists, as long as the server in
    /// use is the one with this number: on another one leases may be missing for another reason.
    /// Returns how many, by worker.
    ///
    /// # Errors
    /// [`RedisFailure`]; what was moved stays moved, and the next call goes on.
    pub async fn recover_dead(
        &self,
        workers: &[String],
        server_number: u64,
    ) -> Result<Vec<(String, u64)>, RedisFailure> {
        let mut connection = self.redis.connection().await?;
        if connection.server().number != server_number {
            return Ok(Vec::new());
        }
        let mut recovered = Vec::new();
        for worker_id in workers {
            if let Some(moved) = self.recover(&mut connection, worker_id, true).await? {
                recovered.push((worker_id.clone(), moved));
            }
        }
        Ok(recovered)
    }

    /// For how long the leases of workers hold at least; zero for one without a lease.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn leases(&self, workers: &[String]) -> Result<Vec<Duration>, RedisFailure> {
        if workers.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for worker_id in workers {
            pipeline.pttl(self.redis.keys().lease(worker_id));
        }
        let mut connection = self.redis.connection().await?;
        let left: Vec<i64> = pipeline.query_async(&mut connection).await?;
        Ok(left
            .into_iter()
            .map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
            .collect())
    }

    /// Puts one worker's packages back; `None` when it is alive. Where it `has_crashed`, they are suspects from then on.
    async fn recover(
        &self,
        connection: &mut Connection,
        worker_id: &str,
        has_crashed: bool,
    ) -> Result<Option<u64>, RedisFailure> {
        let keys = self.redis.keys();
        let mut call = self.scripts.recover.prepare_invoke();
        call.key(keys.lease(worker_id))
            .key(keys.landing(worker_id))
            .key(keys.processing(worker_id));
        call.key(keys.in_flight())
            .key(keys.workers())
            .key(keys.suspects())
            .key(keys.suspect(worker_id))
            .key(keys.replica_ping(worker_id))
            .key(keys.gone())
            .key(&keys.heads());
        call.arg(worker_id)
            .arg(CHUNK)
            .arg(u8::from(has_crashed))
            .arg(SUSPECT_SECONDS)
            .arg(gone::KEPT_SECONDS)
            .arg(gone::MOST)
            .arg(u64::try_from(self.lease_ttl.as_millis()).unwrap_or(u64::MAX));
        let mut total = 0;
        loop {
            let (moved, are_left): (i64, bool) = scripts::invoke(&call, connection).await?;
            let Ok(count) = u64::try_from(moved) else {
                return Ok(None);
            };
            total += count;
            if count > 0 {
                fault::point("recovering");
            }
            if !are_left {
                return Ok(Some(total));
            }
        }
    }

    /// Leaves the queue: gives up the lease and puts back whatever is still in hand. Returns how much that was.
    ///
    /// # Errors
    /// [`RedisFailure`]; the other replicas do the rest when the lease has ended.
    pub async fn leave(&self) -> Result<u64, RedisFailure> {
        let mut connection = self.redis.connection().await?;
        let _: i64 = connection.del(self.redis.keys().lease(&self.worker_id)).await?;
        let given_back = self.recover(&mut connection, &self.worker_id, false).await?;
        Ok(given_back.unwrap_or_default())
    }

    /// Whether a worker has its lease on the server with this number; `None` when another one is in use by now.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn has_lease(&self, worker_id: &str, server_number: u64) -> Result<Option<bool>, RedisFailure> {
        let mut connection = self.redis.connection().await?;
        let has_lease = connection.exists(self.redis.keys().lease(worker_id)).await?;
        Ok((connection.server().number == server_number).then_some(has_lease))
    }
}
