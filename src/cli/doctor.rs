//! `doctor`: what a replica looks at before it starts, and what an experienced operator would look at beside it, each
//! with what to do about it. Nothing here costs money, and nothing stays behind.

mod budgets;
mod postgres;
mod providers;
mod redis;
mod stuck;

use clap::Args;

use super::exit::ExitStatus;
use super::replica::{Look, look};
use super::text;
use crate::config::{Config, Environment};
use crate::db::{Db, Lacking};
use crate::findings::{Findings, Grade};
use crate::ops::Port;
use crate::queue::Redis;

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
    let mut all = Findings::about("settings");
    for warning in config.warnings() {
        all.warn(warning);
    }
    for door in config.ops.doors() {
        match door.look().await {
            Port::Unusable(why) => all.fail(why),
            Port::Replica => all.ok(format!("{}: a replica of this worker serves it", door.variable)),
            Port::Free => {}
        }
    }
    let Look {
        queue,
        bullmq,
        db,
        storage,
        providers,
    } = look(&config, Lacking::Fault).await?;
    let (redis, postgres) = (Redis::new(&config.queue)?, Db::new(&config.db)?);
    // Of a service that is away nothing more can be said. Of one with another fault, all the rest.
    let redis = Some(&redis).filter(|_| !queue.findings.has(Grade::Away));
    let postgres = Some(&postgres).filter(|_| !db.findings.has(Grade::Away));
    let lease_ttl = config.queue.lease_ttl;
    let budgets = &config.worker.attempts.budgets;
    let (of_redis, of_postgres, of_storage, of_providers, of_packages, of_budgets) = tokio::join!(
        of(redis, redis::advise),
        of(postgres, postgres::advise),
        of(storage.service.as_ref(), async |used| used.advise()),
        of(providers.service.as_ref(), |used| {
            providers::advise(&config.providers, used, redis, arguments.offline)
        }),
        of(redis.zip(postgres), |(redis, db)| stuck::look(
            redis, db, lease_ttl
        )),
        of(redis.zip(postgres), |(redis, db)| budgets::look(
            redis, db, budgets
        )),
    );
    if let Some(storage) = &storage.service {
        storage.leave().await;
    }
    // What keeps a replica from starting is one thing, what is wrong while it works another.
    let mut verdict = ExitStatus::from(&all);
    for (checked, advice) in [
        (queue.findings, of_redis),
        (
            bullmq.map(|checked| checked.findings).unwrap_or_default(),
            Findings::default(),
        ),
        (db.findings, of_postgres),
        (storage.findings, of_storage),
        (providers.findings, of_providers),
    ] {
        verdict = verdict.or_worse(ExitStatus::from(&checked));
        all.extend(checked);
        all.extend(advice);
    }
    all.extend(of_packages);
    all.extend(of_budgets);
    if arguments.json {
        let json = serde_json::to_string_pretty(&all.to_json())?;
        text::print(&format!("{json}\n"))?;
    } else {
        text::print(&all.tell())?;
    }
    Ok(match verdict {
        // Replicas start, and something is wrong all the same.
        ExitStatus::Done if all.has_failures() => ExitStatus::Failed,
        verdict => verdict,
    })
}

async fn of<T, F: Future<Output = Findings>>(service: Option<T>, advise: impl FnOnce(T) -> F) -> Findings {
    match service {
        Some(service) => advise(service).await,
        None => Findings::default(),
    }
}
