//! `dead purge`: forgets them, in Redis first, so that a purge that was cut off is found and done again.

use clap::Args;

use super::super::actions::{By, Done, Intent};
use super::super::exit::ExitStatus;
use super::selection::{Selection, ask, packages, tell_counts};
use crate::db::Db;
use crate::queue::Redis;

/// Packages that are read and deleted at once.
const CHUNK: u32 = 100;

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
    intent
        .run(async {
            let mut purged = 0;
            loop {
                let chunk = selection.next(CHUNK).await?;
                if chunk.is_empty() {
                    break;
                }
                let mirrors: Vec<_> = chunk
                    .iter()
                    .map(|package| (package.id, package.dead_at.timestamp_millis()))
                    .collect();
                redis.forget_dead(&mirrors).await?;
                let ids: Vec<_> = chunk.iter().map(|package| package.id).collect();
                purged += db.purge_dead(&ids).await?;
            }
            let count = i64::try_from(purged).unwrap_or(i64::MAX);
            Ok(Done {
                count,
                said: format!("purged {}", packages(count)),
                status: ExitStatus::Done,
            })
        })
        .await
}
