//! `pause` and `resume`: whether replicas take new work.

use clap::Args;

use super::actions::{self, By};
use super::exit::ExitStatus;
use super::text;
use crate::config::Environment;
use crate::ops::acts::{self, Done};
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
    let done = acts::pause(&redis, &by).await?;
    end(environment, &redis, &by, "pause", &done).await
}

pub(super) async fn resume(
    arguments: &ResumeArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let by = arguments.by.name(environment);
    let done = acts::resume(&redis).await?;
    end(environment, &redis, &by, "resume", &done).await
}

async fn end(
    environment: &Environment,
    redis: &Redis,
    by: &str,
    action: &str,
    done: &Done,
) -> anyhow::Result<ExitStatus> {
    text::say(&done.said)?;
    let queue = redis.keys().inbox();
    actions::note(environment, queue, by, (action, queue), done).await;
    Ok(ExitStatus::Done)
}
