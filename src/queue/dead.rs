//! The mirror of dead packages that operators look at in Redis. The truth about them is in Postgres.

use std::collections::{BTreeSet, HashSet};

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

/// What a mirror is found by.
#[derive(Deserialize)]
struct Named {
    id: Uuid,
}

/// Mirrors that are looked for at once.
const MIRRORS: usize = 50;

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

    /// Whether Redis answers.
    ///
    /// # Errors
    /// [`QueueError`] when it does not.
    pub async fn reach(&self) -> Result<(), QueueError> {
        let mut connection = self.connection().await?;
        Ok(redis::cmd("PING").query_async(&mut connection).await?)
    }

    /// Pushes packages to the byte, the first of which is to be taken first.
    ///
    /// # Errors
    /// [`QueueError`]; some may have been pushed, and pushing all again does no harm.
    pub async fn push_bytes(&self, packages: &[&[u8]]) -> Result<(), QueueError> {
        if packages.is_empty() {
            return Ok(());
        }
        let mut connection = self.connection().await?;
        let _: i64 = connection.lpush(self.keys().inbox(), packages).await?;
        Ok(())
    }

    /// Removes the mirrors of dead packages, given by id and time of death in Unix ms. Those that are not there any
    /// more, as the set has a cap, are passed over.
    ///
    /// # Errors
    /// [`QueueError`]; the same call can be made again.
    pub async fn forget_dead(&self, dead: &[(Uuid, i64)]) -> Result<(), QueueError> {
        let ids: HashSet<Uuid> = dead.iter().map(|(id, _)| *id).collect();
        let scores: BTreeSet<i64> = dead.iter().map(|(_, dead_at)| *dead_at).collect();
        let mut connection = self.connection().await?;
        let scores: Vec<i64> = scores.into_iter().collect();
        for chunk in scores.chunks(MIRRORS) {
            // Found by their time, so that the set is not read from end to end.
            let mut pipeline = redis::pipe();
            for score in chunk {
                pipeline.zrangebyscore(self.keys().dead(), *score, *score);
            }
            let found: Vec<Vec<Vec<u8>>> = pipeline.query_async(&mut connection).await?;
            let members: Vec<Vec<u8>> = found
                .into_iter()
                .flatten()
                .filter(|member| {
                    serde_json::from_slice::<Named>(member).is_ok_and(|named| ids.contains(&named.id))
                })
                .collect();
            if !members.is_empty() {
                let _: i64 = connection.zrem(self.keys().dead(), members).await?;
            }
        }
        Ok(())
    }
}
