//! Where the package of a job is, for whoever asks why nothing comes of it.

use redis::{AsyncCommands, Script};
use serde::Serialize;

use super::{Priority, Redis, budgets, scripts};
use crate::redis::RedisFailure;

/// So many packages are looked at: of a queue that is longer, where a package is may not be known.
const MOST: u64 = 20_000;

/// Where a package is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "where", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Place {
    /// On a waiting list, or in its sorted set.
    Waiting {
        /// `critical`, `high`, `normal` or `low`.
        list: &'static str,
        /// How many are taken from the list before it; 0 for a sorted set, whose turns are by group.
        before: u64,
    },
    /// Waiting for a time.
    Delayed {
        /// Unix ms.
        until_ms: i64,
    },
    /// Waiting until something may be called or begun.
    Parked {
        /// A provider, `type/<work type>` or `suspects`.
        name: String,
    },
    /// Waiting for money.
    OverBudget {
        /// `openai/day`, say.
        budget: String,
    },
    /// With a replica, or on its way there.
    InHand {
        /// Its name.
        worker_id: String,
    },
}

/// A package that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it is.
    pub place: Place,
    /// As it was pushed.
    pub package: Vec<u8>,
}

/// Where the next part begins, how many were looked at; then where it was found, how many leave before it, its score, and itself.
type Part = (i64, u64, Option<u64>, Option<String>, Option<Vec<u8>>);

impl Redis {
    /// Looks for the package of a job. `parked_for`: all that packages may be parked for. `None`: it is nowhere, or among more than
    /// 20,000 that wait.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn place_of(&self, job_id: i32, parked_for: &[String]) -> Result<Option<Placed>, RedisFailure> {
        let keys = self.keys();
        let mut connection = self.connection().await?;
        let workers: Vec<String> = connection.smembers(keys.workers()).await?;
        let parks = self.budget_parks().await?;
        let delayed = Place::Delayed { until_ms: 0 };
        let mut places: Vec<(String, Place)> = vec![(keys.delayed(), delayed)];
        places.extend(
            parked_for
                .iter()
                .map(|name| (keys.parked(name), Place::Parked { name: name.clone() })),
        );
        places.extend(parks.into_iter().map(|park| {
            let key = keys.parked(&budgets::place(&park.budget));
            (key, Place::OverBudget { budget: park.budget })
        }));
        for (priority, list) in Priority::ALL.into_iter().zip(keys.all_waiting()) {
            let waiting = Place::Waiting {
                list: priority.as_str(),
                before: 0,
            };
            places.push((list, waiting.clone()));
            places.push((keys.sorted(priority), waiting));
        }
        for worker_id in workers {
            for key in [keys.processing(&worker_id), keys.landing(&worker_id)] {
                let worker_id = worker_id.clone();
                places.push((key, Place::InHand { worker_id }));
            }
        }
        let mut pipeline = redis::pipe();
        for (key, _) in &places {
            pipeline.exists(key);
        }
        let are_there: Vec<bool> = pipeline.query_async(&mut connection).await?;
        let script = Script::new(concat!(
            include_str!("scripts/packages.lua"),
            include_str!("scripts/place.lua")
        ));
        let mut left = MOST;
        for ((key, place), _) in places
            .into_iter()
            .zip(are_there)
            .filter(|(_, is_there)| *is_there)
        {
            let mut from = 0;
            while from >= 0 && left > 0 {
                let mut call = script.key(&key);
                call.arg(job_id).arg(from);
                let (next, looked_at, before, score, package): Part =
                    scripts::invoke(&call, &mut connection).await?;
                if let Some(package) = package {
                    let place = place.found_at(before.unwrap_or_default(), score.as_deref());
                    return Ok(Some(Placed {
                        place,
                        package: without_name(package),
                    }));
                }
                left = left.saturating_sub(looked_at.max(1));
                from = next;
            }
        }
        Ok(None)
    }
}

impl Place {
    fn found_at(self, before: u64, score: Option<&str>) -> Self {
        match self {
            Self::Waiting { list, .. } => Self::Waiting { list, before },
            Self::Delayed { .. } => {
                let until = score.and_then(|score| score.parse::<f64>().ok());
                #[expect(clippy::cast_possible_truncation, reason = "Unix ms")]
                let until_ms = until.unwrap_or_default() as i64;
                Self::Delayed { until_ms }
            }
            other => other,
        }
    }
}

/// What waits has the name of its delivery or group before it.
fn without_name(package: Vec<u8>) -> Vec<u8> {
    let begins_at = package
        .iter()
        .position(|byte| matches!(byte, b'{' | b'"'))
        .unwrap_or_default();
    package[begins_at..].to_vec()
}
