//! `dead retry`: pushes them again.

use clap::Args;

use super::super::actions::{By, run_said};
use super::super::bar::Bar;
use super::super::exit::ExitStatus;
use super::super::text;
use super::selection::{Selection, ask, tell_counts};
use crate::db::Db;
use crate::ops::acts::{Intent, Rate, Tally, packages, retry_all};
use crate::queue::Redis;

#[derive(Debug, Args)]
pub(super) struct RetryArguments {
    #[command(flatten)]
    selection: Selection,
    /// So many at the most, the oldest first; default: all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Push no faster than this, such as 10/s or 30/min; default: at once
    #[arg(long, value_parser = Rate::parse)]
    rate: Option<Rate>,
    /// Only count what would be pushed
    #[arg(long)]
    dry_run: bool,
    /// Go on without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(super) by: By,
}

pub(super) async fn run(
    arguments: RetryArguments,
    by: &str,
    db: &Db,
    redis: &Redis,
) -> anyhow::Result<ExitStatus> {
    let subject = arguments.selection.in_words(arguments.limit);
    let filter = arguments
        .selection
        .filter(arguments.limit, false, redis.keys().inbox());
    let mut selection = db.select_dead(filter).await?;
    let what = if arguments.dry_run {
        "would retry"
    } else {
        "to retry:"
    };
    let total = tell_counts(&selection.counts().await?, what)?;
    if total == 0 || arguments.dry_run {
        return Ok(ExitStatus::Done);
    }
    if !arguments.yes
        && let Err(status) = ask(&format!("retry {}?", packages(total)))?
    {
        return Ok(status);
    }
    // Before the first job is changed.
    redis.reach().await?;
    let intent = Intent {
        db,
        queue: redis.keys().inbox(),
        by,
        action: "dead retry",
        subject,
    };
    let mut tally = Tally::default();
    let retrying = async {
        let bar = Bar::of(total.unsigned_abs(), "retrying");
        let seen = |count| bar.advance(count as u64);
        retry_all(&mut selection, arguments.rate, db, redis, &mut tally, seen).await
    };
    let status = run_said(&intent, retrying).await?;
    for (why, count) in tally.skipped {
        text::print(&format!("skipped {}: {why}\n", packages(count)))?;
    }
    Ok(status)
}
