//! `status`: how the queue, its replicas and its jobs stand, from Redis and from Postgres. One of the two being away
//! hides nothing of the other.

mod page;
mod told;

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::exit::ExitStatus;
use super::run::stop_on_signals;
use super::text;
use crate::bullmq::{BullmqQueue, BullmqSettings, Counts};
use crate::config::{Environment, PROVIDERS};
use crate::db::{BudgetUse, Db, DbError, DbSettings, Figures};
use crate::plain_text::plain;
use crate::queue::{Overview, QueueSettings, Redis};
use crate::redis::RedisFailure;
use crate::worker::{Budgets, parked_for};

/// Between two looks of `--watch`.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// As JSON
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Look again every 2 s, until Ctrl-C; at a terminal in place, until q
    #[arg(long)]
    watch: bool,
}

/// What both sides say.
struct Status {
    redis: Result<Overview, RedisFailure>,
    /// `None`: no BullMQ queue is taken over.
    bullmq: Option<(String, Result<Counts, RedisFailure>)>,
    postgres: Result<Figures, DbError>,
    /// `None`: no budget is set.
    budgets: Option<Result<Vec<BudgetUse>, DbError>>,
    /// What became of jobs that replicas had in hand when they died, by job; `None`: Postgres does not say.
    states: Option<HashMap<i32, String>>,
}

pub(super) async fn run(
    arguments: &StatusArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let bullmq = BullmqSettings::from_environment(environment)?
        .map(BullmqQueue::new)
        .transpose()?;
    let db = Db::new(&DbSettings::from_environment(environment)?)?;
    let budgets = Budgets::from_environment(environment)?;
    let queue = redis.keys().inbox().to_owned();
    if !arguments.watch {
        let status = look(&redis, bullmq.as_ref(), &db, &budgets).await;
        if arguments.json {
            let json = serde_json::to_string_pretty(&status.to_json(&queue))?;
            text::print(&format!("{json}\n"))?;
        } else {
            text::print(&status.tell(&queue))?;
        }
        return Ok(match (&status.redis, &status.postgres) {
            (Ok(_), Ok(_)) => ExitStatus::Done,
            (Err(failure), Ok(_)) if failure.needs_mending() => ExitStatus::Configuration,
            _ => ExitStatus::Unreachable,
        });
    }
    let (stop, _) = stop_on_signals()?;
    let told = || async { look(&redis, bullmq.as_ref(), &db, &budgets).await.tell(&queue) };
    if page::is_possible() {
        page::show(told, PAUSE, &stop).await?;
        return Ok(ExitStatus::Done);
    }
    let watch = async {
        loop {
            text::print(&format!("{}\n", told().await))?;
            tokio::time::sleep(PAUSE).await;
        }
    };
    match stop.run_until_cancelled(watch).await {
        Some(ended) => ended,
        None => Ok(ExitStatus::Done),
    }
}

async fn look(redis: &Redis, bullmq: Option<&BullmqQueue>, db: &Db, budgets: &Budgets) -> Status {
    let overview = async {
        match redis.overview(&parked_for(PROVIDERS.into_iter())).await {
            Ok(overview) => Ok(overview),
            Err(failure) => Err(redis.explain(failure, &[]).await),
        }
    };
    let counts = async {
        match bullmq {
            Some(bullmq) => Some((bullmq.name().to_owned(), bullmq.counts().await)),
            None => None,
        }
    };
    let (redis, bullmq, postgres) = tokio::join!(overview, counts, db.figures(redis.keys().inbox()));
    let budgets = match budgets.all.is_empty() {
        true => None,
        false => Some(db.budget_uses(&budgets.asked()).await),
    };
    let gone = redis.iter().flat_map(|overview| &overview.gone);
    let job_ids: Vec<i32> = gone.flat_map(|gone| gone.job_ids.iter().copied()).collect();
    let states = match (&postgres, job_ids.is_empty()) {
        (Ok(_), false) => db.states_of(job_ids).await.ok(),
        _ => None,
    };
    Status {
        redis,
        bullmq,
        postgres,
        budgets,
        states,
    }
}

impl Status {
    fn to_json(&self, queue: &str) -> Value {
        fn side<T: serde::Serialize, E: ToString>(side: &Result<T, E>) -> Value {
            match side {
                Ok(side) => json!(side),
                Err(error) => json!({"error": error.to_string()}),
            }
        }
        let states = self.states.as_ref().map(|states| json!(states));
        let states = states.unwrap_or_else(|| json!({}));
        let mut all = json!({"queue": queue, "redis": side(&self.redis), "postgres": side(&self.postgres), "jobsOfGone": states});
        if let Some(budgets) = &self.budgets {
            all["budgets"] = side(budgets);
        }
        if let Some((name, counts)) = &self.bullmq {
            all["bullmq"] = side(counts);
            all["bullmq"]["queue"] = json!(name);
        }
        all
    }

    fn tell(&self, queue: &str) -> String {
        let redis = match &self.redis {
            Ok(overview) => {
                let gone = told::gone(&overview.gone, self.states.as_ref());
                format!("{}{gone}", told::redis(queue, overview))
            }
            Err(error) if error.is_refusal() => {
                format!("Redis answers and refuses: {}\n", plain(&error.bare()))
            }
            Err(error) => format!("Redis is away: {}\n", plain(&error.to_string())),
        };
        let bullmq = self.bullmq.as_ref().map(|(name, counts)| {
            let counts = match counts {
                Ok(counts) => counts.to_string(),
                Err(error) => plain(&error.to_string()),
            };
            format!("BullMQ     {}: {counts}\n", plain(name))
        });
        let bullmq = bullmq.unwrap_or_default();
        let postgres = match &self.postgres {
            Ok(figures) => told::postgres(figures),
            Err(error) => format!("Postgres is away: {}\n", plain(&error.to_string())),
        };
        let budgets = match &self.budgets {
            Some(Ok(uses)) => told::budgets(uses),
            // Postgres is away, as has been said.
            Some(Err(_)) | None => String::new(),
        };
        format!("{redis}{bullmq}\n{postgres}{budgets}")
    }
}
