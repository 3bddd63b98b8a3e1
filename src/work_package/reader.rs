//! From the bytes that were pushed to a JSON object, as the encoders of the field write it.
//!
//! Strict JSON first. What is not is read a second time with what encoders write although no standard has it: a byte
//! order mark, a JSON text that holds the object (encoded twice), half of a surrogate pair (a text that was cut by
//! JavaScript's or Java's count of characters), `NaN` and `Infinity` (Python's `json`, by default). Nothing else is
//! guessed at.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::fields::kind_of;

/// Reads one package.
///
/// # Errors
/// What was found instead of an object. Quotes nothing of the package but positions.
pub(super) fn read(raw: &[u8]) -> Result<Map<String, Value>, String> {
    let text = std::str::from_utf8(raw).map_err(|error| {
        format!(
            "The package is not UTF-8 text (first wrong byte at {})",
            error.valid_up_to()
        )
    })?;
    let value = match parse(text)? {
        // A text that does not begin like an object was not meant as one.
        Value::String(inner) if inner.trim_start_matches('\u{feff}').trim_start().starts_with('{') => {
            parse(&inner)?
        }
        value => value,
    };
    match value {
        Value::Object(object) => Ok(object),
        other => Err(format!(
            "The package is {}; a JSON object is accepted",
            kind_of(&other)
        )),
    }
}

fn parse(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parsed = serde_json::from_str(text).or_else(|error| match mended(text) {
        Some(mended) => serde_json::from_str(&mended),
        None => Err(error),
    });
    // serde_json's own text quotes nothing of the package but the position and what was expected there.
    parsed.map_err(|error| format!("The package is not valid JSON: {error}"))
}

/// The text with U+FFFD for each half of a surrogate pair, and `null` for `NaN` and `Infinity`, which count as absent.
/// `None`: there are none.
fn mended(text: &str) -> Option<String> {
    let mut mended = String::with_capacity(text.len());
    let mut is_changed = false;
    let mut is_in_text = false;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        if is_in_text && first == '\\' {
            let unit = utf16_unit(rest);
            match unit {
                Some(high @ 0xd800..=0xdbff) if matches!(utf16_unit(&rest[6..]), Some(0xdc00..=0xdfff)) => {
                    // A whole pair.
                    let _ = write!(mended, "\\u{high:04x}{}", &rest[6..12]);
                    rest = &rest[12..];
                    continue;
                }
                Some(0xd800..=0xdfff) => {
                    mended.push_str("\\ufffd");
                    rest = &rest[6..];
                    is_changed = true;
                    continue;
                }
                // What is escaped ends no text.
                _ => taken += rest[1..].chars().next().map_or(0, char::len_utf8),
            }
        } else if first == '"' {
            is_in_text = !is_in_text;
        } else if !is_in_text
            && let Some(word) = ["NaN", "Infinity", "-Infinity"]
                .into_iter()
                .find(|word| rest.starts_with(word))
        {
            mended.push_str("null");
            rest = &rest[word.len()..];
            is_changed = true;
            continue;
        }
        mended.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    is_changed.then_some(mended)
}

/// The UTF-16 unit of an escape such as `\ud83d` at the beginning of a text.
fn utf16_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_encoders_of_the_field_write_is_read() {
        let plain = json!({"jobId": 1, "prompt": "A cat"});
        let object = |value: &Value| value.as_object().cloned().unwrap();
        for (raw, expected) in [
            (r#"{"jobId":1,"prompt":"A cat"}"#, &plain),
            ("\u{feff}{\"jobId\":1,\"prompt\":\"A cat\"}\r\n", &plain),
            (r#""{\"jobId\":1,\"prompt\":\"A cat\"}""#, &plain),
            (r#""\ufeff{\"jobId\":1,\"prompt\":\"A cat\"}""#, &plain),
            (
                "\u{feff}\" {\\\"jobId\\\":1,\\\"prompt\\\":\\\"A cat\\\"}\"",
                &plain,
            ),
            (r#"{"a":"A cat \ud83d"}"#, &json!({"a": "A cat \u{fffd}"})),
            (r#"{"a":"\udc31 A cat"}"#, &json!({"a": "\u{fffd} A cat"})),
            (
                r#"{"a":"\ud83d\ud83d\udc31\ud83d"}"#,
                &json!({"a": "\u{fffd}🐱\u{fffd}"}),
            ),
            (
                r#"{"a":"\uD83D\uDC31\\ud83d\ud83d"}"#,
                &json!({"a": "🐱\\ud83d\u{fffd}"}),
            ),
            (r#""{\"a\":\"A cat \\ud83d\"}""#, &json!({"a": "A cat \u{fffd}"})),
            (
                r#"{"a":NaN,"b":[Infinity,-Infinity,1],"c":"NaN \" Infinity"}"#,
                &json!({"a": null, "b": [null, null, 1], "c": "NaN \" Infinity"}),
            ),
        ] {
            assert_eq!(read(raw.as_bytes()), Ok(object(expected)), "{raw}");
        }
    }

    #[test]
    fn what_is_no_object_is_named() {
        for (raw, expected) in [
            ("\"hello\"", "The package is a text; a JSON object is accepted"),
            (
                "\"\\\"{}\\\"\"",
                "The package is a text; a JSON object is accepted",
            ),
            (
                "[{\"jobId\":1}]",
                "The package is a list; a JSON object is accepted",
            ),
            ("\u{feff}", "The package is not valid JSON: EOF while parsing"),
            ("{\"a\":NaNa}", "The package is not valid JSON: expected"),
            ("{\"a\":1},", "The package is not valid JSON: trailing characters"),
            (
                "{\"a\":1}\0",
                "The package is not valid JSON: trailing characters",
            ),
            (
                "\"{\\\"a\\\":}\"",
                "The package is not valid JSON: expected value",
            ),
        ] {
            let found = read(raw.as_bytes()).unwrap_err();
            assert!(found.starts_with(expected), "{raw}: {found}");
        }
    }
}
