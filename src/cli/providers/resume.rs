//! `providers resume`: ends a pause or an open breaker on all replicas.

use clap::Args;

use super::super::exit::ExitStatus;
use crate::config::{Environment, PROVIDERS};
use crate::queue::{QueueSettings, Redis};

#[derive(Debug, Args)]
pub(in crate::cli) struct ResumeArguments {
    /// The provider, as packages write it
    name: String,
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
    if redis.resume_provider(name).await? {
        println!("{name} is resumed: replicas call it again, and what is parked for it goes on");
    } else {
        println!("{name} is neither paused nor left alone");
    }
    Ok(ExitStatus::Done)
}
