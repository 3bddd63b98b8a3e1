//! `healthcheck`: for container engines and monitoring.

use clap::Args;

use super::exit::ExitStatus;
use crate::config::Environment;
use crate::queue::{QueueSettings, Redis};

#[derive(Debug, Args)]
pub(super) struct HealthcheckArguments {
    /// Ask for the ping of a replica with this WORKER_NAME instead of the whole service's
    #[arg(long = "self")]
    of_self: bool,
}

pub(super) async fn run(
    arguments: &HealthcheckArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let settings = QueueSettings::from_environment(environment)?;
    let redis = Redis::new(&settings)?;
    let worker_name = arguments.of_self.then_some(settings.worker_name.as_str());
    if redis.has_ping(worker_name).await? {
        println!("ok");
        return Ok(ExitStatus::Done);
    }
    match worker_name {
        Some(name) => println!("no replica called {name} pings"),
        None => println!("no replica pings: the key {} is not there", redis.keys().ping()),
    }
    Ok(ExitStatus::Failed)
}
