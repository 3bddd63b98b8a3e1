//! `jobs`: what became of a job.

mod show;
mod told;

use clap::{Args, Subcommand};

use super::exit::ExitStatus;
use crate::config::Environment;

#[derive(Debug, Args)]
pub(super) struct JobsArguments {
    #[command(subcommand)]
    command: JobsCommand,
}

#[derive(Debug, Subcommand)]
enum JobsCommand {
    /// Tell the whole story of one job
    Show(show::ShowArguments),
}

pub(super) async fn run(arguments: JobsArguments, environment: &Environment) -> anyhow::Result<ExitStatus> {
    match arguments.command {
        JobsCommand::Show(arguments) => show::run(&arguments, environment).await,
    }
}
