//! `jobs show`: the application's row, the ledger, every call that cost money, and the packages that failed before.

use clap::Args;
use serde_json::json;

use super::super::callbacks::as_json;
use super::super::exit::{ExitStatus, report};
use super::super::replica::reach_migrated;
use super::super::text;
use super::told;
use crate::config::Environment;
use crate::db::DbSettings;
use crate::ops::words::Life;
use crate::queue::{QueueSettings, Redis};

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
    let Some(life) = Life::find(job_id, &db, &redis).await? else {
        eprintln!(
            "generative-ai-worker: there is no job {job_id}: neither ac_background_jobs nor the ledger has a row of it"
        );
        return Ok(ExitStatus::Failed);
    };
    let status = match life.owner.as_ref().map(|owner| &owner.is_alive) {
        Some(Err(error)) => report(error),
        _ => ExitStatus::Done,
    };
    let story = &life.story;
    if arguments.json {
        let cost = life.cost();
        let lives: Vec<_> = story.dead.iter().map(told::dead_json).collect();
        let shown = json!({
            "jobId": job_id,
            "summary": life.headline(),
            "shown": story.shown,
            "ledger": story.ledger,
            "ownerHasLease": life.owner.as_ref().and_then(|owner| owner.is_alive.as_ref().ok()),
            "calls": story.calls,
            "totalCostUsd": cost.usd,
            "callsOfUnknownCost": cost.unknown,
            "image": story.image,
            "dead": lives,
            "bullmq": life.origin,
            "package": life.waits.as_ref().map(|waits| &waits.placed.place),
            "callbacks": story.callbacks.iter().map(as_json).collect::<Vec<_>>(),
        });
        text::print(&format!("{}\n", serde_json::to_string_pretty(&shown)?))?;
    } else {
        text::print(&told::tell(&life))?;
    }
    Ok(status)
}
