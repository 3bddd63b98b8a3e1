//! Replicas of this queue that look for its jobs in another database: a wrong deploy.

use redis::AsyncCommands;
use uuid::Uuid;

use super::{Ping, Queue};
use crate::redis::RedisFailure;

impl Queue {
    /// A replica that pings and works with another database than this one, as an operator knows it.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn replica_elsewhere(&self, database: Uuid) -> Result<Option<String>, RedisFailure> {
        let keys = self.redis().keys();
        let mut connection = self.redis().connection().await?;
        let workers: Vec<String> = connection.smembers(keys.workers()).await?;
        for worker_id in workers {
            let ping: Option<String> = connection.get(keys.replica_ping(&worker_id)).await?;
            let ping: Option<Ping> = ping.and_then(|ping| serde_json::from_str(&ping).ok());
            if let Some(ping) = ping
                && ping.database.is_some_and(|theirs| theirs != database)
            {
                return Ok(Some(format!("the replica {worker_id} on {}", ping.host)));
            }
        }
        Ok(None)
    }
}
