//! The body of a successful answer: finds the picture in it, without copying it more than it must be.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::provider::wire::error_body::ErrorBody;

/// Some servers leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// A body of this size or less may be an explanation rather than a picture.
const MAX_EXPLANATION_BYTES: usize = 64 * 1024;

/// What was drawn.
#[derive(Debug, PartialEq)]
pub(super) struct Picture {
    pub(super) found: Found,
    /// Token counts, where given.
    pub(super) usage: Option<Value>,
}

/// A picture, or where it is.
#[derive(Debug, PartialEq)]
pub(in crate::provider) enum Found {
    /// The decoded file; what it is has not been looked at.
    Bytes(Bytes),
    /// An address that the service wrote, absolute or relative to its own.
    Url(String),
}

/// Why there is no picture in a successful answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A content filter took the picture away.
    Filtered,
    /// The body explains an error in spite of its status.
    IsError,
    /// The JSON ends in the middle: the rest was lost on the way, and was probably paid for.
    Cut,
    /// For the operator: what is there instead. Holds nothing of the body.
    NoPicture(String),
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    data: Option<Vec<Drawing<'a>>>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    prompt_filter_results: Option<Value>,
}

#[derive(Deserialize)]
struct Drawing<'a> {
    #[serde(borrow, default)]
    b64_json: Option<Text<'a>>,
    #[serde(borrow, default)]
    url: Option<Text<'a>>,
    /// Source: xAI API reference, "Image generations": false where the picture was held back.
    #[serde(default)]
    respect_moderation: Option<Value>,
    /// Source: Azure OpenAI reference, "Image generations": verdicts by category, each with `filtered`.
    #[serde(default)]
    prompt_filter_results: Option<Value>,
    #[serde(default)]
    content_filter_results: Option<Value>,
}

impl Drawing<'_> {
    fn is_filtered(&self) -> bool {
        self.respect_moderation == Some(Value::Bool(false))
            || is_filtered(self.prompt_filter_results.as_ref())
            || is_filtered(self.content_filter_results.as_ref())
    }
}

/// Whether one of the categories says `"filtered": true`.
fn is_filtered(results: Option<&Value>) -> bool {
    let categories = results.and_then(Value::as_object);
    categories.is_some_and(|categories| {
        categories
            .values()
            .any(|verdict| verdict.get("filtered") == Some(&Value::Bool(true)))
    })
}

/// Points into the body where it can: megabytes of base64 need no second copy.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the body of an answer with a successful status.
pub(super) fn read(body: &[u8]) -> Result<Picture, Fault> {
    let parsed: Body<'_> = match serde_json::from_slice(body) {
        Ok(parsed) => parsed,
        Err(error) if error.is_eof() && !body.trim_ascii().is_empty() => return Err(Fault::Cut),
        Err(_) if holds_error(body) => return Err(Fault::IsError),
        Err(error) => return Err(not_an_answer(body, &error)),
    };
    if parsed.error.is_some() {
        return Err(Fault::IsError);
    }
    let Some(drawing) = parsed.data.as_ref().and_then(|drawings| drawings.first()) else {
        if holds_error(body) {
            return Err(Fault::IsError);
        }
        if is_filtered(parsed.prompt_filter_results.as_ref()) {
            return Err(Fault::Filtered);
        }
        return Err(Fault::NoPicture("the answer holds no picture".into()));
    };
    let found = match (&drawing.b64_json, &drawing.url) {
        (Some(Text(text)), _) if !text.is_empty() => Found::Bytes(decode(text)?),
        (_, Some(Text(url))) if is_data_uri(url) => Found::Bytes(decode(url)?),
        (_, Some(Text(url))) if !url.is_empty() => Found::Url(url.to_string()),
        _ if drawing.is_filtered() => return Err(Fault::Filtered),
        _ => return Err(Fault::NoPicture("the picture in the answer is empty".into())),
    };
    Ok(Picture {
        found,
        usage: parsed.usage.filter(|usage| !usage.is_null()),
    })
}

