//! All that Redis knows of a queue, for people who want to know how it goes.

use std::collections::HashMap;

use redis::Value;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::depths::next;
use super::{BudgetPark, Depths, Gone, PauseNote, ProviderState, Redis, StrayList, gone};
use crate::redis::RedisFailure;

/// A queue at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// Since the last ping of the service; `None` = no replica is able to work.
    pub ping_age_ms: Option<i64>,
    /// How many packages stand where.
    #[serde(flatten)]
    pub depths: Depths,
    /// Until the next delayed package is due; negative = it is overdue.
    pub next_due_in_ms: Option<i64>,
    /// The package that has been worked on for the longest time.
    pub oldest_in_flight: Option<InFlight>,
    /// Providers whose calls are limited or parked for, or that are not well, types of packages of which only so many may be begun, and
    /// suspects.
    pub providers: Vec<ProviderRoom>,
    /// Packages that wait for a budget.
    pub budgets: Vec<BudgetPark>,
    /// Who has paused the queue; `None`: nobody.
    pub paused: Option<PauseNote>,
    /// Replicas that have started and not left cleanly.
    pub replicas: Vec<Replica>,
    /// Lists that look like some of the queue's, and that nobody reads.
    pub stray_lists: Vec<StrayList>,
    /// Replicas that died within the last week, the latest first.
    pub gone: Vec<Gone>,
}

/// A package that is worked on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// By whom.
    pub worker_id: String,
    /// Since when.
    pub for_ms: i64,
}

/// How it stands with a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRoom {
    /// Its name, or `type/<work type>`, or `suspects`.
    pub provider: String,
    /// Open calls, where they are limited.
    pub open_calls: u64,
    /// Packages that wait until it may be called.
    pub parked: u64,
    /// Why and for how long it is not called, or not by everybody; `None` = it is well.
    pub state: Option<ProviderState>,
}

/// A replica, as Redis knows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// Its id.
    pub worker_id: String,
    /// Whether it holds its lease.
    pub has_lease: bool,
    /// What it says of itself; `None` = it is not able to work, or gone.
    pub ping: Option<Ping>,
    /// Since then.
    pub ping_age_ms: Option<i64>,
    /// Packages that have landed and are not adopted.
    pub landing: u64,
    /// Packages in its hash.
    pub processing: u64,
}

/// What a replica says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is named in docs/reference/keys.md")]
pub struct Ping {
    pub version: String,
    pub host: String,
    pub pid: u32,
    pub started_at: String,
    pub at: String,
    pub state: String,
    pub in_flight: u64,
    pub concurrency: u64,
    pub completed: u64,
    pub failed: u64,
    pub retried: u64,
    /// `None`: a version that does not tell it.
    pub database: Option<Uuid>,
}

impl Redis {
    /// Looks at everything, for all that packages may be parked for.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn overview(&self, parked_for: &[String]) -> Result<Overview, RedisFailure> {
        let depths = self.depths().await?;
        let keys = self.keys();
        let mut connection = self.connection().await?;
        let mut pipeline = redis::pipe();
        pipeline
            .cmd("TIME")
            .get(keys.ping())
            .zrange_withscores(keys.delayed(), 0, 0)
            .zrange_withscores(keys.in_flight(), 0, 0)
            .smembers(keys.workers())
            .get(keys.paused())
            .hgetall(keys.gone());
        let answers: Vec<Value> = pipeline.query_async(&mut connection).await?;
        let mut answers = answers.into_iter();
        let (seconds, micros): (i64, i64) = next(&mut answers)?;
        let now_ms = seconds * 1_000 + micros / 1_000;
        let ping: Option<String> = next(&mut answers)?;
        let due: Vec<(Vec<u8>, f64)> = next(&mut answers)?;
        let oldest: Vec<(String, f64)> = next(&mut answers)?;
        let mut workers: Vec<String> = next(&mut answers)?;
        workers.sort();
        let paused: Option<String> = next(&mut answers)?;
        let traces: HashMap<String, String> = next(&mut answers)?;

        let mut pipeline = redis::pipe();
        for provider in parked_for {
            // Those that nobody has confirmed count no more.
            pipeline
                .zcount(keys.open_calls(provider), now_ms, "+inf")
                .llen(keys.parked(provider))
                .hgetall(keys.provider(provider));
        }
        for worker_id in &workers {
            pipeline
                .exists(keys.lease(worker_id))
                .get(keys.replica_ping(worker_id))
                .llen(keys.landing(worker_id))
                .hlen(keys.processing(worker_id));
        }
        let answers: Vec<Value> = pipeline.query_async(&mut connection).await?;
        let mut answers = answers.into_iter();
        let mut rooms = Vec::new();
        for provider in parked_for {
            let (open_calls, parked) = (next(&mut answers)?, next(&mut answers)?);
            let fields: HashMap<String, String> = next(&mut answers)?;
            let room = ProviderRoom {
                provider: provider.clone(),
                open_calls,
                parked,
                state: ProviderState::from_fields(&fields, now_ms.unsigned_abs()),
            };
            if room.open_calls > 0 || room.parked > 0 || room.state.is_some() {
                rooms.push(room);
            }
        }
        let mut replicas = Vec::new();
        for worker_id in workers {
            let has_lease = next(&mut answers)?;
            let ping: Option<String> = next(&mut answers)?;
            let ping: Option<Ping> = ping.and_then(|ping| serde_json::from_str(&ping).ok());
            let said_at = ping
                .as_ref()
                .and_then(|ping| chrono::DateTime::parse_from_rfc3339(&ping.at).ok());
            replicas.push(Replica {
                worker_id,
                has_lease,
                ping_age_ms: said_at.map(|at| now_ms - at.timestamp_millis()),
                ping,
                landing: next(&mut answers)?,
                processing: next(&mut answers)?,
            });
        }
        Ok(Overview {
            ping_age_ms: ping
                .and_then(|ping| ping.parse::<i64>().ok())
                .map(|at| now_ms - at),
            depths,
            next_due_in_ms: due.first().map(|(_, score)| *score as i64 - now_ms),
            oldest_in_flight: oldest.first().map(|(member, score)| InFlight {
                worker_id: member.split('/').next().unwrap_or_default().to_owned(),
                for_ms: now_ms - *score as i64,
            }),
            providers: rooms,
            budgets: self.budget_parks().await?,
            paused: paused.map(|note| PauseNote::read(&note)),
            replicas,
            stray_lists: self.stray_lists().await?,
            gone: gone::read(traces, now_ms),
        })
    }

    /// Whether a worker holds its lease.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn has_lease(&self, worker_id: &str) -> Result<bool, RedisFailure> {
        let mut connection = self.connection().await?;
        Ok(redis::AsyncCommands::exists(&mut connection, self.keys().lease(worker_id)).await?)
    }
}
