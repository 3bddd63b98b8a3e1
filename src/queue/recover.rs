//! Bringing packages back: those of replicas that died, and those whose time has come.

use redis::AsyncCommands;

use super::server::Connection;
use super::{Queue, QueueError};
use crate::fault;

/// Packages that one script call moves at the most, so that Redis is never held up for long.
const CHUNK: i64 = 200;

impl Queue {
    /// Puts the packages of every worker whose lease has ended back into their lists, as long as the server in use
    /// is the one with this number: on another one leases may be missing for another reason.
    /// Returns how many, by worker.
    ///
    /// # Errors
    /// [`QueueError`]; what was moved stays moved, and the next call goes on.
    pub async fn recover_dead_workers(&self, server_number: u64) -> Result<Vec<(String, u64)>, QueueError> {
        let mut connection = self.redis.connection().await?;
        if connection.server().number != server_number {
            return Ok(Vec::new());
        }
        let workers: Vec<String> = connection.smembers(self.redis.keys().workers()).await?;
        let mut recovered = Vec::new();
        for worker_id in workers {
            if worker_id == *self.worker_id {
                continue;
            }
            if let Some(moved) = self.recover(&mut connection, &worker_id).await? {
                recovered.push((worker_id, moved));
            }
        }
        Ok(recovered)
    }

    /// Puts one worker's packages back; `None` when it is alive.
    async fn recover(&self, connection: &mut Connection, worker_id: &str) -> Result<Option<u64>, QueueError> {
        let keys = self.redis.keys();
        let mut call = self.scripts.recover.prepare_invoke();
        call.key(keys.lease(worker_id))
            .key(keys.landing(worker_id))
            .key(keys.processing(worker_id));
        call.key(keys.in_flight())
            .key(keys.workers())
            .key(&keys.all_waiting());
        call.arg(worker_id).arg(CHUNK);
        let mut total = 0;
        loop {
            let moved: i64 = call.invoke_async(connection).await?;
            let Ok(count) = u64::try_from(moved) else {
                return Ok(None);
            };
            total += count;
            if count > 0 {
                fault::point("recovering");
            }
            if moved < CHUNK {
                return Ok(Some(total));
            }
        }
    }

    /// Leaves the queue: gives up the lease and puts back whatever is still in hand. Returns how much that was.
    ///
    /// # Errors
    /// [`QueueError`]; the other replicas do the rest when the lease has ended.
    pub async fn leave(&self) -> Result<u64, QueueError> {
        let mut connection = self.redis.connection().await?;
        let _: i64 = connection.del(self.redis.keys().lease(&self.worker_id)).await?;
        let given_back = self.recover(&mut connection, &self.worker_id).await?;
        Ok(given_back.unwrap_or_default())
    }

    /// Puts what has landed here and was not claimed back at the head of its list.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn put_back_landed(&self) -> Result<(), QueueError> {
        let keys = self.redis.keys();
        let mut connection = self.redis.connection().await?;
        while connection
            .lmove::<_, _, Option<Vec<u8>>>(
                keys.landing(&self.worker_id),
                keys.inbox(),
                redis::Direction::Left,
                redis::Direction::Right,
            )
            .await?
            .is_some()
        {}
        Ok(())
    }

    /// Puts delayed packages whose time has come at the head of their lists. Returns how many.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn promote_due(&self) -> Result<u64, QueueError> {
        let keys = self.redis.keys();
        let mut call = self.scripts.promote.prepare_invoke();
        call.key(keys.delayed()).key(&keys.all_waiting()).arg(CHUNK);
        let mut connection = self.redis.connection().await?;
        Ok(call.invoke_async(&mut connection).await?)
    }

    /// Whether a worker has no lease on the server with this number; `false` when another one is in use by now.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn is_dead(&self, worker_id: &str, server_number: u64) -> Result<bool, QueueError> {
        let mut connection = self.redis.connection().await?;
        let has_lease: bool = connection.exists(self.redis.keys().lease(worker_id)).await?;
        Ok(!has_lease && connection.server().number == server_number)
    }
}
