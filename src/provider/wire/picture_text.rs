//! Pictures that stand in JSON as text, and JSON that holds them.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::Deserialize;

/// Some servers leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Points into the body where it can: megabytes of base64 need no second copy.
#[derive(Deserialize)]
pub(in crate::provider) struct Text<'a>(#[serde(borrow)] pub(in crate::provider) Cow<'a, str>);

/// Decodes base64, with or without white space and padding. The error says what is there instead.
pub(in crate::provider) fn decode(text: &str) -> Result<Bytes, &'static str> {
    let is_clean = !text.bytes().any(|byte| byte.is_ascii_whitespace());
    let text: Cow<'_, [u8]> = if is_clean {
        text.as_bytes().into()
    } else {
        text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect()
    };
    match BASE64.decode(&text) {
        Ok(bytes) if bytes.is_empty() => Err("the picture in the answer is empty"),
        Ok(bytes) => Ok(bytes.into()),
        Err(_) => Err("the picture in the answer is not base64"),
    }
}

/// Why a body is not the JSON that was expected.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::provider) enum NotJson {
    /// It ends in the middle: the rest was lost on the way, and was probably paid for.
    Cut,
    /// For the operator: what is there instead. Holds nothing of the body.
    Other(String),
}

/// Reads a body with a successful status, which has to be an object.
pub(in crate::provider) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, NotJson> {
    // A list would be read as well, its items taken for fields in their order.
    if body.trim_ascii().first() == Some(&b'[') {
        return Err(NotJson::Other("the answer is a list, not an object".into()));
    }
    let error = match serde_json::from_slice(body) {
        Ok(parsed) => return Ok(parsed),
        Err(error) => error,
    };
    Err(match body.trim_ascii().first() {
        None => NotJson::Other("the answer is empty".into()),
        Some(_) if error.is_eof() => NotJson::Cut,
        Some(b'<') => NotJson::Other("the answer is a page of HTML or XML, not JSON".into()),
        // The place only: the parser's text can quote what it found.
        Some(_) => NotJson::Other(format!(
            "the answer is not the JSON that was expected, see line {} column {}",
            error.line(),
            error.column()
        )),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn base64_is_read_leniently_and_rubbish_is_refused() {
        for text in ["aGVsbG8h", "aGVs\nbG8h", " aGVsbG8h\r\n"] {
            assert_eq!(&decode(text).unwrap()[..], b"hello!", "{text:?}");
        }
        for text in ["aGVsbG8=", "aGVsbG8"] {
            assert_eq!(&decode(text).unwrap()[..], b"hello", "{text:?}");
        }
        assert_eq!(decode(" "), Err("the picture in the answer is empty"));
        assert_eq!(
            decode("?rubbish?"),
            Err("the picture in the answer is not base64")
        );
    }

    #[test]
    fn what_is_no_json_is_named_without_repeating_it() {
        let fault = |body: &[u8]| parse::<Value>(body).unwrap_err();
        assert_eq!(fault(b"{\"a\": \"secr"), NotJson::Cut);
        assert_eq!(fault(b" \n"), NotJson::Other("the answer is empty".into()));
        for body in [&b"<html>secret"[..], b"secret", b"{\"a\":\xff}", b"[\"secret\"]"] {
            let NotJson::Other(why) = fault(body) else {
                panic!("{body:?} is not cut off");
            };
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
