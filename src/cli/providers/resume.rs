//! `providers resume`: ends a pause or an open breaker on all replicas.

use clap::Args;

use super::super::actions::{self, By};
use super::super::exit::ExitStatus;
use super::super::text;
use crate::config::{Environment, PROVIDERS};
use crate::ops::acts;
use crate::queue::{QueueSettings, Redis};

#[derive(Debug, Args)]
pub(in crate::cli) struct ResumeArguments {
    /// The provider, as packages write it
    name: String,
    #[command(flatten)]
    by: By,
}

pub(in crate::cli) async fn resume(
    arguments: &ResumeArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let name = &*arguments.name;
    if !PROVIDERS.contains(&name) {
        let known = PROVIDERS.join(", ");
        eprintln!("generative-ai-worker: there is no provider {name:?}; there are {known}");
        return Ok(ExitStatus::Usage);
    }
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let done = acts::resume_provider(&redis, name).await?;
    text::say(&done.said)?;
    let by = arguments.by.name(environment);
    let queue = redis.keys().inbox();
    actions::note(environment, queue, &by, ("providers resume", name), &done).await;
    Ok(ExitStatus::Done)
}
