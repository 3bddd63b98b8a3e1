//! What a replica asks of the queue from time to time: one script for all of it, so that idle replicas cost next to nothing.

use std::time::Duration;

use super::limits::Limit;
use super::provider::{Fields, ProviderState};
use super::{Queue, scripts};
use crate::redis::RedisFailure;

/// Packages that one call brings back at the most, so that Redis is never held up for long.
const CHUNK: u32 = 200;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How things stand in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Packages whose time had come and that wait on their lists again.
    pub brought_back: u64,
    /// When the next package is due, or packages that wait for a budget may be woken; `None` when none waits for either.
    pub next_due: Option<Duration>,
    /// The server's time, Unix ms.
    pub now_ms: u64,
    /// Providers that are not well, and providers and types that packages are parked for.
    pub providers: Vec<ProviderTick>,
    /// Workers that have started and not left cleanly, this one too.
    pub workers: Vec<String>,
    /// Budgets for which packages may be woken.
    pub budgets: Vec<String>,
}

/// What a replica has to know of a provider, or of a type of packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderTick {
    /// Its name.
    pub name: String,
    /// When parked packages may be woken; `None` when none is parked.
    pub next_wake: Option<Duration>,
    /// How it stands with the provider; `None` = it is well.
    pub state: Option<ProviderState>,
}

/// What an idle replica looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Whether a package waits for a time or a budget.
    pub has_delayed: bool,
    /// Whether something waits where nothing should while a replica is idle: on a list, in a sorted set, landed or in hand here,
    /// or parked for one of the names that were asked about.
    pub has_waiting: bool,
    /// Workers that have started and not left cleanly, this one too.
    pub workers: Vec<String>,
}

impl Queue {
    /// Looks whether there is anything to do: two plain commands, which cost less than a script, and one more where there
    /// may be.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn glance(&self, names: &[String]) -> Result<Glance, RedisFailure> {
        let keys = self.redis.keys();
        let parked = names.iter().map(|name| keys.parked(name));
        let places: Vec<String> = keys
            .heads()
            .into_iter()
            .chain([keys.landing(&self.worker_id), keys.processing(&self.worker_id)])
            .chain(parked)
            .collect();
        let mut all = redis::pipe();
        let timed = [keys.delayed(), keys.budgets()];
        all.cmd("EXISTS").arg(&timed).arg(&places);
        all.smembers(keys.workers());
        let (found, workers): (u64, Vec<String>) = self.look(&all).await?;
        let mut delayed = 0;
        if found > 0 {
            let mut asked = redis::pipe();
            asked.cmd("EXISTS").arg(&timed);
            (delayed,) = self.look::<(u64,)>(&asked).await?;
        }
        Ok(Glance {
            has_delayed: delayed > 0,
            has_waiting: found > delayed,
            workers,
        })
    }

    /// Over a connection that is kept: the pool tries each one with two commands before it lends it.
    async fn look<T: redis::FromRedisValue>(&self, pipeline: &redis::Pipeline) -> Result<T, RedisFailure> {
        let mut kept = self.glances.lock().await;
        if let Some(mut connection) = kept.take().filter(|kept| self.redis.is_in_use(kept.server()))
            && let Ok(answer) = pipeline.query_async(&mut connection).await
        {
            *kept = Some(connection);
            return Ok(answer);
        }
        // It may have died long ago, which says nothing of the server now.
        let mut connection = self.redis.dedicated(RESPONSE_TIMEOUT).await?;
        let answer = pipeline.query_async(&mut connection).await?;
        *kept = Some(connection);
        Ok(answer)
    }

    /// Puts delayed packages whose time has come at the head of their lists, and looks how things stand, also with these providers
    /// and types.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn tick(&self, names: &[(String, Limit)]) -> Result<Tick, RedisFailure> {
        type Found = Vec<(usize, i64, Fields)>;
        let keys = self.redis.keys();
        let mut call = self.scripts.tick.prepare_invoke();
        call.key(keys.delayed())
            .key(keys.workers())
            .key(&keys.heads())
            .key(keys.budgets());
        call.arg(CHUNK);
        for (name, limit) in names {
            call.key(&keys.of_provider(name));
            call.arg(limit.open).arg(limit.per_minute);
        }
        let mut connection = self.redis.connection().await?;
        let (brought_back, next_due, workers, now_ms, found, budgets): (
            u64,
            i64,
            Vec<String>,
            u64,
            Found,
            Vec<String>,
        ) = scripts::invoke(&call, &mut connection).await?;
        let time = |ms: i64| u64::try_from(ms).ok().map(Duration::from_millis);
        Ok(Tick {
            brought_back,
            now_ms,
            next_due: time(next_due),
            providers: found
                .into_iter()
                .filter_map(|(number, wait_ms, fields)| {
                    Some(ProviderTick {
                        name: names.get(number.checked_sub(1)?)?.0.clone(),
                        next_wake: time(wait_ms),
                        state: ProviderState::from_fields(&fields, now_ms),
                    })
                })
                .collect(),
            workers,
            budgets,
        })
    }
}
