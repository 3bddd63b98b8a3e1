//! `check-config`: every fault at once, before a worker meets the first one.

use clap::Args;

use super::exit::ExitStatus;
use super::replica::{Lacking, reach};
use crate::config::{Config, Environment};

#[derive(Debug, Args)]
pub(super) struct CheckConfigArguments {
    /// Look at the values only, without connecting to anything
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(
    arguments: &CheckConfigArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let config = Config::from_environment(environment)?;
    for warning in config.warnings() {
        println!("warning: {warning}");
    }
    if arguments.offline {
        println!("the configuration is well-formed; no service was asked");
        return Ok(ExitStatus::Done);
    }
    reach(&config, Lacking::Fault).await?;
    println!("the configuration is well-formed; Redis, Postgres and the store can be used");
    Ok(ExitStatus::Done)
}
