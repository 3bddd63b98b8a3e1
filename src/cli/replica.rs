//! Where everything is built and joined: from a configuration to a worker that is ready to run.

use std::sync::Arc;

use anyhow::Context;

use super::exit::{Misconfigured, Several};
use crate::config::Config;
use crate::db::{self, Db};
use crate::failure::ErrorClass;
use crate::generator::{Studio, StudioSettings};
use crate::http_client::Downloads;
use crate::provider::bfl::Bfl;
use crate::provider::blank::Blank;
use crate::provider::builtin::Builtin;
use crate::provider::fal::Fal;
use crate::provider::gemini::Gemini;
use crate::provider::imagen::Imagen;
use crate::provider::openai::OpenAi;
use crate::provider::replicate::Replicate;
use crate::provider::stability::Stability;
use crate::provider::traffic::Traffic;
use crate::provider::{ImageProvider, ImageSpec, Providers};
use crate::provider::automatic1111::Automatic1111;
use crate::provider::azure_openai::AzureOpenAi;
use crate::provider::blank::Blank;
use crate::provider::builtin::Builtin;
use crate::provider::comfyui::ComfyUi;
use crate::provider::openai::OpenAi;
use crate::provider::openai_compatible::OpenAiCompatible;
use crate::provider::{ImageProvider, Providers};
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
    let pending = db::pending(&config.db).await?;
    if let Some(first) = pending.first() {
        let count = pending.len();
        return Err(Misconfigured(format!(
            "DATABASE_URL: the database lacks {count} migration(s), from {first} on; run generative-ai-worker migrate"
        ))
        .into());
    }
    Db::new(&config.db)
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
    let openai = OpenAi::new(config.openai.clone()).context("openai")?;
    let downloads = Downloads::new(config.allow_private_result_urls)?;
    let all: Vec<Arc<dyn ImageProvider>> = vec![
        Arc::new(openai),
        Arc::new(Replicate::new(config.replicate.clone(), downloads.clone()).context("flux")?),
        Arc::new(Imagen::new(config.imagen.clone()).context("imagen")?),
        Arc::new(Gemini::new(config.gemini.clone()).context("gemini")?),
        Arc::new(Bfl::new(config.bfl.clone(), downloads.clone()).context("bfl")?),
        Arc::new(Stability::new(config.stability.clone()).context("stability")?),
        Arc::new(Fal::new(config.fal.clone(), downloads).context("fal")?),
        Arc::new(Builtin),
        Arc::new(Blank),
    ];
    let default = all
        .iter()
        .find(|provider| provider.name() == config.default_provider);
    let refusal = default.and_then(|default| default.check(&ImageSpec::default()).err());
    if let Some(refusal) = refusal.filter(|refusal| refusal.class == ErrorClass::Auth) {
    let azure = AzureOpenAi::new(config.azure_openai.clone(), downloads.clone()).context("azureOpenai")?;
    let compatible = OpenAiCompatible::new(config.openai_compatible.clone(), downloads.clone())
        .context("openaiCompatible")?;
    let automatic1111 = Automatic1111::new(&config.automatic1111).context("automatic1111")?;
    let comfyui = ComfyUi::new(&config.comfyui).context("comfyui")?;
    let all: Vec<Arc<dyn ImageProvider>> = vec![
        Arc::new(openai),
        Arc::new(azure),
        Arc::new(compatible),
        Arc::new(automatic1111),
        Arc::new(comfyui),
        Arc::new(Builtin),
        Arc::new(Blank),
    ];
    if config.default_provider == "openai" && config.openai.api_key.is_none() {
        tracing::warn!(
            "packages that name no imageProvider will fail, since IMAGE_PROVIDER is {}: {refusal}",
            config.default_provider
        );
    }
    let (traffic, pauses) = Traffic::new();
    let settings = StudioSettings {
        providers: Providers::new(all, &config.default_provider, config.fallback_providers.clone()),
        storage,
        key_namespace: db.key_namespace().await.context("DATABASE_URL")?,
        keeps_originals: config.keeps_originals,
    };
    let router = Router::new(Studio::new(settings, traffic));
    Ok(Worker::new(config.worker.clone(), queue, db, router, pauses))
}
