//! Keeping house in Redis: whose turn it is, and a dead set that does not grow beyond its size.

use std::time::Duration;

use redis::AsyncCommands;

use super::{DeadLetter, Redis};
use crate::redis::RedisFailure;

/// Dead letters that are looked at in one step.
const CHUNK: isize = 20;

impl Redis {
    /// Takes the turn to keep house, which nobody else gets within `time`. `Err` of the time until somebody may have it
    /// again.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn take_housekeeping(
        &self,
        worker_id: &str,
        time: Duration,
    ) -> Result<Result<(), Duration>, RedisFailure> {
        self.take_turn(self.keys().housekeeping(), worker_id, time).await
    }

    /// Takes what one process at a time has, for so long. `Err` of the time until somebody may have it again.
    pub(super) async fn take_turn(
        &self,
        key: String,
        name: &str,
        time: Duration,
    ) -> Result<Result<(), Duration>, RedisFailure> {
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut connection = self.connection().await?;
        let (taken, left_ms): (Option<String>, i64) = redis::pipe()
            .cmd("SET")
            .arg(&key)
            .arg(name)
            .arg("NX")
            .arg("PX")
            .arg(time_ms)
            .pttl(&key)
            .query_async(&mut connection)
            .await?;
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or_default());
        Ok(if taken.is_some() { Ok(()) } else { Err(left) })
    }

    /// Lets whoever comes next have the turn after this time: it was not finished.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn leave_housekeeping(&self, time: Duration) -> Result<(), RedisFailure> {
        let time_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let mut connection = self.connection().await?;
        Ok(connection.pexpire(self.keys().housekeeping(), time_ms).await?)
    }

    /// Removes dead letters from before this time, in Unix ms. Returns how many; with `dry_run` how many there are.
    ///
    /// # Errors
    /// [`RedisFailure`]; the same call can be made again.
    pub async fn forget_dead_before(&self, time_ms: i64, dry_run: bool) -> Result<i64, RedisFailure> {
        let mut connection = self.connection().await?;
        let (key, before) = (self.keys().dead(), format!("({time_ms}"));
        Ok(if dry_run {
            connection.zcount(key, "-inf", before).await?
        } else {
            connection.zrembyscore(key, "-inf", before).await?
        })
    }

    /// Cuts the packages of dead letters that are longer than they are kept now: those of versions before this one, or
    /// from before a setting was changed. Returns how many were cut; with `dry_run` how many would be.
    ///
    /// # Errors
    /// [`RedisFailure`]; the same call can be made again.
    pub async fn cut_dead(&self, dry_run: bool) -> Result<i64, RedisFailure> {
        let (key, most) = (self.keys().dead(), self.dead_limits().letter_bytes);
        let mut connection = self.connection().await?;
        let (mut start, mut count) = (0, 0);
        loop {
            let members: Vec<(String, i64)> = connection
                .zrange_withscores(&key, start, start + CHUNK - 1)
                .await?;
            if members.is_empty() {
                return Ok(count);
            }
            for (member, score) in members.iter().filter(|(member, _)| member.len() > most) {
                let Ok(letter) = serde_json::from_str::<DeadLetter>(member) else {
                    continue;
                };
                count += 1;
                if !dry_run {
                    let mut step = redis::pipe();
                    step.atomic()
                        .zrem(&key, member)
                        .ignore()
                        .zadd(&key, letter.to_member(most), *score)
                        .ignore();
                    let _: () = step.query_async(&mut connection).await?;
                }
            }
            start += CHUNK;
        }
    }
}
