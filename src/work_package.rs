//! The JSON that producers push, parsed and validated before anything is spent. No I/O.
//!
//! Owns the fields, their limits and every reason to refuse a package. Whether a provider offers what is
//! asked for is the provider's own question, asked later and also for free.

mod callback;
mod deletion;
mod fields;
mod job_number;
mod near_misses;
mod options;
mod profile;
mod prompts;
mod reader;
mod references;
mod schema;

use std::fmt;

use crate::trace::TraceParent;
pub use callback::{CallbackOrigins, CallbackUrl};
use chrono::{DateTime, Utc};
pub use deletion::DeletionWork;
use fields::Fields;
pub(crate) use fields::any_of;
pub use job_number::find as job_of;
pub use near_misses::NearMiss;
pub use options::{Background, Complexity, ImageOptions, Moderation, OutputFormat, Word};
pub use prompts::without_prompts;
pub use references::{MAX_REFERENCE_IMAGES, OBJECT_ROOT, ReferenceImage};
pub use schema::json_schema;

/// Every field that is read, in the order of the manual.
pub const FIELDS: [&str; 27] = [
    "type",
    "jobId",
    "prompt",
    "imageType",
    "collectionType",
    "collectionId",
    "userId",
    "imageProvider",
    "imageModel",
    "imageSize",
    "imageQuality",
    "imageGenerationProfile",
    "generationContext",
    "seed",
    "negativePrompt",
    "referenceImages",
    "background",
    "moderation",
    "complexity",
    "outputFormat",
    "imageId",
    "imageUrl",
    "notBefore",
    "deadline",
    "replyTo",
    "callbackUrl",
    "traceparent",
];

/// Longest prompt, in characters (not bytes).
pub const MAX_PROMPT_CHARS: usize = 32_000;

/// What a package may be at the most; made by `config`.
#[derive(Clone, Debug)]
pub struct PackageLimits {
    /// Largest package, in bytes (`MAX_PACKAGE_BYTES`).
    pub max_bytes: usize,
    /// What `replyTo` has to start with (`QUEUE_REPLY_PREFIX`).
    pub reply_prefix: String,
    /// What `callbackUrl` may be of (`CALLBACK_HOSTS`).
    pub callback_origins: CallbackOrigins,
}

/// One valid work package.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkPackage {
    /// Row of `ac_background_jobs`.
    pub job_id: i32,
    /// What is to be done.
    pub work: Work,
    /// Not to be started before this time.
    pub not_before: Option<DateTime<Utc>>,
    /// Not to be started after this time.
    pub deadline: Option<DateTime<Utc>>,
    /// Redis list that gets the final event.
    pub reply_to: Option<String>,
    /// Where the final event is posted to.
    pub callback_url: Option<CallbackUrl>,
    /// W3C trace context of the producer, where it sent a valid one.
    pub traceparent: Option<TraceParent>,
    /// Fields that nobody reads, and that look like ones that are.
    pub near_misses: Vec<NearMiss>,
}

/// The work of a package, by its `type`.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// `collection-image`: a picture for a group, community, domain or the like.
    CollectionImage(Box<ImageWork>),
    /// `delete-image`: a picture that this service has made is to go, with all that is kept of it.
    DeleteImage(DeletionWork),
    /// A type that this version does not know. A value, not a parse error, so that the router alone decides.
    Unknown(String),
}

impl Work {
    /// The type as producers write it.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match self {
            Self::CollectionImage(_) => COLLECTION_IMAGE,
            Self::DeleteImage(_) => DELETE_IMAGE,
            Self::Unknown(name) => name,
        }
    }

    /// Whether a picture is to be made.
    #[must_use]
    pub fn draws(&self) -> bool {
        matches!(self, Self::CollectionImage(_))
    }
}

/// `type` of the packages that ask for a picture.
pub const COLLECTION_IMAGE: &str = "collection-image";

/// `type` of the packages that ask for a picture to be deleted.
pub const DELETE_IMAGE: &str = "delete-image";

/// Every `type` that this version knows.
pub const WORK_TYPES: [&str; 2] = [COLLECTION_IMAGE, DELETE_IMAGE];

/// What a person asked to have drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageWork {
    /// What to draw.
    pub prompt: Prompt,
    /// What it is for.
    pub image_type: ImageType,
    /// Owner of the image row.
    pub user_id: Option<i32>,
    /// `group`, `community`, `domain`, …; part of the object key.
    pub collection_type: String,
    /// Part of the object key.
    pub collection_id: String,
    /// Which provider is to draw; `None` = `IMAGE_PROVIDER`.
    pub provider: Option<String>,
    /// The provider's model; `None` = its default.
    pub model: Option<String>,
    /// The provider's size; `None` = its default.
    pub size: Option<String>,
    /// The provider's quality; `None` = its default.
    pub quality: Option<String>,
    /// For providers that have seeds.
    pub seed: Option<i64>,
    /// What is not to be seen, for models that can be told.
    pub negative_prompt: Option<Prompt>,
    /// What it is to be made from, for models that take pictures.
    pub references: Vec<ReferenceImage>,
    /// What else is asked of the picture.
    pub options: ImageOptions,
}

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

    /// The prompt, and behind it what is wanted of every picture, unless both together would be refused for their length.
    #[must_use]
    pub fn followed_by(&self, suffix: &str) -> Self {
        let text = format!("{}\n\n{suffix}", self.0);
        if suffix.is_empty() || text.chars().count() > MAX_PROMPT_CHARS {
            self.clone()
        } else {
            Self(text)
        }
    }
}

impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prompt({} characters)", self.0.chars().count())
    }
}

/// Why a package is refused: never retried, never lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// The job to tell, where the package let one be read.
    pub job_id: Option<i32>,
    /// Who gets the final event, where the package let that be read and it is allowed.
    pub reply_to: Option<String>,
    /// Where the final event is posted to, on the same terms.
    pub callback_url: Option<CallbackUrl>,
    /// Names each field that is wrong, what was found and what is accepted.
    pub message: String,
    /// Fields that nobody reads, and that look like ones that are.
    pub near_misses: Vec<NearMiss>,
}

impl WorkPackage {
    /// Reads one package as it was pushed.
    ///
    /// # Errors
    /// [`Rejection`]: for its size, its encoding or its JSON; else for every field that is wrong, in the order of the manual.
    pub fn parse(raw: &[u8], limits: &PackageLimits) -> Result<Self, Rejection> {
        if raw.len() > limits.max_bytes {
            return Err(Rejection {
                job_id: job_number::find(raw),
                reply_to: None,
                callback_url: None,
                message: format!(
                    "The package has {} bytes; at most {} are accepted (MAX_PACKAGE_BYTES)",
                    raw.len(),
                    limits.max_bytes
                ),
                near_misses: Vec::new(),
            });
        }
        let object = reader::read(raw).map_err(|message| Rejection {
            job_id: job_number::find(raw),
            reply_to: None,
            callback_url: None,
            message,
            near_misses: Vec::new(),
        })?;
        let mut fields = Fields::new(&object);
        let package = Self::from_fields(&mut fields, limits);
        match fields.all_faults() {
            None => Ok(package),
            Some(message) => Err(Rejection {
                job_id: fields::job_id_of(&object).or_else(|| job_number::find(raw)),
                reply_to: package.reply_to,
                callback_url: package.callback_url,
                message,
                near_misses: package.near_misses,
            }),
        }
    }

    /// Whether both ask for the same, whoever is told of it: `replyTo`, `callbackUrl` and `traceparent` may differ, and so may fields
    /// that nobody reads.
    #[must_use]
    pub fn asks_for_the_same_as(&self, other: &Self) -> bool {
        let Self {
            job_id,
            work,
            not_before,
            deadline,
            reply_to: _,
            callback_url: _,
            traceparent: _,
            near_misses: _,
        } = self;
        *job_id == other.job_id
            && *work == other.work
            && *not_before == other.not_before
            && *deadline == other.deadline
    }

    /// What is wrong is noted in `fields`, and left out.
    fn from_fields(fields: &mut Fields<'_>, limits: &PackageLimits) -> Self {
        let type_name =
            fields.note(|fields| fields.required_text("type", "a text such as \"collection-image\""));
        let job_id = fields.note(|fields| fields.required_row_id("jobId"));
        let work = match type_name.as_str() {
            // Without a type, what else is wrong is found as well.
            COLLECTION_IMAGE | "" => Work::CollectionImage(Box::new(ImageWork::from_fields(fields))),
            DELETE_IMAGE => Work::DeleteImage(DeletionWork::from_fields(fields)),
            _ => Work::Unknown(type_name),
        };
        Self {
            job_id,
            work,
            not_before: fields.note(|fields| fields.time("notBefore")),
            deadline: fields.note(|fields| fields.time("deadline")),
            reply_to: fields.note(|fields| fields.reply_to(limits)),
            callback_url: fields.note(|fields| fields.callback_url(limits)),
            traceparent: fields.traceparent(),
            near_misses: fields.near_misses(),
        }
    }
}

impl ImageWork {
    fn from_fields(fields: &mut Fields<'_>) -> Self {
        let prompt = fields.note(|fields| fields.required_prompt().map(Some));
        let image_type_name = fields.note(|fields| fields.text("imageType"));
        let mut work = Self {
            prompt: prompt.unwrap_or_else(|| Prompt::new(String::new())),
            image_type: match image_type_name.as_deref() {
                Some("icon") => ImageType::Icon,
                _ => ImageType::Collection,
            },
            collection_type: fields.note(|fields| fields.required_key_part("collectionType")),
            collection_id: fields.note(|fields| fields.required_key_part_or_number("collectionId")),
            user_id: fields.note(|fields| fields.row_id("userId")),
            provider: fields.note(|fields| fields.text("imageProvider")),
            model: fields.note(|fields| fields.text("imageModel")),
            size: fields.note(|fields| fields.text("imageSize")),
            quality: fields.note(|fields| fields.text("imageQuality")),
            seed: fields.note(|fields| fields.integer("seed")),
            negative_prompt: fields.note(|fields| fields.prompt("negativePrompt")),
            references: fields.references(),
            options: fields.options(),
        };
        let name = fields.note(|fields| fields.text("imageGenerationProfile"));
        let context = fields.note(|fields| fields.text("generationContext"));
        if let Some(name) = name {
            fields.note(|_| profile::apply(&name, context.as_deref(), image_type_name.as_deref(), &mut work));
        }
        work
    }
}

#[cfg(test)]
mod mutated;
#[cfg(test)]
mod tests;
