//! For how long the row of a job has been missing: producers may push before they commit.

use std::time::Duration;

use super::Queue;
use crate::redis::RedisFailure;

/// Kept for so much longer than it is looked for, so that the last look still finds it.
const KEPT_LONGER: Duration = Duration::from_secs(60);

impl Queue {
    /// How long ago the row of a job was first found missing, by any replica and by the server's clock. `longest` is how long
    /// it is looked for at the most.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn row_missing_for(&self, job_id: i32, longest: Duration) -> Result<Duration, RedisFailure> {
        let kept = longest + KEPT_LONGER;
        let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let key = self.redis.keys().missing_row(job_id);
        let mut connection = self.redis.connection().await?;
        // What is left of the key's time tells when it was made, so that no clock but the server's is asked.
        let (_, left_ms): (Option<String>, i64) = redis::pipe()
            .cmd("SET")
            .arg(&key)
            .arg(1)
            .arg("NX")
            .arg("PX")
            .arg(kept_ms)
            .pttl(&key)
            .query_async(&mut connection)
            .await?;
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or_default());
        Ok(kept.saturating_sub(left))
    }

    /// Forgets that the row of a job was missing: its package has been refused, and the next one is looked for anew.
    ///
    /// # Errors
    /// [`RedisFailure`]; it is forgotten by itself later.
    pub async fn forget_missing_row(&self, job_id: i32) -> Result<(), RedisFailure> {
        let mut connection = self.redis.connection().await?;
        let key = self.redis.keys().missing_row(job_id);
        Ok(redis::AsyncCommands::del(&mut connection, key).await?)
    }
}
