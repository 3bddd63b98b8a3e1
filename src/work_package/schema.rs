//! The JSON Schema of a work package, for producers. A test holds it and the parser together.

use serde_json::{Value, json};

use super::deletion::MAX_URL_CHARS;
use super::fields::{LAST_MS, MAX_REPLY_CHARS};
use super::options::{Background, Complexity, Moderation, OutputFormat, Word, words};
use super::{
    COLLECTION_IMAGE, DELETE_IMAGE, MAX_PROMPT_CHARS, MAX_REFERENCE_IMAGES, OBJECT_ROOT, PackageLimits,
    WORK_TYPES, profile, references,
};

/// JSON Schema (draft 2020-12) of the packages that this version accepts.
///
/// `limits` say what `replyTo` has to start with, and where `callbackUrl` may lead. What depends on the provider (models, sizes) is
/// not in the schema: it changes with the model table.
#[must_use]
pub fn json_schema(limits: &PackageLimits) -> Value {
    let row_id = json!({
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": i32::MAX},
            {"type": "string", "pattern": "^0*[1-9][0-9]{0,9}$"}
        ]
    });
    let optional_row_id = json!({"anyOf": [row_id.clone(), {"type": "null"}, {"const": ""}]});
    let optional_text = json!({"type": ["string", "null"]});
    // Both: what every JSON library of the field carries to the digit. Source: RFC 8259, section 6.
    let (least, most) = (-9_007_199_254_740_991_i64, 9_007_199_254_740_991_i64);
    let time = json!({
        "anyOf": [
            {"type": "string", "format": "date-time"},
            {
                "type": "number", "minimum": -LAST_MS, "maximum": LAST_MS,
                "description": "Unix seconds (below 10^11) or milliseconds"
            },
            {"type": "null"}
        ]
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Work package",
        "description": "One JSON object, UTF-8, pushed with LPUSH. Unknown fields are kept and ignored.",
        "type": "object",
        "required": ["type", "jobId"],
        "properties": {
            "type": {"enum": WORK_TYPES},
            "jobId": with(row_id, "Row of ac_background_jobs"),
            "prompt": {"type": "string", "minLength": 1, "maxLength": MAX_PROMPT_CHARS, "pattern": "\\S"},
            "imageType": with(optional_text.clone(), "\"icon\" for an icon of at most 400 x 400 px, anything else for the picture as drawn"),
            "userId": with(optional_row_id.clone(), "Owner of the image row"),
            "collectionType": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$", "examples": ["group", "community", "domain"]},
            "collectionId": {
                "anyOf": [
                    {"type": "integer", "minimum": 0, "maximum": most},
                    {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
                ]
            },
            "imageProvider": with(optional_text.clone(), "Default: IMAGE_PROVIDER of the worker"),
            "imageModel": optional_text,
            "imageSize": optional_text,
            "imageQuality": optional_text,
            "generationContext": optional_text,
            "imageGenerationProfile": with(one_of(&profile::names()), "Fixes provider, model, size and quality, each in its contexts"),
            "seed": {
                "anyOf": [
                    {"type": "integer", "minimum": least, "maximum": most},
                    {"type": "null"},
                    {"const": ""}
                ]
            },
            "negativePrompt": {
                "anyOf": [
                    {"type": "string", "maxLength": MAX_PROMPT_CHARS, "pattern": "\\S", "description": "What is not to be seen; for models that can be told"},
                    {"type": "null"},
                    {"const": ""}
                ]
            },
            "referenceImages": {
                "anyOf": [
                    {
                        "type": "array", "maxItems": MAX_REFERENCE_IMAGES,
                        "items": {"type": "string", "maxLength": references::MAX_BYTES, "anyOf": [
                            {"pattern": "^https?://[^/@\\s]+([/?#][!-~]*)?$"},
                            {"pattern": format!("^{OBJECT_ROOT}(/[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*[.]?)+$")}
                        ]},
                        "description": "https URLs of pictures, or keys of objects of this service, that the picture is to be made from; for models that take them"
                    },
                    {"type": "null"},
                    {"const": ""}
                ]
            },
            "background": with(choice::<Background>(), "What is behind what is drawn; for models that offer it"),
            "moderation": with(choice::<Moderation>(), "How strict the service is; for models that offer it"),
            "complexity": with(choice::<Complexity>(), "How much thought the service spends before it draws; for models that offer it"),
            "outputFormat": with(choice::<OutputFormat>(), "Of the file that is delivered; jpeg has no transparent background"),
            "imageId": with(optional_row_id, "Row of images: which picture is to be deleted"),
            "imageUrl": {
                "anyOf": [
                    {
                        "type": "string", "maxLength": MAX_URL_CHARS, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
                        "description": "Its address: which picture is to be deleted"
                    },
                    {"type": "null"}
                ]
            },
            "notBefore": with(time.clone(), "Not started before this time"),
            "deadline": with(time, "Fails as expired when it has not been started by this time"),
            "replyTo": {
                "anyOf": [
                    {
                        "type": "string", "maxLength": MAX_REPLY_CHARS,
                        "pattern": format!("^{}[^\\u0000-\\u001f\\u007f-\\u009f]*$", escape_pattern(&limits.reply_prefix)),
                        "description": "Redis list that gets the final event"
                    },
                    {"type": "null"},
                    {"const": ""}
                ]
            },
            "callbackUrl": callback_url(limits),
            "traceparent": with(json!({}), "W3C trace context; ignored when it is not one")
        },
        "if": {"properties": {"type": {"const": COLLECTION_IMAGE}}},
        "then": {
            "required": ["prompt", "collectionType", "collectionId"],
            "not": {
                "required": ["background", "outputFormat"],
                "properties": {"background": {"const": "transparent"}, "outputFormat": {"const": "jpeg"}}
            }
        },
        "else": {
            "if": {"properties": {"type": {"const": DELETE_IMAGE}}},
            "then": {"anyOf": [there("imageId"), there("imageUrl")]}
        }
    })
}

/// One of the allowed origins, and whatever follows it.
fn callback_url(limits: &PackageLimits) -> Value {
    let mut any_of = vec![json!({"type": "null"}), json!({"const": ""})];
    let origins: Vec<String> = limits.callback_origins.iter().map(escape_pattern).collect();
    if !origins.is_empty() {
        let pattern = format!("^({})([/?#]|$)", origins.join("|"));
        any_of.push(json!({
            "type": "string", "pattern": pattern, "format": "uri", "description": "Gets the final event by POST, signed"
        }));
    }
    json!({ "anyOf": any_of })
}

/// That a field is there, and not as what counts as absent.
fn there(name: &str) -> Value {
    json!({"required": [name], "properties": {name: {"not": {"enum": [null, ""]}}}})
}

/// `null` and `""` count as absent.
fn choice<W: Word>() -> Value {
    one_of(&words::<W>())
}

/// The same.
fn one_of(words: &[&str]) -> Value {
    let words = words.iter().copied().map(Value::from);
    let all: Vec<Value> = words.chain([Value::from(""), Value::Null]).collect();
    json!({ "enum": all })
}

fn with(mut schema: Value, description: &str) -> Value {
    schema["description"] = json!(description);
    schema
}

/// Only what ECMA 262 lets one escape in a pattern with the flag `u`, as validators set it.
fn escape_pattern(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let is_special = "^$\\.*+?()[]{}|/".contains(c);
            is_special.then_some('\\').into_iter().chain([c])
        })
        .collect()
}
