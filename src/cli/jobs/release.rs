//! `jobs release`: ends the wait of one job. A held one may be drawn once more; one that waits for a call whose replica is gone
//! waits for it no longer.
//!
//! Postgres first, then the package: cut off in between, the job waits and its package comes when its time does, or is put back.

use clap::Args;

use super::super::actions::{By, run_said};
use super::super::exit::ExitStatus;
use super::super::replica::reach_migrated;
use super::super::text;
use crate::config::Environment;
use crate::db::DbSettings;
use crate::ops::acts::{Intent, not_in_ledger, release, why_not};
use crate::queue::{QueueSettings, Redis};

#[derive(Debug, Args)]
pub(super) struct ReleaseArguments {
    /// Row of ac_background_jobs
    job_id: i32,
    #[command(flatten)]
    by: By,
}

pub(super) async fn run(
    arguments: &ReleaseArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let settings = QueueSettings::from_environment(environment)?;
    let redis = Redis::new(&settings)?;
    let db = reach_migrated(&DbSettings::from_environment(environment)?).await?;
    redis.reach().await?;
    let job_id = arguments.job_id;
    let Some(wait) = db.wait_of(job_id).await? else {
        text::say(&not_in_ledger(job_id, &db, &redis).await?)?;
        return Ok(ExitStatus::Failed);
    };
    if let Some(why) = why_not(&wait, &redis, settings.lease_ttl).await? {
        text::say(&format!("{why}; nothing was changed"))?;
        return Ok(ExitStatus::Failed);
    }
    let by = arguments.by.name(environment);
    let intent = Intent {
        db: &db,
        queue: &settings.name,
        by: &by,
        action: "jobs release",
        subject: format!("job {job_id}"),
    };
    run_said(&intent, release(&wait, &db, &redis, settings.lease_ttl)).await
}
