//! Where everything is built and joined: from a configuration to a worker that is ready to run.

use std::sync::Arc;

use anyhow::Context;

use super::providers;
use crate::bullmq::BullmqQueue;
use crate::config::Config;
use crate::db::{self, Db, DbSettings, Lacking, PictureNames, UnfitDatabase};
use crate::findings::{Checked, Findings};
use crate::generator::{Pipeline, PipelineSettings};
use crate::http_client::Downloads;
use crate::notify::Notifier;
use crate::ops::Sources;
use crate::provider::list::Providers;
use crate::provider::{ImageProvider, ImageSpec};
use crate::queue::Queue;
use crate::removal::Remover;
use crate::router::Router;
use crate::storage::{Storage, StorageSettings};
use crate::worker::Worker;

/// What a worker relies on, each of it looked at as a worker uses it. `run` starts after this look, `check-config` is no
/// more than it, and `doctor` adds its advice to it: so the three agree.
pub(super) struct Look {
    pub(super) providers: Checked<Providers>,
    pub(super) queue: Checked<Queue>,
    /// `None`: no BullMQ queue is taken over.
    pub(super) bullmq: Option<Checked<BullmqQueue>>,
    pub(super) db: Checked<Db>,
    pub(super) storage: Checked<Storage>,
}

/// The same, all of it fit for use.
pub(super) struct Services {
    providers: Providers,
    pub(super) queue: Queue,
    pub(super) bullmq: Option<BullmqQueue>,
    pub(super) db: Db,
    pub(super) storage: Storage,
}

/// Looks at all of it at once. Asks no image provider.
///
/// # Errors
/// When a provider's settings cannot be used at all.
pub(super) async fn look(config: &Config, lacking: Lacking) -> anyhow::Result<Look> {
    let providers = providers::check(&config.providers, &config.worker.attempts.budgets)?;
    let names = names_of_pictures(&config.storage);
    let bullmq = async {
        match config.bullmq.clone() {
            Some(settings) => Some(BullmqQueue::check(settings).await),
            None => None,
        }
    };
    let (queue, bullmq, db, storage) = tokio::join!(
        Queue::check(&config.queue),
        bullmq,
        db::check(&config.db, lacking, &names),
        Storage::check(config.storage.clone())
    );
    let mut queue = queue;
    if let (Some(joined), Some(db)) = (&queue.service, &db.service)
        // What cannot be read is told elsewhere, or not made yet.
        && let Ok(database) = db.database_id().await
        && let Ok(Some(stranger)) = joined.replica_elsewhere(database).await
    {
        queue.findings.fail(format!(
            "{stranger} works on the queue {} with another database, and would refuse packages of jobs that only this one knows, as \
             this one would its own: give both the same DATABASE_URL, or this one a QUEUE_NAME of its own; a replica that is \
             gone is forgotten within three of its PING_INTERVAL",
            config.queue.name
        ));
    }
    Ok(Look {
        providers,
        queue,
        bullmq,
        db,
        storage,
    })
}

/// What rows of `images` are to hold.
fn names_of_pictures(storage: &StorageSettings) -> PictureNames {
    let Some((bucket, [url, longest_url])) = storage.example_names() else {
        return PictureNames::default();
    };
    PictureNames {
        url,
        longest_url,
        bucket,
    }
}

impl Look {
    /// All of it together; `findings` is what is known from before the look.
    pub(super) fn join(self, mut findings: Findings) -> Checked<Services> {
        let Self {
            providers,
            queue,
            bullmq,
            db,
            storage,
        } = self;
        let bullmq = bullmq.map(|checked| (checked.findings, checked.service));
        let (of_bullmq, bullmq) = bullmq.unwrap_or_default();
        for found in [
            queue.findings,
            of_bullmq,
            db.findings,
            storage.findings,
            providers.findings,
        ] {
            findings.extend(found);
        }
        let all = (providers.service, queue.service, db.service, storage.service);
        let service = match all {
            (Some(providers), Some(queue), Some(db), Some(storage)) if !findings.has_failures() => {
                Some(Services {
                    providers,
                    queue,
                    bullmq,
                    db,
                    storage,
                })
            }
            _ => None,
        };
        Checked { findings, service }
    }
}

/// Reaches Postgres, for commands that change nothing of its tables.
///
/// # Errors
/// When it cannot be reached, or lacks what this version knows.
pub(super) async fn reach_migrated(settings: &DbSettings) -> anyhow::Result<Db> {
    let pending = db::pending(settings).await?;
    if !pending.is_empty() {
        return Err(UnfitDatabase::Lacks(pending).into());
    }
    Db::new(settings)
}

/// What the operators' page is made from.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn sources(config: &Config, services: &Services) -> anyhow::Result<Sources> {
    let is_ready = |provider: &&Arc<dyn ImageProvider>| provider.check(&ImageSpec::default()).is_ok();
    let ready = services.providers.iter().filter(is_ready);
    Ok(Sources {
        redis: services.queue.redis().clone(),
        db: services.db.clone(),
        storage: services.storage.clone(),
        lease_ttl: config.queue.lease_ttl,
        budgets: config.worker.attempts.budgets.clone(),
        receivers: config
            .notify
            .as_ref()
            .map(|notify| notify.receivers.clone())
            .unwrap_or_default(),
        configured: ready.map(|provider| provider.name()).collect(),
        namespace: services.db.key_namespace().await.context("DATABASE_URL")?,
    })
}

/// Joins the services to a worker.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn assemble(config: &Config, services: Services) -> anyhow::Result<Worker> {
    let Services {
        providers,
        queue,
        db,
        storage,
        ..
    } = services;
    let database = db.database_id().await.context("DATABASE_URL")?;
    let remover = Remover::new(storage.clone(), config.cloudflare.as_ref())?;
    let settings = PipelineSettings {
        providers,
        storage,
        key_namespace: db.key_namespace().await.context("DATABASE_URL")?,
        keeps_originals: config.keeps_originals,
        suffixes: config.suffixes.clone(),
        downloads: Downloads::new(config.providers.allow_private_result_urls)?,
    };
    let router = Router::new(Pipeline::new(settings));
    let notifier = config.notify.clone().map(Notifier::new).transpose()?;
    Ok(Worker::new(
        config.worker.clone(),
        queue,
        db,
        database,
        router,
        remover,
        notifier,
    ))
}
