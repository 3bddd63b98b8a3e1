//! The table of models: what each offers, what it costs, and until when it answers.
//!
//! Model ids die quickly, so they are data (`models.json`) rather than code. Owns looking a request up in
//! that table and pricing an answer's token counts; what goes on the wire is each provider's business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{LazyLock, OnceLock};

use chrono::{NaiveDate, TimeDelta};
use serde::Deserialize;

use crate::provider::ReferenceRules;
use crate::work_package::{Background, Complexity, Moderation, OutputFormat, any_of};

mod check;
mod fit;
mod limits;
mod options;
pub(in crate::provider) mod pixels;
mod price;
mod references;
mod refusal;
#[cfg(test)]
mod tests;

pub use check::check;
pub(in crate::provider) use check::check_for;
pub(in crate::provider) use limits::pixels_of;
pub use limits::{check_prompt, check_seed, split_resolution};
pub use options::{Choices, check_options};
pub use price::{TokenPrices, cost_usd};
pub(in crate::provider) use price::{cost, estimate_usd, listed, reported};
pub use references::MAX_REFERENCE_BYTES;
pub(in crate::provider) use refusal::{not_configured, refused, repeated};

static TABLE: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let table = parse(include_str!("catalog/models.json"))
        .expect("models.json is part of this program and a test reads it");
    merged(table, OWN.get().cloned().unwrap_or_default())
});
/// An operator's own models.
static OWN: OnceLock<Vec<Model>> = OnceLock::new();

/// So long before a model ends people are told.
pub const NOTICE: TimeDelta = TimeDelta::days(60);

/// Reads a table of models.
///
/// # Errors
/// What is wrong, and where.
pub fn parse(json: &str) -> Result<Vec<Model>, String> {
    let table: Vec<Model> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    table.iter().try_for_each(fit::check)?;
    Ok(table)
}

/// Adds an operator's own models to the table, once per process and before anybody looks a model up.
pub fn install(own: Vec<Model>) {
    let _ = OWN.set(own);
}

/// `own` models take the place of those with the same provider and id; a default of its own is the only one.
fn merged(mut table: Vec<Model>, own: Vec<Model>) -> Vec<Model> {
    for model in own {
        if model.is_default {
            for other in table.iter_mut().filter(|other| other.provider == model.provider) {
                other.is_default = false;
            }
        }
        let same = |other: &&mut Model| other.provider == model.provider && other.id == model.id;
        match table.iter_mut().find(same) {
            Some(other) => *other = model,
            None => table.push(model),
        }
    }
    table
}

/// One model of one provider.
///
/// Source: OpenAI API reference, "Create image", and the pages "Deprecations" and "Pricing"; Replicate, model pages
/// of black-forest-labs; Black Forest Labs, API reference and "Pricing"; fal, model pages; Gemini API and Vertex AI,
/// pages of models and "Pricing"; all as of 2026-11.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name of the provider, as packages write it.
    pub provider: String,
    /// Id as it goes on the wire.
    pub id: String,
    /// Other ids of the same model: dated snapshots, mostly.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Whether it stands for every model of its provider that is not in the table.
    #[serde(default)]
    pub is_any_other: bool,
    /// Whether requests that name no model get this one. One per provider.
    #[serde(default)]
    pub is_default: bool,
    /// First day (UTC) on which the model does not answer any more; `None` = no end announced.
    pub ends_on: Option<NaiveDate>,
    /// Which model to use instead of one that ends. One without an end is deprecated: its service advises against it.
    pub successor: Option<String>,
    /// Sizes that the model draws.
    pub sizes: Sizes,
    /// Sizes to ask for where the request names none.
    pub default_size: DefaultSize,
    /// Words that the model takes as quality; none where it has no such choice.
    #[serde(default)]
    pub qualities: Vec<String>,
    /// Quality to ask for where the request names none.
    pub default_quality: Option<String>,
    /// Whether the same seed and prompt give the same picture.
    #[serde(default)]
    pub has_seeds: bool,
    /// Longest prompt, in characters.
    pub prompt_max_chars: usize,
    /// Longest text of what is not to be seen, in characters; `None` where it cannot be told that.
    pub negative_prompt_max_chars: Option<usize>,
    /// Pictures that a picture can be made from; `None` where it takes none.
    pub references: Option<ReferenceRules>,
    /// Backgrounds that can be asked for; none where the model chooses.
    #[serde(default)]
    pub backgrounds: Vec<Background>,
    /// Levels of moderation that can be asked for besides the service's own.
    #[serde(default)]
    pub moderations: Vec<Moderation>,
    /// Amounts of thought that can be asked for.
    #[serde(default)]
    pub complexities: Vec<Complexity>,
    /// File formats that can be asked for; none where the service chooses.
    pub formats: Vec<OutputFormat>,
    /// `None` where no price per token has been published.
    pub usd_per_million_tokens: Option<TokenPrices>,
    /// Price of a picture at the default size, for an estimate where the service reports nothing.
    pub usd_per_image: Option<f64>,
    /// The same by quality, for models whose price depends on it, at the dearest of the usual sizes: what is to be taken from a
    /// budget before the price is known.
    #[serde(default)]
    pub usd_per_quality: BTreeMap<String, f64>,
}

