//! `reseed`: after a loss of data in Redis, puts the packages of unfinished jobs back.

use clap::Args;

use super::exit::ExitStatus;
use crate::config::Environment;
use crate::db::{Db, DbSettings};
use crate::queue::{QueueSettings, Redis};

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
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let db = Db::new(&DbSettings::from_environment(environment)?)?;
    let live_workers = redis.live_workers().await?;
    let (mut count, mut last) = (0, 0);
    loop {
        let jobs = db.unfinished(last, &live_workers, arguments.held).await?;
        let Some(end) = jobs.last() else { break };
        last = end.job_id;
        count += jobs.len();
        if arguments.dry_run {
            continue;
        }
        if arguments.held {
            let job_ids: Vec<i32> = jobs.iter().map(|job| job.job_id).collect();
            db.release(&job_ids).await?;
        }
        let packages: Vec<String> = jobs.into_iter().map(|job| job.package).collect();
        redis.push_all(&packages).await?;
    }
    let done = if arguments.dry_run {
        "would put back"
    } else {
        "put back"
    };
    println!("{done} {count} packages into {}", redis.keys().inbox());
    Ok(ExitStatus::Done)
}
