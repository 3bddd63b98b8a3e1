//! `cancel`: ends a job, whether it waits or is being worked on.

use clap::Args;

use super::actions::{By, run_said};
use super::exit::ExitStatus;
use crate::config::Environment;
use crate::db::{Db, DbSettings};
use crate::ops::acts::{Intent, cancel, message_of};
use crate::queue::{QueueSettings, Redis};

#[derive(Debug, Args)]
pub(super) struct CancelArguments {
    /// Row of ac_background_jobs
    job_id: i32,
    #[command(flatten)]
    by: By,
    /// Why, in a few words for the person who waits
    #[arg(long)]
    reason: Option<String>,
}

pub(super) async fn run(arguments: CancelArguments, environment: &Environment) -> anyhow::Result<ExitStatus> {
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let db = Db::new(&DbSettings::from_environment(environment)?)?;
    let job_id = arguments.job_id;
    let by = arguments.by.name(environment);
    let message = message_of(&by, arguments.reason.as_deref());
    let intent = Intent {
        db: &db,
        queue: redis.keys().inbox(),
        by: &by,
        action: "cancel",
        subject: format!("job {job_id}"),
    };
    run_said(&intent, cancel(job_id, &message, &db, &redis)).await
}
