//! How a Redis server is set up and how it answers: what an operator would look at first.

use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;

use super::Redis;
use super::check::field;
use crate::redis::RedisFailure;

/// How a server is set up. `None` where it does not say, as managed servers often forbid `CONFIG`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisFacts {
    /// `host:port`
    pub address: String,
    /// `Redis 7.0.15`, `Valkey 8.0.1`
    pub version: String,
    /// `maxmemory-policy`
    pub policy: Option<String>,
    /// Bytes in use.
    pub used_memory: u64,
    /// `maxmemory` in bytes; 0 = no limit.
    pub max_memory: u64,
    /// Whether changes are appended to a file.
    pub has_aof: bool,
    /// `appendfsync`
    pub append_fsync: Option<String>,
    /// `save`: when snapshots are taken; empty = never.
    pub save: Option<String>,
    /// Whether the last write to the append-only file went well.
    pub aof_is_well: bool,
    /// Whether the last snapshot went well.
    pub snapshot_is_well: bool,
    /// Entries of its slow log.
    pub slow_log: Option<u64>,
    /// The median of some round trips.
    pub round_trip: Duration,
    /// How far its clock is ahead of this machine's, in ms.
    pub ahead_ms: i64,
}

const ROUND_TRIPS: usize = 20;

impl Redis {
    /// Looks at the server's settings and times its answers.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn facts(&self) -> Result<RedisFacts, RedisFailure> {
        let mut connection = self.connection().await?;
        let address = connection.server().name.clone();
        let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
        let field = |name| field(&info, name);
        let number = |name| field(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let version = match field("valkey_version") {
            Some(version) => format!("Valkey {version}"),
            None => format!(
                "Redis {}",
                field("redis_version").unwrap_or("of an unknown version")
            ),
        };
        let mut facts = RedisFacts {
            address,
            version,
            policy: field("maxmemory_policy").map(str::to_owned),
            used_memory: number("used_memory"),
            max_memory: number("maxmemory"),
            has_aof: field("aof_enabled") == Some("1"),
            aof_is_well: field("aof_last_write_status") != Some("err"),
            snapshot_is_well: field("rdb_last_bgsave_status") != Some("err"),
            ..RedisFacts::default()
        };
        let mut config = async |name: &str| {
            let pair: Result<Vec<String>, _> = redis::cmd("CONFIG")
                .arg("GET")
                .arg(name)
                .query_async(&mut connection)
                .await;
            pair.ok().and_then(|pair| pair.into_iter().nth(1))
        };
        facts.append_fsync = config("appendfsync").await;
        facts.save = config("save").await;
        let slow_log = redis::cmd("SLOWLOG")
            .arg("LEN")
            .query_async(&mut connection)
            .await;
        facts.slow_log = slow_log.ok();

        let mut round_trips = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let (before, begun) = (Utc::now(), Instant::now());
            let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut connection).await?;
            let took = begun.elapsed();
            let middle = (before + took / 2).timestamp_millis();
            round_trips.push((took, seconds * 1_000 + micros / 1_000 - middle));
        }
        round_trips.sort();
        facts.round_trip = round_trips[ROUND_TRIPS / 2].0;
        // The quickest answer leaves the least doubt about when it was given.
        facts.ahead_ms = round_trips[0].1;
        Ok(facts)
    }
}