impl Model {
    /// Days from `today` (UTC) until the model ends, once it is in its last [`NOTICE`]; below 0 after its end.
    #[must_use]
    pub fn ends_in_days(&self, today: NaiveDate) -> Option<i64> {
        let left = self.ends_on? - today;
        (left <= NOTICE).then(|| left.num_days())
    }

    /// What can be asked of it besides size and quality.
    #[must_use]
    pub fn choices(&'static self) -> Choices<'static> {
        Choices {
            negative_prompt_max_chars: self.negative_prompt_max_chars,
            references: self.references.as_ref(),
            backgrounds: &self.backgrounds,
            moderations: &self.moderations,
            complexities: &self.complexities,
            formats: &self.formats,
        }
    }

    /// Whether the model still answers and is in its last [`NOTICE`].
    #[must_use]
    pub fn ends_soon(&self, today: NaiveDate) -> bool {
        !self.has_ended(today) && self.ends_in_days(today).is_some()
    }

    /// `ends on 2026-12-01; use … instead`; empty where no end is known.
    #[must_use]
    pub fn end_in_words(&self) -> String {
        match (self.ends_on, &self.successor) {
            (None, _) => String::new(),
            (Some(ends_on), Some(successor)) => format!("ends on {ends_on}; use {successor} instead"),
            (Some(ends_on), None) => format!("ends on {ends_on}"),
        }
    }

    /// Whether the model has stopped answering by `today` (UTC).
    #[must_use]
    pub fn has_ended(&self, today: NaiveDate) -> bool {
        self.ends_on.is_some_and(|ends_on| ends_on <= today)
    }
}

/// Sizes to ask for where the request names none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultSize {
    /// For icons.
    pub icon: String,
    /// For everything else.
    pub otherwise: String,
}

/// The sizes that a model draws: those listed, and those within the free rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// `WIDTHxHEIGHT`, or words such as `auto`.
    #[serde(default)]
    pub listed: Vec<String>,
    /// Ratios such as `16:9`, for models that are asked for a shape instead of pixels. A size in pixels becomes
    /// the nearest of them.
    #[serde(default)]
    pub ratios: Vec<String>,
    /// Resolutions that can stand behind a ratio (`16:9@2K`), the smallest first. A size in pixels gets one too.
    #[serde(default)]
    pub resolutions: Vec<String>,
    /// Absent where only listed sizes are drawn.
    pub free: Option<FreeSizes>,
}

/// Any `WIDTHxHEIGHT` within these bounds, which all count as inside.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeSizes {
    /// Divides both edges.
    pub multiple_of: u32,
    /// Longest edge in pixels.
    pub max_edge_px: u32,
    /// Longer edge divided by the shorter one.
    pub max_ratio: u32,
    /// Fewest pixels.
    pub min_pixels: u64,
    /// Most pixels.
    pub max_pixels: u64,
}

