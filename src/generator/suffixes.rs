//! What follows every prompt.

use crate::work_package::ImageType;

/// What is wanted of every picture, for providers that read instructions. Empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptSuffixes {
    /// `PROMPT_SUFFIX_ICON`.
    pub icon: String,
    /// `PROMPT_SUFFIX_IMAGE`.
    pub image: String,
}

impl PromptSuffixes {
    pub(super) fn of(&self, image_type: ImageType) -> &str {
        match image_type {
            ImageType::Icon => &self.icon,
            ImageType::Collection => &self.image,
        }
    }
}
