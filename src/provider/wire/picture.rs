//! Finds the picture in an answer, whichever shape it has.
//!
//! One list of names for all services, as gateways answer in each other's shapes. What an answer without a picture
//! means is its service's business.

use bytes::Bytes;
use serde_json::Value;

use crate::http_client::{MAX_PICTURE_BYTES, NotDecoded, decode_picture_text, is_data_uri};

/// How deep a picture may be wrapped.
const DEPTH: usize = 12;

/// Where a picture is looked for in an object, in this order: the picture itself, its address, what it is wrapped in.
///
/// Source: the API references of the services in `services`, and what their gateways make of them.
const NAMES: &[(&str, Holds)] = &[
    ("b64_json", Holds::Base64),
    ("bytesBase64Encoded", Holds::Base64),
    ("bytes_base64_encoded", Holds::Base64),
    ("base64", Holds::Base64),
    ("inlineData", Holds::More),
    ("inline_data", Holds::More),
    ("url", Holds::Address),
    ("image_url", Holds::Address),
    ("sample", Holds::Address),
    ("image", Holds::Base64),
    ("images", Holds::Base64),
    ("data", Holds::Base64),
    ("output", Holds::More),
    ("result", Holds::More),
    ("predictions", Holds::More),
    ("artifacts", Holds::More),
    ("candidates", Holds::More),
    ("content", Holds::More),
    ("parts", Holds::More),
    ("choices", Holds::More),
    ("message", Holds::More),
];

/// What a text under a name is. One that begins as an address or as a `data:` URI is that under each of them.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    Base64,
    /// Absolute, or relative to the service's own.
    Address,
    /// Something else: it says so itself, or it is no picture.
    More,
}

/// A picture, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Picture {
    /// The decoded file; what it is has not been looked at.
    Bytes(Bytes),
    /// An address that the service wrote, absolute or relative to its own.
    Url(String),
}

/// What was found where a picture is looked for: it, or what is wrong with it.
pub(in crate::provider) type Looked = Result<Picture, NotDecoded>;

/// The first picture in `answer`; `None` where there is none. Nothing of a draft, and nothing that its moderation has
/// held back.
///
/// # Errors
/// What is wrong with all that there is.
pub(in crate::provider) fn find(answer: &Value) -> Option<Looked> {
    find_in(answer, Holds::More, DEPTH)
}

/// The picture in what stands in the place of one.
pub(in crate::provider) fn find_here(value: &Value) -> Option<Looked> {
    find_in(value, Holds::Base64, DEPTH)
}

fn find_in(value: &Value, holds: Holds, depth: usize) -> Option<Looked> {
    let depth = depth.checked_sub(1)?;
    match value {
        Value::String(text) => read(text.trim(), holds),
        Value::Array(items) => first(items.iter().map(|item| find_in(item, holds, depth))),
        Value::Object(fields) if is_wanted(value) => {
            let named = NAMES
                .iter()
                .filter_map(|(name, holds)| Some((fields.get(*name)?, *holds)));
            first(named.map(|(field, holds)| find_in(field, holds, depth)))
        }
        _ => None,
    }
}

/// The first that can be used, otherwise the first that cannot.
fn first(looks: impl Iterator<Item = Option<Looked>>) -> Option<Looked> {
    let mut unusable = None;
    for looked in looks.flatten() {
        if looked.is_ok() {
            return Some(looked);
        }
        unusable.get_or_insert(looked);
    }
    unusable
}

fn read(text: &str, holds: Holds) -> Option<Looked> {
    let begins = |scheme: &str| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let decoded = || decode_picture_text(text, MAX_PICTURE_BYTES).map(Picture::Bytes);
    match holds {
        _ if text.is_empty() => None,
        _ if is_data_uri(text) => Some(decoded()),
        _ if begins("https://") || begins("http://") => Some(Ok(Picture::Url(text.to_owned()))),
        Holds::Base64 => Some(decoded()),
        Holds::Address => Some(Ok(Picture::Url(text.to_owned()))),
        Holds::More => None,
    }
}

