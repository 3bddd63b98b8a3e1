//! Where everything is built and joined: from a configuration to a worker that is ready to run.

use anyhow::Context;

use super::exit::{Misconfigured, Several};
use super::providers;
use crate::config::Config;
use crate::db::{self, Db, DbSettings};
use crate::generator::{Pipeline, PipelineSettings};
use crate::queue::Queue;
use crate::router::Router;
use crate::storage::Storage;
use crate::worker::Worker;

/// The services that a worker relies on, each of them reached and found in order.
pub(super) struct Services {
    pub(super) queue: Queue,
    pub(super) db: Db,
    pub(super) storage: Storage,
}

/// What is done about migrations that the database lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacking {
    Applied,
    Fault,
}

/// Reaches all services at once.
///
/// # Errors
/// One line for each that cannot be reached or is not as it has to be.
pub(super) async fn reach(config: &Config, lacking: Lacking) -> anyhow::Result<Services> {
    let (queue, db, storage) = tokio::join!(
        reach_redis(config),
        reach_postgres(config, lacking),
        reach_storage(config)
    );
    match (queue, db, storage) {
        (Ok(queue), Ok(db), Ok(storage)) => Ok(Services { queue, db, storage }),
        (queue, db, storage) => {
            let errors = [queue.err(), db.err(), storage.err()]
                .into_iter()
                .flatten()
                .collect();
            Err(Several(errors).into())
        }
    }
}

async fn reach_redis(config: &Config) -> anyhow::Result<Queue> {
    Queue::join(&config.queue).await
}

async fn reach_postgres(config: &Config, lacking: Lacking) -> anyhow::Result<Db> {
    if lacking == Lacking::Applied {
        for name in db::migrate(&config.db).await? {
            tracing::info!(migration = name, "applied a migration");
        }
        return Db::new(&config.db);
    }
    reach_migrated(&config.db).await
}

/// Reaches Postgres, for commands that change nothing of its tables.
///
/// # Errors
/// When it cannot be reached, or lacks what this version knows.
pub(super) async fn reach_migrated(settings: &DbSettings) -> anyhow::Result<Db> {
    let pending = db::pending(settings).await?;
    if let Some(first) = pending.first() {
        let count = pending.len();
        return Err(Misconfigured(format!(
            "DATABASE_URL: the database lacks {count} migration(s), from {first} on; run generative-ai-worker migrate"
        ))
        .into());
    }
    Db::new(settings)
}

async fn reach_storage(config: &Config) -> anyhow::Result<Storage> {
    let opened = Storage::open(config.storage.clone()).await;
    let storage = opened.map_err(|error| Misconfigured(format!("{error:#}")))?;
    storage.check_writable().await?;
    Ok(storage)
}

/// Joins the services to a worker.
///
/// # Errors
/// When a provider's settings cannot be used, or the database cannot be read.
pub(super) async fn assemble(config: &Config, services: Services) -> anyhow::Result<Worker> {
    let Services { queue, db, storage } = services;
    let providers = providers::all(&config.providers)?;
    providers::warn_early(&providers);
    let settings = PipelineSettings {
        providers,
        storage,
        key_namespace: db.key_namespace().await.context("DATABASE_URL")?,
        keeps_originals: config.keeps_originals,
    };
    let router = Router::new(Pipeline::new(settings));
    Ok(Worker::new(config.worker.clone(), queue, db, router))
}
