//! Putting packages back that Redis has lost.

use redis::AsyncCommands;

use super::{QueueError, Redis};

impl Redis {
    /// Ids of the workers that hold a lease.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn live_workers(&self) -> Result<Vec<String>, QueueError> {
        let mut connection = self.connection().await?;
        let workers: Vec<String> = connection.smembers(self.keys().workers()).await?;
        let mut live = Vec::new();
        for worker_id in workers {
            if connection.exists(self.keys().lease(&worker_id)).await? {
                live.push(worker_id);
            }
        }
        Ok(live)
    }

    /// Pushes packages, the first of which is to be taken first.
    ///
    /// # Errors
    /// [`QueueError`]; some may have been pushed, and pushing all again does no harm.
    pub async fn push_all(&self, packages: &[String]) -> Result<(), QueueError> {
        if packages.is_empty() {
            return Ok(());
        }
        let mut connection = self.connection().await?;
        let _: i64 = connection.lpush(self.keys().inbox(), packages).await?;
        Ok(())
    }
}
