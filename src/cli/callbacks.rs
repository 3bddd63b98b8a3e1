//! `callbacks`: ends of jobs that are posted to a `callbackUrl` and have not been told, for operators.

mod list;
mod shown;

use clap::{Args, Subcommand};

use super::actions::{By, run_said};
use super::dead::{Which, which};
use super::exit::ExitStatus;
use super::replica::reach_migrated;
use crate::config::Environment;
use crate::db::{CallbackChoice, Db, DbSettings};
use crate::notify::Receivers;
use crate::ops::acts::{Intent, drop_callbacks, retry_callbacks};
use crate::queue::QueueSettings;

pub(super) use shown::as_json;

#[derive(Debug, Args)]
pub(super) struct CallbacksArguments {
    #[command(subcommand)]
    command: CallbacksCommand,
}

#[derive(Debug, Subcommand)]
enum CallbacksCommand {
    /// List those that wait for their next try and those that were given up, the latest first
    List(list::ListArguments),
    /// Have them tried again at once, as if for the first time
    Retry(RetryArguments),
    /// Forget them: nobody is told
    Drop(DropArguments),
}

#[derive(Debug, Args)]
struct RetryArguments {
    /// Ids, or the beginnings of ids as `callbacks list` shows them, or job ids
    #[arg(value_name = "ID", value_parser = which, required_unless_present = "all", conflicts_with = "all")]
    which: Vec<Which>,
    /// All that were given up
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, Args)]
struct DropArguments {
    /// The same
    #[arg(value_name = "ID", value_parser = which, required = true)]
    which: Vec<Which>,
    #[command(flatten)]
    by: By,
}

fn in_words(which: &[Which]) -> String {
    let which = which.iter().map(|which| match which {
        Which::Job(job_id) => format!("job {job_id}"),
        Which::Id(id) => id.clone(),
    });
    format!("callbacks: {}", which.collect::<Vec<_>>().join(", "))
}

fn choice(which: Vec<Which>) -> CallbackChoice {
    let mut choice = CallbackChoice::default();
    for which in which {
        match which {
            Which::Job(job_id) => choice.job_ids.push(job_id),
            Which::Id(id) => choice.ids.push(id),
        }
    }
    choice
}

pub(super) async fn run(
    arguments: CallbacksArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let queue = QueueSettings::from_environment(environment)?.name;
    let db = reach_migrated(&DbSettings::from_environment(environment)?).await?;
    match arguments.command {
        CallbacksCommand::List(arguments) => {
            let receivers = Receivers::from_environment(environment)?;
            list::run(&arguments, &db, &queue, &receivers).await
        }
        CallbacksCommand::Retry(arguments) => {
            let by = arguments.by.name(environment);
            retry(arguments, &by, &db, &queue).await
        }
        CallbacksCommand::Drop(arguments) => {
            let by = arguments.by.name(environment);
            forget(arguments, &by, &db, &queue).await
        }
    }
}

async fn retry(arguments: RetryArguments, by: &str, db: &Db, queue: &str) -> anyhow::Result<ExitStatus> {
    let intent = Intent {
        db,
        queue,
        by,
        action: "callbacks retry",
        subject: match arguments.all {
            true => "all callbacks that were given up".to_owned(),
            false => in_words(&arguments.which),
        },
    };
    let choice = CallbackChoice {
        failed: arguments.all,
        ..choice(arguments.which)
    };
    run_said(&intent, retry_callbacks(db, queue, &choice)).await
}

async fn forget(arguments: DropArguments, by: &str, db: &Db, queue: &str) -> anyhow::Result<ExitStatus> {
    let intent = Intent {
        db,
        queue,
        by,
        action: "callbacks drop",
        subject: in_words(&arguments.which),
    };
    let choice = choice(arguments.which);
    run_said(&intent, drop_callbacks(db, queue, &choice)).await
}
