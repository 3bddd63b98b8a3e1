//! The mirror of dead packages that operators look at in Redis. The truth about them is in Postgres.

use redis::AsyncCommands;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{QueueError, Redis};
use crate::failure::ErrorClass;

/// A member of the dead set. The same burial always gives the same member, so that doing it again adds nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Row of `generative_ai.dead_packages`, which has the package whole and to the byte.
    pub id: Uuid,
    /// The package as text, cut to the largest that is accepted.
    pub payload: String,
    /// The sentence that the person got.
    pub reason: String,
    /// Its class.
    pub error_class: ErrorClass,
    /// The job, where the package let one be read.
    pub job_id: Option<i32>,
    /// Attempts that had failed.
    pub attempts: u32,
    /// Who gave up.
    pub worker_id: String,
    /// When, as Unix time in ms.
    pub dead_at: i64,
}

impl Redis {
    /// The latest dead letters, newest first. Members that are not of this kind are passed over.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn dead_letters(&self, most: isize) -> Result<Vec<DeadLetter>, QueueError> {
        let mut connection = self.connection().await?;
        let members: Vec<String> = connection.zrevrange(self.keys().dead(), 0, most - 1).await?;
        Ok(members
            .iter()
            .filter_map(|member| serde_json::from_str(member).ok())
            .collect())
    }
}
