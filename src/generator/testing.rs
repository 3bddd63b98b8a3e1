//! What tests of the generators need.

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
        options: ImageOptions::default(),
    }
}
