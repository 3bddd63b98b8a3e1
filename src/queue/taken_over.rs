//! What is known of a package that came from a BullMQ queue: kept beside the queue for a week, as BullMQ itself may forget a job as soon as it
//! is taken over.

use chrono::{DateTime, Utc};
use redis::AsyncCommands;
use serde::{Deserialize, Serialize};

use super::depths::job_id_of;
use super::{Priority, Redis};
use crate::redis::RedisFailure;

/// As long as people ask what became of a job.
const KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// A job of BullMQ, as it was when it was taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenOver {
    /// The BullMQ queue.
    pub queue: String,
    /// The id of the job there.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When its producer added it.
    pub added_at: DateTime<Utc>,
    /// When it became a package.
    pub taken_at: DateTime<Utc>,
    /// BullMQ's own number: 0 says nothing, 1 goes first.
    pub priority: u32,
    /// How often others had tried it before.
    pub attempts_made: u32,
}

impl Redis {
    /// Pushes a package to the list of a priority, and notes where it came from, unless it names no job. A note that is refused holds no
    /// package up: who hears of an error pushes the package again.
    ///
    /// # Errors
    /// [`RedisFailure`] of the push.
    pub async fn push_taken_over(
        &self,
        priority: Priority,
        package: &[u8],
        origin: &TakenOver,
    ) -> Result<(), RedisFailure> {
        let mut connection = self.connection().await?;
        let _: u64 = connection.lpush(self.keys().waiting(priority), package).await?;
        if let Some(job_id) = job_id_of(package) {
            let note = serde_json::to_string(origin).unwrap_or_default();
            let key = self.keys().taken_over(job_id);
            let noting: redis::RedisResult<()> = connection.pset_ex(key, note, KEPT_MS).await;
            if let Err(error) = noting {
                tracing::debug!(job_id, %error, "where a package came from could not be noted");
            }
        }
        Ok(())
    }

    /// Where the latest package of a job came from, where that was a BullMQ queue.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn origin_of(&self, job_id: i32) -> Result<Option<TakenOver>, RedisFailure> {
        let mut connection = self.connection().await?;
        let note: Option<String> = connection.get(self.keys().taken_over(job_id)).await?;
        Ok(note.and_then(|note| serde_json::from_str(&note).ok()))
    }
}
