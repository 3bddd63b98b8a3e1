//! `tidy`: removes at once what replicas remove every hour, and says what.

use clap::Args;

use super::bar::Bar;
use super::exit::ExitStatus;
use super::replica::reach_migrated;
use crate::config::Environment;
use crate::db::{DbSettings, Retention};
use crate::queue::{QueueSettings, Redis};
use crate::worker::{Housekeeping, Tidied};

#[derive(Debug, Args)]
pub(super) struct TidyArguments {
    /// Only count what would be removed
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(arguments: &TidyArguments, environment: &Environment) -> anyhow::Result<ExitStatus> {
    let retention = Retention::from_environment(environment)?;
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let db = reach_migrated(&DbSettings::from_environment(environment)?).await?;
    let dry_run = arguments.dry_run;
    let housekeeping = Housekeeping {
        db,
        redis,
        retention,
        dry_run,
    };
    let would = if dry_run { "would have " } else { "" };
    let bar = Bar::endless(if dry_run { "counting" } else { "tidying" });
    let tell = |Tidied { count, done, what }| bar.print(&format!("{would}{done} {count} {what}\n"));
    housekeeping.tidy(true, tell).await?;
    Ok(ExitStatus::Done)
}
