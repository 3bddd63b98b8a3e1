//! What stands where in the queue, counted in one round trip.

use redis::{FromRedisValue, Script, Value};
use serde::Serialize;

use super::{Priority, Redis, scripts};
use crate::redis::RedisFailure;

/// How much waits on one list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// `critical`, `high`, `normal` or `low`.
    pub priority: &'static str,
    /// Packages.
    pub count: u64,
    /// The job of the package that is taken next, where it can be read.
    pub next_job_id: Option<i32>,
}

/// How many packages stand where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Depths {
    /// The waiting lists, the most urgent first.
    pub waiting: Vec<Waiting>,
    /// Being worked on, by whichever replica.
    pub in_flight: u64,
    /// Waiting for a time.
    pub delayed: u64,
    /// Kept with the reason why they failed; Postgres may have more.
    pub dead: u64,
    /// Too large to be read by a replica, and kept as they were pushed.
    pub set_aside: u64,
    /// Whether no replica takes new work.
    pub is_paused: bool,
}

/// What is still to be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// On the waiting lists, for the next free slot.
    pub waiting: u64,
    /// Waiting for a time, or parked under a provider or a budget.
    pub held_up: u64,
    /// Whether no replica takes new work.
    pub is_paused: bool,
}

/// A list that looks like one of the queue's, and is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StrayList {
    /// Its key.
    pub key: String,
    /// Packages that nobody reads.
    pub count: u64,
}

impl Redis {
    /// Lists under the queue's name that producers push to by mistake, where they are known names: `{Q}:urgent`, say.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn stray_lists(&self) -> Result<Vec<StrayList>, RedisFailure> {
        let keys = self.keys().near_misses();
        let mut connection = self.connection().await?;
        let count: u64 = redis::cmd("EXISTS")
            .arg(&keys)
            .query_async(&mut connection)
            .await?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut types = redis::pipe();
        keys.iter().for_each(|key| _ = types.cmd("TYPE").arg(key));
        let types: Vec<String> = types.query_async(&mut connection).await?;
        let mut strays = Vec::new();
        for (key, _) in keys.into_iter().zip(types).filter(|(_, kind)| kind == "list") {
            let count = redis::cmd("LLEN").arg(&key).query_async(&mut connection).await?;
            strays.push(StrayList { key, count });
        }
        Ok(strays)
    }

    /// Counts what is still to be begun.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn backlog(&self) -> Result<Backlog, RedisFailure> {
        let keys = self.keys();
        let mut pipeline = redis::pipe();
        pipeline.exists(keys.paused());
        for priority in Priority::ALL {
            pipeline.llen(keys.waiting(priority)).zcard(keys.sorted(priority));
        }
        pipeline.zcard(keys.delayed());
        self.rooms()
            .iter()
            .for_each(|room| _ = pipeline.llen(keys.parked(room)));
        let mut connection = self.connection().await?;
        let counts: Vec<u64> = pipeline.query_async(&mut connection).await?;
        let waiting = 1 + 2 * Priority::ALL.len();
        drop(connection);
        let for_budgets = self
            .budget_parks()
            .await?
            .iter()
            .map(|park| park.parked)
            .sum::<u64>();
        Ok(Backlog {
            is_paused: counts[0] > 0,
            waiting: counts[1..waiting].iter().sum(),
            held_up: counts[waiting..].iter().sum::<u64>() + for_budgets,
        })
    }

    /// Counts the packages that are parked for each of these.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn parked(&self, places: &[String]) -> Result<Vec<u64>, RedisFailure> {
        let mut pipeline = redis::pipe();
        for place in places {
            pipeline.llen(self.keys().parked(place));
        }
        let mut connection = self.connection().await?;
        Ok(pipeline.query_async(&mut connection).await?)
    }

    /// Counts what stands where.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn depths(&self) -> Result<Depths, RedisFailure> {
        let keys = self.keys();
        let script = Script::new(include_str!("scripts/depths.lua"));
        let mut call = script.key(&keys.heads());
        call.key(keys.in_flight())
            .key(keys.delayed())
            .key(keys.dead())
            .key(keys.set_aside())
            .key(keys.paused())
            .arg(self.max_package_bytes());
        let mut connection = self.connection().await?;
        let answers: Vec<Value> = scripts::invoke(&call, &mut connection).await?;
        let mut answers = answers.into_iter();
        let mut waiting = Vec::new();
        for priority in Priority::ALL {
            let (count, package): (u64, Option<Vec<u8>>) = next(&mut answers)?;
            waiting.push(Waiting {
                priority: priority.as_str(),
                count,
                next_job_id: package.as_deref().and_then(job_id_of),
            });
        }
        Ok(Depths {
            waiting,
            in_flight: next(&mut answers)?,
            delayed: next(&mut answers)?,
            dead: next(&mut answers)?,
            set_aside: next(&mut answers)?,
            is_paused: next(&mut answers)?,
        })
    }
}

pub(super) fn next<T: FromRedisValue>(answers: &mut impl Iterator<Item = Value>) -> Result<T, RedisFailure> {
    let answer = answers.next().unwrap_or(Value::Nil);
    redis::from_redis_value(answer).map_err(|error| RedisFailure::Failed(error.to_string()))
}

/// The job that a package is for, unless it is too odd to be read.
pub(super) fn job_id_of(package: &[u8]) -> Option<i32> {
    let package: serde_json::Value = serde_json::from_slice(package).ok()?;
    match package.get("jobId")? {
        serde_json::Value::String(text) => text.parse().ok(),
        number => number.as_i64()?.try_into().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_of_a_package_is_read_where_it_can_be() {
        for (package, job_id) in [
            (r#"{"jobId":42}"#, Some(42)),
            (r#"{"jobId":"42"}"#, Some(42)),
            (r#"{"jobId":99999999999}"#, None),
            (r#"{"job":42}"#, None),
            ("42", None),
            ("{", None),
        ] {
            assert_eq!(job_id_of(package.as_bytes()), job_id, "{package}");
        }
    }
}
