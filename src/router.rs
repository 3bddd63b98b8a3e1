//! Which generator makes what a package asks for: one `match` on the image type. The work type is matched before, by the worker.

use std::sync::Arc;

use crate::generator::{CollectionImage, Icon, ImageGenerator, Pipeline};
use crate::work_package::{ImageType, ImageWork};

/// The generators of a replica.
pub struct Router {
    icon: Icon,
    collection_image: CollectionImage,
    pipeline: Arc<Pipeline>,
}

impl Router {
    /// Generators that share one pipeline.
    #[must_use]
    pub fn new(pipeline: Pipeline) -> Self {
        let pipeline = Arc::new(pipeline);
        Self {
            icon: Icon(pipeline.clone()),
            collection_image: CollectionImage(pipeline.clone()),
            pipeline,
        }
    }

    /// Where pictures are made.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The generator for this work.
    #[must_use]
    pub fn generator(&self, work: &ImageWork) -> &dyn ImageGenerator {
        match work.image_type {
            ImageType::Icon => &self.icon,
            ImageType::Collection => &self.collection_image,
        }
    }
}
