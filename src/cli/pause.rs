//! `pause` and `resume`: whether replicas take new work.

use clap::Args;

use super::actions::{self, By};
use super::exit::ExitStatus;
use super::text;
use crate::config::Environment;
use crate::ops::words::by_whom;
use crate::queue::{QueueSettings, Redis};

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
