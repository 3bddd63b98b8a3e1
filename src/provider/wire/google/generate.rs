//! `generateContent`: one request, one picture, and many ways of answering 200 without one.
//!
//! Source: Gemini API reference, "Generating content"; Gemini API guide, "Image generation"; Vertex AI,
//! "GenerateContentResponse".

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::explain;
use crate::failure::ErrorClass;
use crate::http_client::Answer;
use crate::provider::catalog::{self, Model};
use crate::provider::wire::incident::Incident;
use crate::provider::wire::picture_text::{NotJson, Text, decode, parse};
use crate::provider::{CheckedSpec, Cost, CostBasis, DigitalSource, DrawnImage, ProviderError};
use crate::work_package::Prompt;

/// Why a candidate was ended whose content may not be shown.
const REFUSED: [&str; 8] = [
    "SAFETY",
    "RECITATION",
    "PROHIBITED_CONTENT",
    "BLOCKLIST",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
];

/// The body of a request for one picture. A size is a ratio, with or without `@` and a resolution.
pub(in crate::provider) fn request(prompt: &Prompt, spec: &CheckedSpec) -> Value {
    let mut picture = json!({});
    // "auto": the model chooses.
    if let Some(size) = spec.size.as_deref().filter(|size| *size != "auto") {
        let (ratio, resolution) = catalog::split_resolution(size);
        picture["aspectRatio"] = ratio.into();
        if let Some(resolution) = resolution {
            picture["imageSize"] = resolution.into();
        }
    }
    // Vertex AI alone has this choice.
    if let Some(format) = spec.options.output_format {
        picture["imageOutputOptions"] = json!({"mimeType": format.media_type()});
    }
    // Without the modality the model may answer with a text about the picture.
    let mut config = json!({"responseModalities": ["IMAGE"], "imageConfig": picture});
    if let Some(seed) = spec.seed {
        config["seed"] = seed.into();
    }
    json!({
        "contents": [{"role": "user", "parts": [{"text": prompt.expose()}]}],
        "generationConfig": config,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow, default)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(default)]
    prompt_feedback: Option<Feedback>,
    #[serde(default)]
    usage_metadata: Option<Value>,
    #[serde(default)]
    response_id: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    #[serde(default)]
    block_reason: Option<String>,
    #[serde(default)]
    block_reason_message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    finish_message: Option<String>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    /// Drafts, which are not what was asked for.
    #[serde(default)]
    thought: Option<bool>,
    #[serde(borrow, default)]
    inline_data: Option<Blob<'a>>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    #[serde(default)]
    mime_type: Option<String>,
    #[serde(borrow, default)]
    data: Option<Text<'a>>,
}

/// What a body with a successful status holds.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    Picture {
        bytes: Bytes,
        usage: Option<Value>,
        id: Option<String>,
    },
    /// The body explains an error in spite of its status.
    IsError,
    /// No picture: why, in this program's words, and what the service says about it, to be masked.
    Nothing(ErrorClass, String, String),
}