fn is_data_uri(url: &str) -> bool {
    url.get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

fn holds_error(body: &[u8]) -> bool {
    body.len() <= MAX_EXPLANATION_BYTES && ErrorBody::parse(body).is_error
}

fn not_an_answer(body: &[u8], error: &serde_json::Error) -> Fault {
    let body = body.trim_ascii();
    Fault::NoPicture(match body.first() {
        None => "the answer is empty".into(),
        Some(b'<') => "the answer is a page of HTML or XML, not JSON".into(),
        // The place only: the parser's text can quote what it found.
        Some(_) => format!(
            "the answer is not the JSON that was expected, see line {} column {}",
            error.line(),
            error.column()
        ),
    })
}

/// Decodes base64, with or without a `data:` prefix, white space and padding.
fn decode(text: &str) -> Result<Bytes, Fault> {
    let text = match text.split_once(',') {
        Some((prefix, rest)) if is_data_uri(prefix) && prefix.to_ascii_lowercase().ends_with(";base64") => {
            rest
        }
        _ => text,
    };
    let is_clean = !text.bytes().any(|byte| byte.is_ascii_whitespace());
    let text: Cow<'_, [u8]> = if is_clean {
        text.as_bytes().into()
    } else {
        text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect()
    };
    match BASE64.decode(&text) {
        Ok(bytes) if bytes.is_empty() => Err(Fault::NoPicture("the picture in the answer is empty".into())),
        Ok(bytes) => Ok(bytes.into()),
        Err(_) => Err(Fault::NoPicture("the picture in the answer is not base64".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(body: &str) -> Result<Vec<u8>, Fault> {
        read(body.as_bytes()).map(|picture| match picture.found {
            Found::Bytes(bytes) => bytes.to_vec(),
            Found::Url(url) => panic!("{url} was found in place of bytes"),
        })
    }

    #[test]
    fn base64_is_read_leniently() {
        for text in [
            "aGVsbG8h",
            "aGVs\\nbG8h",
            " aGVsbG8h\\r\\n",
            "data:image/png;base64,aGVsbG8h",
        ] {
            let body = format!(r#"{{"data":[{{"b64_json":"{text}"}}]}}"#);
            assert_eq!(bytes_of(&body).unwrap(), b"hello!", "{text}");
        }
        for text in ["aGVsbG8=", "aGVsbG8"] {
            let body = format!(r#"{{"data":[{{"b64_json":"{text}"}}]}}"#);
            assert_eq!(bytes_of(&body).unwrap(), b"hello", "{text}");
        }
        let in_url = r#"{"data":[{"b64_json":null,"url":"data:image/png;base64,aGVsbG8h"}],"usage":null}"#;
        assert_eq!(bytes_of(in_url).unwrap(), b"hello!");
    }

    #[test]
    fn an_answer_without_a_picture_is_said_to_have_none() {
        for body in [
            "",
            "  \n",
            "<html>",
            "[]",
            "3",
            r#"{"created":1}"#,
            r#"{"data":[]}"#,
            r#"{"data":null}"#,
            r#"{"data":[{}]}"#,
            r#"{"data":[{"b64_json":""}]}"#,
            r#"{"data":[{"b64_json":7}]}"#,
            r#"{"data":[{"b64_json":"***rubbish***"}]}"#,
            r#"{"data":[{"b64_json":"data:image/png,plain"}]}"#,
            r#"{"data":[{"url":"","b64_json":null}]}"#,
        ] {
            assert!(matches!(bytes_of(body), Err(Fault::NoPicture(_))), "{body}");
        }
    }

    #[test]
    fn a_picture_elsewhere_is_known_by_its_address() {
        for url in [
            "https://x.invalid/a.png?sig=1",
            "/generated-images/b64.png",
            "images/1.png",
        ] {
            for rest in ["", r#","b64_json":null"#, r#","b64_json":"""#] {
                let body = format!(r#"{{"created":"1","data":[{{"url":"{url}"{rest}}}]}}"#);
                assert_eq!(
                    read(body.as_bytes()).unwrap().found,
                    Found::Url(url.into()),
                    "{body}"
                );
            }
        }
    }

    #[test]
    fn a_picture_that_was_held_back_is_told_from_none() {
        for body in [
            r#"{"data":[{"url":"","respect_moderation":false}]}"#,
            r#"{"data":[{"content_filter_results":{"violence":{"filtered":true,"severity":"high"}}}]}"#,
            r#"{"data":[{"b64_json":null,"prompt_filter_results":{"hate":{"filtered":true}}}]}"#,
            r#"{"data":[],"prompt_filter_results":{"hate":{"filtered":true}}}"#,
        ] {
            assert_eq!(bytes_of(body), Err(Fault::Filtered), "{body}");
        }
        let drawn =
            r#"{"data":[{"b64_json":"aGVsbG8h","content_filter_results":{"hate":{"filtered":false}}}]}"#;
        assert_eq!(bytes_of(drawn).unwrap(), b"hello!");
    }

    #[test]
    fn json_that_ends_in_the_middle_is_cut() {
        let whole = r#"{"created":1,"data":[{"b64_json":"aGVsbG8h"}]}"#;
        for end in 1..whole.len() {
            assert_eq!(bytes_of(&whole[..end]), Err(Fault::Cut), "{}", &whole[..end]);
        }
    }

    #[test]
    fn an_error_with_a_successful_status_is_an_error() {
        for body in [
            r#"{"created":1,"error":{"code":"content_filter"}}"#,
            r#"{"error":"text","data":[]}"#,
            r#"{"detail":"text"}"#,
            r#"{"error":{"message":"m"},"data":{}}"#,
        ] {
            assert_eq!(bytes_of(body), Err(Fault::IsError), "{body}");
        }
    }

    #[test]
    fn a_picture_is_not_copied_on_its_way_to_the_decoder() {
        let body = br#"{"data":[{"b64_json":"aGVsbG8h"}]}"#;
        let parsed: Body<'_> = serde_json::from_slice(body).unwrap();
        let drawings = parsed.data.unwrap();
        assert!(matches!(drawings[0].b64_json, Some(Text(Cow::Borrowed(_)))));
    }
}
