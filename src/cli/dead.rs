//! `dead`: packages of a queue that have failed for good, for operators. The truth about them is in Postgres; the set
//! in Redis mirrors the latest. Packages that are too large to be read are in Redis alone, set aside.

mod export;
mod list;
mod purge;
mod retry;
mod selection;
mod show;
mod shown;

use clap::{Args, Subcommand};

pub(super) use selection::{Which, which};

use super::exit::ExitStatus;
use super::replica::reach_migrated;
use crate::config::Environment;
use crate::db::DbSettings;
use crate::queue::{QueueSettings, Redis};

#[derive(Debug, Args)]
pub(super) struct DeadArguments {
    #[command(subcommand)]
    command: DeadCommand,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// List them, the latest first, without their prompts, and what was set aside as too large
    List(list::ListArguments),
    /// Show one, or those of a job
    Show(show::ShowArguments),
    /// Push them again, each with a clean count; their jobs lose their errors
    Retry(retry::RetryArguments),
    /// Forget them: their rows are deleted
    Purge(purge::PurgeArguments),
    /// Print them whole, prompts included, as a JSON object a line, and what was set aside as too large
    Export(export::ExportArguments),
}

pub(super) async fn run(arguments: DeadArguments, environment: &Environment) -> anyhow::Result<ExitStatus> {
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let db = reach_migrated(&DbSettings::from_environment(environment)?).await?;
    match arguments.command {
        DeadCommand::List(arguments) => list::run(arguments, &db, &redis).await,
        DeadCommand::Show(arguments) => show::run(&arguments, &db).await,
        DeadCommand::Export(arguments) => export::run(arguments, &db, &redis).await,
        DeadCommand::Retry(arguments) => {
            let by = arguments.by.name(environment);
            retry::run(arguments, &by, &db, &redis).await
        }
        DeadCommand::Purge(arguments) => {
            let by = arguments.by.name(environment);
            purge::run(arguments, &by, &db, &redis).await
        }
    }
}
