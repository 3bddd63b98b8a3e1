//! `dead purge`: forgets them.

use clap::Args;

use super::super::actions::{By, run_said};
use super::super::exit::ExitStatus;
use super::selection::{Selection, ask, tell_counts};
use crate::db::Db;
use crate::ops::acts::{Intent, packages, purge_all};
use crate::queue::Redis;

#[derive(Debug, Args)]
pub(super) struct PurgeArguments {
    #[command(flatten)]
    selection: Selection,
    /// So many at the most, the oldest first; default: all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Also those that have been pushed again
    #[arg(long)]
    all: bool,
    /// Only count what would be forgotten
    #[arg(long)]
    dry_run: bool,
    /// Go on without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(super) by: By,
}

pub(super) async fn run(
    arguments: PurgeArguments,
    by: &str,
    db: &Db,
    redis: &Redis,
) -> anyhow::Result<ExitStatus> {
    let subject = arguments.selection.in_words(arguments.limit);
    let filter = arguments
        .selection
        .filter(arguments.limit, arguments.all, redis.keys().inbox());
    let mut selection = db.select_dead(filter).await?;
    let what = if arguments.dry_run {
        "would purge"
    } else {
        "to purge:"
    };
    let total = tell_counts(&selection.counts().await?, what)?;
    if total == 0 || arguments.dry_run {
        return Ok(ExitStatus::Done);
    }
    if !arguments.yes
        && let Err(status) = ask(&format!("purge {}?", packages(total)))?
    {
        return Ok(status);
    }
    let intent = Intent {
        db,
        queue: redis.keys().inbox(),
        by,
        action: "dead purge",
        subject,
    };
    run_said(&intent, purge_all(&mut selection, db, redis)).await
}
