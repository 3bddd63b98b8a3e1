//! `pause` and `resume`: whether replicas take new work.

use chrono::DateTime;
use clap::Args;

use super::actions::{self, By};
use super::exit::ExitStatus;
use super::text;
use crate::config::Environment;
use crate::queue::{PauseNote, QueueSettings, Redis};

#[derive(Debug, Args)]
pub(super) struct PauseArguments {
    #[command(flatten)]
    by: By,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArguments {
    #[command(flatten)]
    by: By,
}

pub(super) async fn pause(
    arguments: &PauseArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let by = arguments.by.name(environment);
    let queue = redis.keys().inbox();
    let is_new = redis.pause(&by).await?;
    if is_new {
        text::say(&format!(
            "{queue} is paused: no replica takes new work, what is in hand is finished"
        ))?;
    } else {
        let note = redis.paused_by().await?.unwrap_or_default();
        text::say(&format!("{queue} is paused already, {}", by_whom(&note)))?;
    }
    actions::note(environment, queue, &by, "pause", is_new).await;
    Ok(ExitStatus::Done)
}

/// `by anna since 2026-11-30 03:00:00 UTC`
pub(super) fn by_whom(note: &PauseNote) -> String {
    let PauseNote { by, at } = note;
    let by = by.as_deref().unwrap_or("somebody who has left no name");
    let at = at.as_deref().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    match at {
        Some(at) => format!("by {by} since {}", text::time(at.to_utc())),
        None => format!("by {by}"),
    }
}

pub(super) async fn resume(
    arguments: &ResumeArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let by = arguments.by.name(environment);
    let queue = redis.keys().inbox();
    let was_paused = redis.resume().await?;
    if was_paused {
        text::say(&format!("{queue} is resumed: replicas take new work"))?;
    } else {
        text::say(&format!("{queue} is not paused"))?;
    }
    actions::note(environment, queue, &by, "resume", was_paused).await;
    Ok(ExitStatus::Done)
}
