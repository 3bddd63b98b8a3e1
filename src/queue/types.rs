//! Which type each key of a queue is of, and which of them somebody uses for something else.

use redis::aio::ConnectionLike;

use super::{Keys, Priority, Queue, Redis, rights};
use crate::redis::RedisFailure;

/// The keys of a queue that can be known without asking, those of what packages are parked for and of these workers included, with
/// their types.
fn types(keys: &Keys, rooms: &[String], worker_ids: &[String]) -> Vec<(String, &'static str)> {
    let mut types: Vec<(String, &str)> = Vec::new();
    for priority in Priority::ALL {
        types.push((keys.waiting(priority), "list"));
        types.push((keys.sorted(priority), "zset"));
        types.push((keys.group_tags(priority), "hash"));
    }
    types.extend([
        (keys.delayed(), "zset"),
        (keys.dead(), "zset"),
        (keys.in_flight(), "zset"),
        (keys.put_back(), "zset"),
        (keys.budgets(), "zset"),
        (keys.workers(), "set"),
        (keys.set_aside(), "list"),
        (keys.suspects(), "hash"),
        (keys.ping(), "string"),
        (keys.paused(), "string"),
        (keys.housekeeping(), "string"),
        (keys.reconciler(), "string"),
    ]);
    for room in rooms {
        let kinds = ["hash", "zset", "list", "zset", "zset"];
        types.extend(keys.of_provider(room).into_iter().zip(kinds));
    }
    for worker_id in worker_ids {
        types.extend([
            (keys.landing(worker_id), "list"),
            (keys.processing(worker_id), "hash"),
            (keys.lease(worker_id), "string"),
            (keys.suspect(worker_id), "string"),
            (keys.replica_ping(worker_id), "string"),
        ]);
    }
    types
}

/// A sentence for each key that is of another type.
///
/// # Errors
/// [`RedisFailure`]
pub(super) async fn wrong_keys(
    redis: &Redis,
    worker_ids: &[String],
    connection: &mut (impl ConnectionLike + Send),
) -> Result<Vec<String>, RedisFailure> {
    let types = types(redis.keys(), redis.rooms(), worker_ids);
    let mut pipeline = redis::pipe();
    for (key, _) in &types {
        pipeline.cmd("TYPE").arg(key);
    }
    let found: Vec<String> = pipeline.query_async(connection).await?;
    let pairs = types.iter().zip(found);
    Ok(pairs
        .filter(|((_, wanted), found)| found != wanted && found != "none")
        .map(|((key, wanted), found)| {
            format!(
                "the key {key} is a {found}, not a {wanted}; rename or remove it, or choose another QUEUE_NAME"
            )
        })
        .collect())
}

impl Redis {
    /// Names the keys that a failure is about, where it is about the type of one, or the command that a script was
    /// refused.
    pub async fn explain(&self, failure: RedisFailure, worker_ids: &[String]) -> RedisFailure {
        if failure.is_of_a_script() {
            return rights::missing(self).await.ok().flatten().unwrap_or(failure);
        }
        if !matches!(failure, RedisFailure::WrongType(_)) {
            return failure;
        }
        let looking = async {
            let mut connection = self.connection().await?;
            wrong_keys(self, worker_ids, &mut connection).await
        };
        match looking.await {
            Ok(wrong) if !wrong.is_empty() => RedisFailure::WrongType(wrong.join("; ")),
            _ => failure,
        }
    }
}

impl Queue {
    /// Names the keys that a failure is about, those of this worker included.
    pub async fn explain(&self, failure: RedisFailure) -> RedisFailure {
        let worker_id = [self.worker_id.to_string()];
        self.redis.explain(failure, &worker_id).await
    }
}
