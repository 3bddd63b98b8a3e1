//! What tests of the generators need.

use std::sync::Arc;

use uuid::Uuid;

use super::{Pipeline, PipelineSettings, PromptSuffixes};
use crate::http_client::Downloads;
use crate::provider::ImageProvider;
use crate::provider::list::Providers;
use crate::storage::{Storage, StorageSettings};
use crate::work_package::{ImageOptions, ImageType, ImageWork, Prompt};

/// An icon, by whichever provider.
pub(super) fn work() -> ImageWork {
    ImageWork {
        prompt: Prompt::new("A lighthouse".into()),
        image_type: ImageType::Icon,
        user_id: None,
        collection_type: "group".into(),
        collection_id: "7".into(),
        provider: None,
        model: None,
        size: None,
        quality: None,
        seed: None,
        negative_prompt: None,
        references: Vec::new(),
        options: ImageOptions::default(),
    }
}

/// A pipeline with these providers, of which `default` is meant where a package names none.
pub(super) async fn pipeline_of(
    all: Vec<Arc<dyn ImageProvider>>,
    default: &str,
    fallbacks: &[&str],
) -> Pipeline {
    crate::http_client::install_tls();
    let storage = StorageSettings {
        url: Some("memory://".into()),
        ..StorageSettings::default()
    };
    let fallbacks = fallbacks.iter().map(|name| (*name).to_owned()).collect();
    let settings = PipelineSettings {
        providers: Providers::new(all, default, fallbacks),
        storage: Storage::open(storage).await.unwrap(),
        downloads: Downloads::new(false).unwrap(),
        key_namespace: Uuid::nil(),
        keeps_originals: false,
        suffixes: PromptSuffixes::default(),
    };
    Pipeline::new(settings)
}
