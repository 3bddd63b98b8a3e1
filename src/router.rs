//! Which generator makes what a package asks for: one `match` on the work type and the image type.

use std::sync::Arc;

use crate::failure::{ErrorClass, Failure};
use crate::generator::{CollectionImage, Icon, ImageGenerator, Studio};
use crate::provider::Unsupported;
use crate::provider::models::Model;
use crate::work_package::{ImageType, ImageWork, Work};

/// The generators of a replica.
pub struct Router {
    icon: Icon,
    collection_image: CollectionImage,
}

impl Router {
    /// Generators that share one studio.
    #[must_use]
    pub fn new(studio: Studio) -> Self {
        let studio = Arc::new(studio);
        Self {
            icon: Icon(studio.clone()),
            collection_image: CollectionImage(studio),
        }
    }

    /// Names of all providers.
    pub fn provider_names(&self) -> impl Iterator<Item = &'static str> {
        self.icon.0.provider_names()
    }

    /// Models of the providers that are configured.
    pub fn models(&self) -> impl Iterator<Item = &'static Model> {
        self.icon.0.models()
    }

    /// Tells a provider, by its name, that nobody wants the picture of the call that it knows as `handle`. Best
    /// effort, and within 5 s; `false` when it was not told by then.
    ///
    /// # Errors
    /// [`Unsupported`] for a provider that this version does not know.
    pub async fn cancel_call(&self, provider: &str, handle: &str) -> Result<bool, Unsupported> {
        self.icon.0.cancel_call(provider, handle).await
    }

    /// What a provider knows a call of a job by whose handle is in no ledger, where it takes ids from its caller. The
    /// calls of a job are counted from 1; those that cost nothing are all 0.
    #[must_use]
    pub fn handle_of(&self, provider: &str, job_id: i32, call_no: i32) -> Option<String> {
        self.icon.0.handle_of(provider, job_id, call_no)
    }

    /// The generator for this work, and the work as that generator takes it.
    ///
    /// # Errors
    /// `ErrorClass::InvalidPackage` (not retried) for a type that this version does not know.
    pub fn route<'a>(&self, work: &'a Work) -> Result<(&dyn ImageGenerator, &'a ImageWork), Failure> {
        match work {
            Work::CollectionImage(work) => match work.image_type {
                ImageType::Icon => Ok((&self.icon, work)),
                ImageType::Collection => Ok((&self.collection_image, work)),
            },
            Work::Unknown(name) => {
                let name: String = name.chars().take(80).collect();
                Err(Failure::new(
                    ErrorClass::InvalidPackage,
                    format!("Unknown type for workPackage: {name}; this version knows collection-image"),
                ))
            }
        }
    }
}
