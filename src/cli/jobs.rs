//! `jobs`: what became of a job, and what is to become of it.

mod erase;
mod release;
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
    /// Remove the prompt, the objects and the dead packages of a job, or of all jobs of a user, and leave a row that says so
    Erase(erase::EraseArguments),
    /// End the wait of one job: of a held one, which may be drawn once more, or for the open call of a replica that is gone
    Release(release::ReleaseArguments),
}

pub(super) async fn run(arguments: JobsArguments, environment: &Environment) -> anyhow::Result<ExitStatus> {
    match arguments.command {
        JobsCommand::Erase(arguments) => erase::run(&arguments, environment).await,
        JobsCommand::Release(arguments) => release::run(&arguments, environment).await,
        JobsCommand::Show(arguments) => show::run(&arguments, environment).await,
    }
}