impl Sizes {
    /// The size as it goes on the wire, or `None` where the model does not draw it.
    #[must_use]
    pub fn accept(&self, size: &str) -> Option<String> {
        if self.listed.iter().chain(&self.ratios).any(|known| known == size) {
            return Some(size.to_owned());
        }
        if let (ratio, Some(resolution)) = split_resolution(size) {
            let is_known = |known: &[String], word: &str| known.iter().any(|known| known == word);
            return (is_known(&self.ratios, ratio) && is_known(&self.resolutions, resolution))
                .then(|| size.to_owned());
        }
        let (width_px, height_px) = pixels::sides(size)?;
        if !self.ratios.is_empty() {
            let ratio = nearest_ratio(&self.ratios, width_px, height_px)?;
            return match limits::resolution_for(&self.resolutions, width_px, height_px) {
                Some(resolution) => Some(format!("{ratio}@{resolution}")),
                None => Some(ratio),
            };
        }
        // Written anew: "01024x1024" is a size, but a service may not think so.
        self.free?
            .allows(width_px, height_px)
            .then(|| format!("{width_px}x{height_px}"))
    }
}

impl FreeSizes {
    fn allows(&self, width_px: u32, height_px: u32) -> bool {
        let longer = width_px.max(height_px);
        let shorter = width_px.min(height_px);
        let pixels = u64::from(width_px) * u64::from(height_px);
        shorter > 0
            && width_px.is_multiple_of(self.multiple_of)
            && height_px.is_multiple_of(self.multiple_of)
            && longer <= self.max_edge_px
            && u64::from(longer) <= u64::from(shorter) * u64::from(self.max_ratio)
            && (self.min_pixels..=self.max_pixels).contains(&pixels)
    }
}

impl fmt::Display for Sizes {
    /// What would be right, for the sentence about what was wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&String> = self.listed.iter().chain(&self.ratios).collect();
        f.write_str(&any_of(&words))?;
        if !self.resolutions.is_empty() {
            write!(
                f,
                ", each with or without a resolution behind it, such as {}@{}",
                self.ratios[0],
                any_of(&self.resolutions)
            )?;
        }
        if !self.ratios.is_empty() {
            f.write_str(", or WIDTHxHEIGHT in pixels, which becomes the nearest of these")?;
        }
        if let Some(free) = self.free {
            write!(
                f,
                " or WIDTHxHEIGHT with both edges multiples of {}, at most {} pixels long and at most {}:1 \
                 apart, and {} to {} pixels in all",
                free.multiple_of, free.max_edge_px, free.max_ratio, free.min_pixels, free.max_pixels
            )?;
        }
        Ok(())
    }
}

/// The ratio whose shape is closest to these edges, neither of which is 0. Narrow and wide count alike.
fn nearest_ratio(ratios: &[String], width_px: u32, height_px: u32) -> Option<String> {
    if width_px == 0 || height_px == 0 {
        return None;
    }
    let wanted = (f64::from(width_px) / f64::from(height_px)).ln();
    let distance = |ratio: &str| {
        let (width, height) = ratio.split_once(':')?;
        let (width, height): (f64, f64) = (width.parse().ok()?, height.parse().ok()?);
        Some(((width / height).ln() - wanted).abs())
    };
    ratios
        .iter()
        .filter_map(|ratio| Some((distance(ratio)?, ratio)))
        .min_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, ratio)| ratio.clone())
}

/// The model of `provider` that `id` names, ended or not; or the entry for all that are not in the table, where its service
/// has so many that no table has them all.
#[must_use]
pub fn find(provider: &str, id: &str) -> Option<&'static Model> {
    let is_named = |model: &&Model| model.id == id || model.aliases.iter().any(|alias| alias == id);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    let may_be = |other: &&Model| {
        let is_of_its_kind = id.contains('/') == other.id.contains('/');
        other.is_any_other && is_of_its_kind && id.len() <= 200 && id.bytes().all(is_plain)
    };
    all(provider)
        .find(is_named)
        .or_else(|| all(provider).find(may_be))
}

/// The id of a model as metrics show it: `other` where it is not in the table, as packages may name any.
#[must_use]
pub fn label(provider: &str, id: &str) -> &'static str {
    let known = find(provider, id).filter(|model| !model.is_any_other);
    known.map_or("other", |model| &model.id)
}

/// All models of `provider`, the recommended ones first.
pub fn all(provider: &str) -> impl Iterator<Item = &'static Model> {
    TABLE.iter().filter(move |model| model.provider == provider)
}
