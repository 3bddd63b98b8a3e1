//! `reseed`: what replicas do by themselves within two minutes, at once: packages that are nowhere in the queue
//! although their jobs have not ended are put back from the ledger.

use clap::Args;
use uuid::Uuid;

use super::exit::ExitStatus;
use crate::config::{Environment, PROVIDERS};
use crate::db::{Db, DbSettings};
use crate::queue::{QueueSettings, Redis};
use crate::worker::Books;

#[derive(Debug, Args)]
pub(super) struct ReseedArguments {
    /// Instead, release the jobs that are held: for each another picture may be bought
    #[arg(long)]
    held: bool,
    /// Only count what would be put back
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(
    arguments: &ReseedArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let settings = QueueSettings::from_environment(environment)?;
    let redis = Redis::new(&settings)?;
    let db = Db::new(&DbSettings::from_environment(environment)?)?;
    let queue = redis.keys().inbox();
    let books = Books::new(db.clone(), redis.clone(), PROVIDERS.into_iter());
    let mut jobs = if arguments.held {
        redis.reach().await?;
        db.held(queue).await?
    } else {
        books.lost_by_now(settings.lease_ttl).await?
    };
    if arguments.dry_run {
        println!("would put back {} packages into {queue}", jobs.len());
        return Ok(ExitStatus::Done);
    }
    if arguments.held {
        jobs = db.release(&jobs).await?;
    }
    // A replica that compares at this moment is to leave it to this command.
    let name = format!("reseed-{}", Uuid::new_v4().simple());
    redis.take_over_reconciling(&name, settings.lease_ttl * 2).await?;
    match books.put_back(&name, &jobs, true).await? {
        Some(count) => {
            println!("put back {count} packages into {queue}");
            Ok(ExitStatus::Done)
        }
        None => {
            println!("another process puts packages back at this moment; run it again");
            Ok(ExitStatus::Failed)
        }
    }
}
