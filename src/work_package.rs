//! The JSON that producers push, parsed and validated before anything is spent. No I/O.

use std::fmt;

/// What a picture is for. Decides the generator and the default size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageType {
    /// `imageType: "icon"`: delivered at no more than 400 × 400 px.
    Icon,
    /// Everything else (`logo`, `other`, absent): delivered as drawn.
    #[default]
    Collection,
}

/// A person's text. Prints as its length: prompts stay out of logs and error messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Prompt(String);

impl Prompt {
    /// Wraps a text whose length has been checked.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the provider that is to draw it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prompt({} characters)", self.0.chars().count())
    }
}
