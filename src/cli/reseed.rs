//! `reseed`: what replicas do by themselves within two minutes, at once: packages that are nowhere in the queue
//! although their jobs have not ended are put back from the ledger.

use clap::Args;
use uuid::Uuid;

use super::actions::{By, run_said};
use super::bar::Bar;
use super::exit::ExitStatus;
use crate::config::{Environment, PROVIDERS};
use crate::db::{Db, DbSettings};
use crate::ops::acts::{Done, Intent};
use crate::queue::{QueueSettings, Redis};
use crate::worker::Books;

/// Jobs whose packages are put back between two moves of the bar.
const PART: usize = 1_000;

#[derive(Debug, Args)]
pub(super) struct ReseedArguments {
    /// Instead, release the jobs that are held: for each another picture may be bought
    #[arg(long)]
    held: bool,
    /// Only count what would be put back
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    by: By,
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
    let jobs = if arguments.held {
        redis.reach().await?;
        db.held(queue).await?
    } else {
        let _bar = Bar::endless(format!("comparing {queue} with the ledger"));
        books.lost_by_now(settings.lease_ttl).await?
    };
    if arguments.dry_run {
        println!("would put back {} packages into {queue}", jobs.len());
        return Ok(ExitStatus::Done);
    }
    let by = arguments.by.name(environment);
    let what = if arguments.held {
        "held jobs"
    } else {
        "lost packages"
    };
    let intent = Intent {
        db: &db,
        queue,
        by: &by,
        action: "reseed",
        subject: format!("{} {what}", jobs.len()),
    };
    let putting_back = async {
        let jobs = if arguments.held {
            db.release(&jobs).await?
        } else {
            jobs
        };
        // A replica that compares at this moment is to leave it to this command.
        let name = format!("reseed-{}", Uuid::new_v4().simple());
        redis.take_over_reconciling(&name, settings.lease_ttl * 2).await?;
        let bar = Bar::of(jobs.len() as u64, "putting back");
        let mut count = Some(0);
        // The last ones first, as each goes to the head.
        for part in jobs.rchunks(PART) {
            let put_back = books.put_back(&name, part, true).await?;
            count = count.zip(put_back).map(|(before, more)| before + more);
            if count.is_none() {
                break;
            }
            bar.advance(part.len() as u64);
        }
        let said = match count {
            Some(count) => format!("put back {count} packages into {queue}"),
            None => "another process puts packages back at this moment; run it again".to_owned(),
        };
        Ok(Done {
            count: i64::try_from(count.unwrap_or_default()).unwrap_or(i64::MAX),
            said,
            is_done: count.is_some(),
        })
    };
    run_said(&intent, putting_back).await
}
