//! Pauses that providers have asked one replica for and that hold for all.

use std::time::Duration;

use super::{Queue, QueueError};

impl Queue {
    /// Lets all replicas know that a provider wants a pause.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn pause_provider(&self, provider: &str, time: Duration) -> Result<(), QueueError> {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut call = self.scripts.pauses.key(self.redis.keys().provider_pauses());
        call.arg(provider).arg(ms);
        let mut connection = self.redis.connection().await?;
        let _: Vec<(String, u64)> = call.invoke_async(&mut connection).await?;
        Ok(())
    }

    /// The pauses that hold, and for how long.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn provider_pauses(&self) -> Result<Vec<(String, Duration)>, QueueError> {
        let mut connection = self.redis.connection().await?;
        let left: Vec<(String, u64)> = self
            .scripts
            .pauses
            .key(self.redis.keys().provider_pauses())
            .invoke_async(&mut connection)
            .await?;
        Ok(left
            .into_iter()
            .map(|(provider, ms)| (provider, Duration::from_millis(ms)))
            .collect())
    }
}
