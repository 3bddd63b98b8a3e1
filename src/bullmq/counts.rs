//! What stands where in a BullMQ queue, counted in one round trip.
//!
//! Source: bullmq 5.80 and 6.7, `queue-keys.ts`: `wait`, `paused` (up to version 5) and `active` are lists, `prioritized` and
//! `delayed` sorted sets, `meta` a hash with `paused` and `version`.

use std::fmt;

use serde::Serialize;

use super::BullmqQueue;
use crate::redis::RedisFailure;

/// How many jobs stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Whether there is such a queue.
    pub is_there: bool,
    /// What made it: `bullmq:5.80.10`.
    pub version: Option<String>,
    /// To be taken, in its order or by priority.
    pub waiting: u64,
    /// Waiting for a time.
    pub delayed: u64,
    /// Taken by somebody.
    pub active: u64,
    /// Whether nobody takes any, as BullMQ has been told.
    pub is_paused: bool,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paused = if self.is_paused { ", paused" } else { "" };
        let (waiting, delayed, active) = (self.waiting, self.delayed, self.active);
        write!(f, "{waiting} waiting, {delayed} delayed, {active} active{paused}")
    }
}

pub(super) async fn count(queue: &BullmqQueue) -> Result<Counts, RedisFailure> {
    let mut connection = queue.connector.connection().await?;
    let meta = queue.key("meta");
    let mut pipeline = redis::pipe();
    pipeline
        .exists(&meta)
        .hget(&meta, "version")
        .hexists(&meta, "paused")
        .llen(queue.key("wait"))
        .llen(queue.key("paused"))
        .zcard(queue.key("prioritized"))
        .zcard(queue.key("delayed"))
        .llen(queue.key("active"));
    type Answers = (bool, Option<String>, bool, u64, u64, u64, u64, u64);
    let (is_there, version, is_paused, wait, paused, prioritized, delayed, active): Answers =
        pipeline.query_async(&mut connection).await?;
    Ok(Counts {
        is_there,
        version,
        waiting: wait + paused + prioritized,
        delayed,
        active,
        is_paused,
    })
}
