//! `doctor`: what an experienced operator would look at, each with what to do about it. Nothing here costs money, and
//! nothing stays behind.

mod postgres;
mod providers;
mod redis;
mod storage;
mod stuck;

use clap::Args;

use super::exit::ExitStatus;
use super::text;
use crate::config::{Config, Environment};
use crate::db::Db;
use crate::queue::Redis;

use crate::findings::Findings;

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Ask no image provider, not even for free
    #[arg(long)]
    offline: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    arguments: &DoctorArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let config = Config::from_environment(environment)?;
    let redis = Redis::new(&config.queue)?;
    let db = Db::new(&config.db)?;
    let (redis_findings, postgres_findings, storage_findings, provider_findings) = tokio::join!(
        redis::look(&config.queue, &redis),
        postgres::look(&config.db, &db),
        storage::look(&config.storage),
        providers::look(&config.providers, arguments.offline),
    );
    let mut all = Findings::about("settings");
    for warning in config.warnings() {
        all.warn(warning);
    }
    for findings in [
        redis_findings,
        postgres_findings,
        storage_findings,
        provider_findings?,
        stuck::look(&redis, &db, config.worker.upkeep.reconcile_interval).await,
    ] {
        all.extend(findings);
    }
    if arguments.json {
        let json = serde_json::to_string_pretty(&all.to_json())?;
        text::print(&format!("{json}\n"))?;
    } else {
        text::print(&all.tell())?;
    }
    Ok(if all.has_failures() {
        ExitStatus::Failed
    } else {
        ExitStatus::Done
    })
}