pub(super) fn read(body: &[u8]) -> Found {
    let nothing = |class, why: &str, said: &str| Found::Nothing(class, why.to_owned(), said.to_owned());
    let body: Body<'_> = match parse(body) {
        Ok(body) => body,
        Err(NotJson::Cut) => {
            let why = "the answer broke off in the middle of its JSON";
            return nothing(ErrorClass::Ambiguous, why, "");
        }
        Err(NotJson::Other(why)) => return nothing(ErrorClass::BadOutput, &why, ""),
    };
    if body.error.is_some() {
        return Found::IsError;
    }
    let candidates = body.candidates.unwrap_or_default();
    let Some(candidate) = candidates.first() else {
        let feedback = body.prompt_feedback.as_ref();
        return match feedback.and_then(|feedback| feedback.block_reason.as_deref()) {
            Some(reason) => {
                let said = feedback.and_then(|feedback| feedback.block_reason_message.as_deref());
                let why = format!("the prompt was blocked, reason {}", word(reason));
                nothing(ErrorClass::Moderation, &why, said.unwrap_or_default())
            }
            None => nothing(ErrorClass::BadOutput, "the answer holds no candidate", ""),
        };
    };
    let parts = || {
        candidates
            .iter()
            .filter_map(|candidate| candidate.content.as_ref()?.parts.as_ref())
            .flatten()
            .filter(|part| part.thought != Some(true))
    };
    let picture = parts()
        .filter_map(|part| part.inline_data.as_ref())
        .find_map(|blob| {
            let is_picture = blob
                .mime_type
                .as_ref()
                .is_none_or(|kind| kind.starts_with("image/"));
            blob.data.as_ref().filter(|_| is_picture)
        });
    if let Some(Text(text)) = picture {
        return match decode(text) {
            Ok(bytes) => Found::Picture {
                bytes,
                usage: body.usage_metadata,
                id: body.response_id,
            },
            Err(why) => nothing(ErrorClass::BadOutput, why, ""),
        };
    }
    let reason = candidate.finish_reason.as_deref().unwrap_or("none");
    let message = candidate.finish_message.as_deref().unwrap_or_default();
    let why = format!("no picture, finish reason {}", word(reason));
    if REFUSED.contains(&reason) {
        return nothing(ErrorClass::Moderation, &why, message);
    }
    // It refused in its own words or asked back: they are all that explains it.
    let texts: Vec<&str> = parts()
        .filter_map(|part| part.text.as_ref().map(|Text(text)| &**text))
        .collect();
    let said = [message, &texts.join(" ")].join(" ");
    nothing(ErrorClass::BadOutput, &why, &said)
}

/// A word of Google's vocabulary: none is longer, and all are written so.
fn word(reason: &str) -> &str {
    let is_word = reason.len() <= 40
        && reason
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if is_word || reason == "none" {
        reason
    } else {
        "unknown"
    }
}

/// Finds the picture in an answer, or why there is none.
pub(in crate::provider) async fn picture_of(
    answer: &Answer,
    model: Option<&Model>,
    incident: &Incident<'_>,
) -> Result<DrawnImage, ProviderError> {
    if !answer.status.is_success() {
        return Err(explain(incident, answer));
    }
    match incident.read(answer, read).await? {
        Found::Picture { bytes, usage, id } => Ok(DrawnImage {
            bytes,
            source: DigitalSource::TrainedModel,
            request_id: id.and_then(|id| incident.id(&id)),
            cost: model.and_then(|model| cost(model, usage.as_ref())),
            usage,
        }),
        Found::IsError => Err(explain(incident, answer)),
        Found::Nothing(class, why, said) => {
            let why = match incident.quoted(&said) {
                empty if empty.is_empty() => why,
                said => format!("{why}: {said:?}"),
            };
            Err(incident.unusable(answer.status, class, &why))
        }
    }
}

/// From the token counts where the model has prices for them, else as listed.
fn cost(model: &Model, usage: Option<&Value>) -> Option<Cost> {
    let computed = usage.and_then(|usage| catalog::cost_usd(model, &counts(usage)));
    let computed = computed.map(|usd| (usd, CostBasis::Computed));
    let estimated = model.usd_per_image.map(|usd| (usd, CostBasis::Estimated));
    computed.or(estimated).map(|(usd, basis)| Cost { usd, basis })
}

/// `usageMetadata` in the shape that prices are computed from. What is said besides the picture, thoughts
/// included, is text.
fn counts(usage: &Value) -> Value {
    let count = |name: &str| usage.get(name).and_then(Value::as_u64);
    let of_pictures = |name: &str| {
        let details = usage.get(name).and_then(Value::as_array)?;
        let pictures = details.iter().filter(|part| part["modality"] == "IMAGE");
        Some(
            pictures
                .filter_map(|part| part["tokenCount"].as_u64())
                .sum::<u64>(),
        )
    };
    let drawn = count("candidatesTokenCount");
    let thought = count("thoughtsTokenCount").unwrap_or(0);
    let words = drawn.zip(of_pictures("candidatesTokensDetails"));
    let words = words.map_or(0, |(drawn, pictures)| drawn.saturating_sub(pictures));
    json!({
        "input_tokens": count("promptTokenCount"),
        "output_tokens": drawn.map(|drawn| drawn.saturating_add(thought)),
        "input_tokens_details": {
            "image_tokens": of_pictures("promptTokensDetails"),
            "cached_tokens": count("cachedContentTokenCount"),
        },
        "output_tokens_details": {"text_tokens": words.saturating_add(thought)},
    })
}
