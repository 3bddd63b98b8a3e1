//! `pause` and `resume`: whether replicas take new work.

use clap::Args;

use super::exit::ExitStatus;
use super::text;
use crate::config::{Environment, operator};
use crate::queue::{QueueSettings, Redis};

#[derive(Debug, Args)]
pub(super) struct PauseArguments {
    /// Who pauses, for whoever finds it paused. Default: the user and the host
    #[arg(long)]
    by: Option<String>,
}

pub(super) async fn pause(
    arguments: PauseArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let by = arguments.by.unwrap_or_else(|| operator(environment));
    let queue = redis.keys().inbox();
    if redis.pause(&by).await? {
        text::say(&format!(
            "{queue} is paused: no replica takes new work, what is in hand is finished"
        ))?;
    } else {
        let note = redis.paused_by().await?.unwrap_or_default();
        text::say(&format!("{queue} is paused already: {note}"))?;
    }
    Ok(ExitStatus::Done)
}

pub(super) async fn resume(environment: &Environment) -> anyhow::Result<ExitStatus> {
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let queue = redis.keys().inbox();
    if redis.resume().await? {
        text::say(&format!("{queue} is resumed: replicas take new work"))?;
    } else {
        text::say(&format!("{queue} is not paused"))?;
    }
    Ok(ExitStatus::Done)
}
