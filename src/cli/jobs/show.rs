//! `jobs show`: the application's row, the ledger, every call that cost money, and the packages that failed before.

use clap::Args;
use serde_json::json;

use super::super::callbacks::as_json;
use super::super::exit::{ExitStatus, report};
use super::super::replica::reach_migrated;
use super::super::text;
use super::told;
use crate::config::Environment;
use crate::db::{DbSettings, DeadFilter};
use crate::ops::words::{Life, Owner};
use crate::queue::{QueueSettings, Redis};

/// Earlier lives beyond these are not told.
const LIVES: u32 = 50;

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// Row of ac_background_jobs
    job_id: i32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &ShowArguments, environment: &Environment) -> anyhow::Result<ExitStatus> {
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let db = reach_migrated(&DbSettings::from_environment(environment)?).await?;
    let job_id = arguments.job_id;
    let story = db.story(job_id).await?;
    let filter = DeadFilter {
        job_ids: vec![job_id],
        with_retried: true,
        ..DeadFilter::default()
    };
    let (dead, _) = db.select_dead(filter).await?.newest_first(LIVES, false).await?;
    if story.shown.is_none() && story.ledger.is_none() && dead.is_empty() && story.callbacks.is_empty() {
        eprintln!(
            "generative-ai-worker: there is no job {job_id}: neither ac_background_jobs nor the ledger has a row of it"
        );
        return Ok(ExitStatus::Failed);
    }
    let mut status = ExitStatus::Done;
    let owner = match story.ledger.as_ref().filter(|row| row.state == "begun") {
        Some(row) => {
            let worker_id = row.worker_id.clone().unwrap_or_default();
            let is_alive = redis.has_lease(&worker_id).await;
            if let Err(error) = &is_alive {
                status = report(&anyhow::Error::new(error.clone()));
            }
            Some(Owner {
                is_alive: is_alive.ok(),
                worker_id,
            })
        }
        None => None,
    };
    let life = Life {
        job_id,
        story: &story,
        owner: owner.as_ref(),
        dead: &dead,
    };
    if arguments.json {
        let cost = life.cost();
        let lives: Vec<_> = dead.iter().map(told::dead_json).collect();
        let shown = json!({
            "jobId": job_id,
            "summary": life.headline(),
            "shown": story.shown,
            "ledger": story.ledger,
            "ownerHasLease": owner.as_ref().and_then(|owner| owner.is_alive),
            "calls": story.calls,
            "totalCostUsd": cost.usd,
            "callsOfUnknownCost": cost.unknown,
            "image": story.image,
            "dead": lives,
            "callbacks": story.callbacks.iter().map(as_json).collect::<Vec<_>>(),
        });
        text::print(&format!("{}\n", serde_json::to_string_pretty(&shown)?))?;
    } else {
        text::print(&life.tell())?;
    }
    Ok(status)
}
