//! Choices of a few words each. Whether a model has the choice is asked later, of the provider.

use serde::Deserialize;

/// What a package asks of a picture besides its model, size and quality. `None` = the service's own choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// What is behind what is drawn.
    pub background: Option<Background>,
    /// How strict the service is about what it draws.
    pub moderation: Option<Moderation>,
    /// How much thought the service spends before it draws.
    pub complexity: Option<Complexity>,
    /// The format of the file that is delivered.
    pub output_format: Option<OutputFormat>,
}

/// A choice from a few words.
pub trait Word: Copy + PartialEq + 'static {
    /// All of them.
    const ALL: &'static [Self];
    /// Whether `auto` may be written too, which asks for nothing.
    const HAS_AUTO: bool;

    /// The word, as packages and services write it.
    fn as_str(self) -> &'static str;
}

/// What is behind what is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Background {
    /// Nothing: the page shows through.
    Transparent,
    /// Something, everywhere.
    Opaque,
}

impl Word for Background {
    const ALL: &'static [Self] = &[Self::Transparent, Self::Opaque];
    const HAS_AUTO: bool = true;

    fn as_str(self) -> &'static str {
        match self {
            Self::Transparent => "transparent",
            Self::Opaque => "opaque",
        }
    }
}

/// How strict the service is about what it draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moderation {
    /// Less than it is by itself.
    Low,
}

impl Word for Moderation {
    const ALL: &'static [Self] = &[Self::Low];
    const HAS_AUTO: bool = true;

    fn as_str(self) -> &'static str {
        "low"
    }
}

/// How much thought the service spends before it draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Complexity {
    /// For what is plain.
    Low,
    /// In between.
    Medium,
    /// For scenes of many parts, and texts.
    High,
}

impl Word for Complexity {
    const ALL: &'static [Self] = &[Self::Low, Self::Medium, Self::High];
    const HAS_AUTO: bool = true;

    fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Portable Network Graphics.
    Png,
    /// JPEG, which has no transparency.
    #[serde(alias = "jpg")]
    Jpeg,
    /// WebP.
    Webp,
}

impl OutputFormat {
    /// The media type, as some services want it.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

impl Word for OutputFormat {
    const ALL: &'static [Self] = &[Self::Png, Self::Jpeg, Self::Webp];
    const HAS_AUTO: bool = false;

    fn as_str(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
        }
    }
}

/// All words that may be written, `auto` last.
pub(super) fn words<W: Word>() -> Vec<&'static str> {
    let all = W::ALL.iter().map(|word| word.as_str());
    all.chain(W::HAS_AUTO.then_some("auto")).collect()
}
