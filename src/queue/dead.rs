//! The mirror of dead packages that operators look at in Redis. The truth about them is in Postgres.

use std::collections::{BTreeSet, HashSet};

use redis::AsyncCommands;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{QueueSettings, Redis};
use crate::failure::ErrorClass;
use crate::redis::RedisFailure;

/// A member of the dead set. The same burial always gives the same member, so that doing it again adds nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Row of `generative_ai.dead_packages`, which has the package whole and to the byte.
    pub id: Uuid,
    /// The package as text. Of a long one the beginning: all of the set together is to keep to its size.
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

/// How large the set may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeadLimits {
    /// Letters.
    pub(super) count: usize,
    /// Bytes of one: that of all of them, shared out evenly, so that nobody has to add them up.
    pub(super) letter_bytes: usize,
}

/// Shorter letters would not say what has happened: there are fewer of them instead.
const LEAST_LETTER: usize = 2048;

impl DeadLimits {
    pub(super) fn new(settings: &QueueSettings) -> Self {
        let bytes = settings.dead_letter_max_bytes;
        let count = settings.dead_letter_max.min(bytes / LEAST_LETTER).max(1);
        Self {
            count,
            letter_bytes: (bytes / count).max(LEAST_LETTER),
        }
    }
}

impl DeadLetter {
    /// As it stands in the set: `most` bytes of JSON at the most, for which the package is cut, and the reason after
    /// it.
    pub(super) fn to_member(&self, most: usize) -> String {
        let mut letter = self.clone();
        let member = letter.cut(most, |letter| &mut letter.payload);
        if member.len() <= most {
            return member;
        }
        letter.cut(most, |letter| &mut letter.reason)
    }

    fn cut(&mut self, most: usize, text: fn(&mut Self) -> &mut String) -> String {
        loop {
            let member = serde_json::to_string(self).expect("a dead letter has text keys only");
            let text = text(self);
            if member.len() <= most || text.is_empty() {
                return member;
            }
            // What a character takes in JSON depends on which it is: six bytes at the most.
            let excess = (member.len() - most).div_ceil(6);
            text.truncate(text.floor_char_boundary(text.len().saturating_sub(excess)));
        }
    }
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
    /// [`RedisFailure`].
    pub async fn dead_letters(&self, most: isize) -> Result<Vec<DeadLetter>, RedisFailure> {
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
    /// [`RedisFailure`] when it does not.
    pub async fn reach(&self) -> Result<(), RedisFailure> {
        let mut connection = self.connection().await?;
        Ok(redis::cmd("PING").query_async(&mut connection).await?)
    }

    /// Pushes packages to the byte, the first of which is to be taken first.
    ///
    /// # Errors
    /// [`RedisFailure`]; some may have been pushed, and pushing all again does no harm.
    pub async fn push_bytes(&self, packages: &[&[u8]]) -> Result<(), RedisFailure> {
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
    /// [`RedisFailure`]; the same call can be made again.
    pub async fn forget_dead(&self, dead: &[(Uuid, i64)]) -> Result<(), RedisFailure> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letter(payload: String, reason: String) -> DeadLetter {
        DeadLetter {
            id: Uuid::from_u128(7),
            payload,
            reason,
            error_class: ErrorClass::Internal,
            job_id: Some(i32::MAX),
            attempts: 5,
            worker_id: "w".repeat(140),
            dead_at: 1_800_000_000_000,
        }
    }

    proptest! {
        #[test]
        fn a_letter_keeps_to_its_size_and_begins_as_its_package_does(
            payload in ".{0,4000}", reason in ".{0,4000}", most in LEAST_LETTER..10_000
        ) {
            let whole = letter(payload, reason);
            let member = whole.to_member(most);
            let read: DeadLetter = serde_json::from_str(&member).unwrap();
            prop_assert!(member.len() <= most);
            prop_assert!(whole.payload.starts_with(&read.payload) && whole.reason.starts_with(&read.reason));
            prop_assert!(read.payload.is_empty() || read.reason == whole.reason);
            prop_assert!(read == whole || member.len() + 12 > most || read.payload.is_empty());
        }
    }
}