/// Whether an object may hold the picture: no draft, nothing that was held back, nothing that says it is something else.
fn is_wanted(object: &Value) -> bool {
    let is = |name: &str, value: bool| object.get(name).and_then(Value::as_bool) == Some(value);
    let kind = ["mimeType", "mime_type", "media_type", "content_type"]
        .iter()
        .find_map(|name| object.get(name)?.as_str());
    let is_picture = kind.is_none_or(|kind| {
        kind.is_empty() || kind.starts_with("image/") || kind == "application/octet-stream"
    });
    // Source: Gemini API guide, "Image generation", `thought`; xAI API reference, `respect_moderation`.
    is_picture && !is("thought", true) && !is("respect_moderation", false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_picture_is_found_in_every_shape() {
        let hello = Picture::Bytes(Bytes::from_static(b"hello!"));
        for answer in [
            json!({"data": [{"b64_json": "aGVsbG8h"}]}),
            json!({"data": [{"b64_json": null, "url": "data:image/png;base64,aGVsbG8h"}]}),
            json!({"data": [{}, {"b64_json": ""}, {"b64_json": "aGVsbG8h"}]}),
            json!({"data": [{"b64_json": "?"}, {"b64_json": "aGVsbG8h"}]}),
            json!({"data": {"b64_json": "aGVsbG8h"}}),
            json!({"data": ["aGVsbG8h"]}),
            json!({"images": [{"b64_json": "aGVsbG8h"}]}),
            json!({"images": ["aGVsbG8h"]}),
            json!({"output": [{"b64_json": "aGVsbG8h"}]}),
            json!({"output": {"images": ["aGVsbG8h"]}}),
            json!({"output": "data:image/png;base64,aGVsbG8h"}),
            json!({"type": "image_generation.completed", "b64_json": "aGVsbG8h"}),
            json!({"image": "aGVsbG8h", "finish_reason": "SUCCESS"}),
            json!({"artifacts": [{"base64": "aGVsbG8h"}]}),
            json!({"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": "aGVsbG8h"}]}),
            json!([{"candidates": [{"content": {"parts": [{"text": "here"}]}}]},
                {"candidates": [{"content": {"parts": [{"inlineData": {"data": "aGVsbG8h"}}]}}]}]),
            json!({"candidates": [{"content": {"parts": [{"thought": true, "inlineData": {"data": "Pw=="}},
                {"inlineData": {"mimeType": "text/plain", "data": "Pw=="}}, {"inlineData": {}},
                {"inline_data": {"mime_type": "image/png", "data": "aGVsbG8h"}}]}}]}),
            json!({"choices": [{"message": {"content": [{"type": "image_url",
                "image_url": {"url": "data:image/png;base64,aGVsbG8h"}}]}}]}),
        ] {
            assert_eq!(find(&answer), Some(Ok(hello.clone())), "{answer}");
        }
    }

    #[test]
    fn a_picture_elsewhere_is_known_by_its_address() {
        for (answer, url) in [
            (
                json!({"data": [{"url": "https://x.invalid/a.png?sig=1"}]}),
                "https://x.invalid/a.png?sig=1",
            ),
            (
                json!({"data": [{"url": "/generated/1.png", "b64_json": ""}]}),
                "/generated/1.png",
            ),
            (json!({"data": [{"url": "images/1.png"}]}), "images/1.png"),
            (
                json!({"images": [{"url": "https://x.invalid/a", "content_type": "image/png"}]}),
                "https://x.invalid/a",
            ),
            (json!({"images": ["HTTPS://x.invalid/a"]}), "HTTPS://x.invalid/a"),
            (
                json!({"image": {"url": "https://x.invalid/a"}}),
                "https://x.invalid/a",
            ),
            (
                json!({"result": {"sample": "https://x.invalid/a"}}),
                "https://x.invalid/a",
            ),
            (json!({"output": "https://x.invalid/a"}), "https://x.invalid/a"),
            (json!({"output": ["https://x.invalid/a"]}), "https://x.invalid/a"),
        ] {
            assert_eq!(find(&answer), Some(Ok(Picture::Url(url.to_owned()))), "{answer}");
        }
    }

    #[test]
    fn an_answer_without_a_picture_has_none() {
        for answer in [
            json!(null),
            json!(3),
            json!([[[3]]]),
            json!({}),
            json!({"data": []}),
            json!({"data": null, "url": " "}),
            json!({"data": [{"b64_json": 7}]}),
            json!({"data": [{"url": "https://x.invalid/", "respect_moderation": false}]}),
            json!({"output": "a boat", "message": "no"}),
            json!({"candidates": [{"content": {"parts": [{"text": "https is a word"}]}}]}),
        ] {
            assert_eq!(find(&answer), None, "{answer}");
        }
        for text in ["***", "data:image/png,plain"] {
            let answer = json!({"data": [{}, {"b64_json": text}]});
            assert_eq!(find(&answer), Some(Err(NotDecoded::NotBase64)), "{answer}");
        }
        let mut deep = json!({"b64_json": "aGVsbG8h"});
        for _ in 0..DEPTH {
            deep = json!([deep]);
        }
        assert_eq!(find(&deep), None);
    }
}
