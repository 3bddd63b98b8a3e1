//! `generateContent`: one request, one picture, and many ways of answering 200 without one.
//!
//! Source: Gemini API reference, "Generating content"; Gemini API guide, "Image generation"; Vertex AI,
//! "GenerateContentResponse".

use serde_json::{Value, json};

use super::class_of;
use crate::failure::ErrorClass;
use crate::http_client::Inline;
use crate::provider::catalog::{self, Model};
use crate::provider::wire::body::with;
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::reading::{Dialect, NoPicture};
use crate::provider::{Call, Cost};

/// Why a candidate was ended that says nothing against the prompt. Any other reason is a refusal: those that are new
/// have been, and a prompt that is refused is not paid for a second time.
const ENDED: [&str; 9] = [
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "OTHER",
    "NO_IMAGE",
    "IMAGE_OTHER",
    "MALFORMED_RESPONSE",
    "LANGUAGE",
    "none",
];
/// The account may not have what was asked for.
const LIMITED: &str = "PUP_LIMITED_DISABLED";

/// The body of a request for one picture. A size is a ratio, with or without `@` and a resolution.
pub(in crate::provider) fn request(call: &Call<'_>) -> Value {
    let spec = call.spec;
    // "auto": the model chooses.
    let size = spec.size.as_deref().filter(|size| *size != "auto");
    let shape = size.map(catalog::split_resolution);
    let resolution = shape.and_then(|(_, resolution)| resolution);
    // Vertex AI alone has this choice.
    let format = spec.options.output_format;
    let fields = [
        ("aspectRatio", shape.map(|(ratio, _)| ratio.into())),
        ("imageSize", resolution.map(Value::from)),
        (
            "imageOutputOptions",
            format.map(|format| json!({"mimeType": format.media_type()})),
        ),
    ];
    let picture = with(json!({}), fields);
    // Without the modality the model may answer with a text about the picture.
    let config = json!({"responseModalities": ["IMAGE"], "imageConfig": picture});
    let config = with(config, [("seed", spec.seed.map(Value::from))]);
    let pictures = (0..).zip(call.references.media_types());
    let pictures = pictures
        .map(|(number, kind)| json!({"inlineData": {"mimeType": kind, "data": Inline::Base64(number)}}));
    let text = json!({"text": call.prompt.expose()});
    let parts: Vec<Value> = std::iter::once(text).chain(pictures).collect();
    json!({
        "contents": [{"role": "user", "parts": parts}],
        "generationConfig": config,
    })
}

/// What Google means by its answers.
pub(in crate::provider) const DIALECT: Dialect = Dialect {
    judge: class_of,
    nothing,
    usage: |answer| {
        let names = ["usageMetadata", "usage_metadata"];
        names.iter().find_map(|name| answer.get(*name)).cloned()
    },
    ..Dialect::PLAIN
};

/// Why an answer holds no picture: what the prompt was blocked for, how the candidate was ended, or what the model has
/// said in place of it.
pub(super) fn nothing(answer: &Value) -> Option<NoPicture> {
    let text = |holder: Option<&Value>, names: [&str; 2]| {
        let found = names.iter().find_map(|name| holder?.get(*name)?.as_str());
        found.unwrap_or_default().to_owned()
    };
    // Streams come as a list of answers.
    let answer = answer.get(0).unwrap_or(answer);
    let candidates = answer.get("candidates").and_then(Value::as_array);
    let Some(candidate) = candidates.and_then(|candidates| candidates.first()) else {
        let feedback = answer
            .get("promptFeedback")
            .or_else(|| answer.get("prompt_feedback"));
        let reason = text(feedback, ["blockReason", "block_reason"]);
        if reason.is_empty() {
            let is_explained = ErrorBody::from_json(answer.clone()).is_error;
            let why = "the answer holds no candidate";
            return (!is_explained).then(|| NoPicture::new(ErrorClass::BadOutput, why, ""));
        }
        let why = format!("the prompt was blocked, reason {}", word(&reason));
        let said = text(feedback, ["blockReasonMessage", "block_reason_message"]);
        return Some(NoPicture::new(ErrorClass::Moderation, why, said));
    };
    let reason = text(Some(candidate), ["finishReason", "finish_reason"]);
    let message = text(Some(candidate), ["finishMessage", "finish_message"]);
    let reason = if reason.is_empty() { "none" } else { &reason };
    let class = match reason {
        LIMITED => ErrorClass::Auth,
        known if ENDED.contains(&known) => ErrorClass::BadOutput,
        _ => ErrorClass::Moderation,
    };
    let why = format!("no picture, finish reason {}", word(reason));
    if class != ErrorClass::BadOutput {
        return Some(NoPicture::new(class, why, message));
    }
    // It refused in its own words or asked back: they are all that explains it.
    let parts = candidates.into_iter().flatten();
    let parts = parts.filter_map(|candidate| candidate.pointer("/content/parts")?.as_array());
    let texts = parts
        .flatten()
        .filter(|part| part.get("thought") != Some(&Value::Bool(true)));
    let texts: Vec<&str> = texts.filter_map(|part| part.get("text")?.as_str()).collect();
    let said = [message.as_str(), &texts.join(" ")].join(" ");
    Some(NoPicture::new(class, why, said.trim()))
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

/// What a picture has cost: from the token counts where the model has prices for them, else as listed.
pub(in crate::provider) fn cost(model: &Model, usage: Option<&Value>) -> Option<Cost> {
    let computed = usage.and_then(|usage| catalog::cost(model, &counts(usage)));
    computed.or_else(|| catalog::listed(Some(model)))
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
