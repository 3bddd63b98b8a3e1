//! The one reader of JSON: takes it in whatever it is wrapped, and within bounds.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2;
use serde_json::Value;

/// More values than any answer has, and few enough for the memory of ten at once.
const MAX_VALUES: usize = 100_000;
/// A longer text is a picture and no explanation.
pub(super) const MAX_TEXT_BYTES: usize = 64 * 1024;
/// How a stream of events begins that stands in place of the answer.
const EVENT_FIELDS: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];

/// Why a body is no JSON. Holds nothing of the body.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::provider) enum NotJson {
    /// It ends in the middle: the rest was lost on the way, and was probably paid for.
    Cut,
    /// Nothing is there.
    Empty,
    /// HTML or XML.
    Page,
    /// Something else; the place only, as the parser's text can quote what it found.
    Other(String),
}

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "the answer broke off in the middle of its JSON",
            Self::Empty => "the answer is empty",
            Self::Page => "the answer is a page of HTML or XML, not JSON",
            Self::Other(why) => why,
        })
    }
}

/// Reads a body: with a byte order mark or without, as an event of a stream, with `NaN` and `Infinity` (which are read
/// as `null`).
///
/// # Errors
/// [`NotJson`].
pub(in crate::provider) fn parse(body: &[u8]) -> Result<Value, NotJson> {
    let text = without_mark(body);
    let text: &[u8] = &text;
    if let Some(events) = events(text) {
        // The last one: those before it are drafts.
        let read = events.iter().rev().map(|event| parse_plain(event));
        return read
            .reduce(|last, earlier| if last.is_ok() { last } else { earlier })
            .unwrap_or(Err(NotJson::Empty));
    }
    parse_plain(text)
}

fn parse_plain(text: &[u8]) -> Result<Value, NotJson> {
    let text = text.trim_ascii();
    match text.first() {
        None => return Err(NotJson::Empty),
        Some(b'<') => return Err(NotJson::Page),
        Some(_) => {}
    }
    let survey = Survey::of(text);
    if survey.values > MAX_VALUES {
        let why = format!("the answer has more than {MAX_VALUES} values and was not read");
        return Err(NotJson::Other(why));
    }
    let plain = match survey.not_numbers.is_empty() {
        true => Cow::Borrowed(text),
        false => Cow::Owned(survey.without_not_numbers(text)),
    };
    serde_json::from_slice(&plain).map_err(|error| match error.is_eof() {
        true => NotJson::Cut,
        false => NotJson::Other(format!(
            "the answer is not the JSON that was expected, see line {} column {}",
            error.line(),
            error.column()
        )),
    })
}

/// The text behind a byte order mark, in UTF-8 whatever it was in.
fn without_mark(body: &[u8]) -> Cow<'_, [u8]> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| unit([pair[0], pair[1]]))
            .collect();
        Cow::Owned(String::from_utf16_lossy(&units).into_bytes())
    };
    match body {
        [0xef, 0xbb, 0xbf, text @ ..] => Cow::Borrowed(text),
        [0xff, 0xfe, text @ ..] => wide(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => wide(text, u16::from_be_bytes),
        text => Cow::Borrowed(text),
    }
}

/// The data of each event, where the body is a stream of events.
///
/// Source: HTML Standard, "Server-sent events", parsing an event stream.
fn events(text: &[u8]) -> Option<Vec<Cow<'_, [u8]>>> {
    let text = text.trim_ascii();
    if !EVENT_FIELDS.iter().any(|field| text.starts_with(field)) {
        return None;
    }
    let mut events: Vec<Cow<'_, [u8]>> = Vec::new();
    let mut is_new = true;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        is_new |= line.is_empty();
        let Some(data) = line.strip_prefix(b"data:") else {
            continue;
        };
        if data.trim_ascii() == b"[DONE]" {
            continue;
        }
        match events.last_mut().filter(|_| !is_new) {
            Some(event) => event.to_mut().extend_from_slice(data),
            None => events.push(Cow::Borrowed(data)),
        }
        is_new = false;
    }
    Some(events)
}

/// What stands outside of strings.
struct Survey {
    /// How many values there are, within one.
    values: usize,
    /// Where numbers stand that JSON does not have, each with its length.
    not_numbers: Vec<(usize, usize)>,
}

impl Survey {
    fn of(text: &[u8]) -> Self {
        let mut survey = Self {
            values: 0,
            not_numbers: Vec::new(),
        };
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            match byte {
                b'"' => at = end_of_string(text, at),
                b',' | b'[' | b'{' => survey.values += 1,
                b'N' | b'I' | b'-' => {
                    let words: [&[u8]; 4] = [b"NaN", b"-NaN", b"Infinity", b"-Infinity"];
                    let word = words.iter().find(|word| text[at..].starts_with(word));
                    if let Some(word) = word {
                        survey.not_numbers.push((at, word.len()));
                        at += word.len() - 1;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        survey
    }

    fn without_not_numbers(&self, text: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(text.len() + self.not_numbers.len());
        let mut from = 0;
        for (at, length) in &self.not_numbers {
            plain.extend_from_slice(&text[from..*at]);
            plain.extend_from_slice(b"null");
            from = at + length;
        }
        plain.extend_from_slice(&text[from..]);
        plain
    }
}

/// Where the string that begins at `start` has its last quote, or the end of a text that was cut. Nearly all of an answer is one string.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if text[at] == b'"' {
            return at;
        }
        at += 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_read_in_whatever_it_is_wrapped() {
        let wide = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| {
            let units = "{\"a\":1}".encode_utf16().flat_map(bytes);
            mark.into_iter().chain(units).collect::<Vec<u8>>()
        };
        for body in [
            b"{\"a\":1}".to_vec(),
            b" \n{\"a\":1}\r\n".to_vec(),
            b"\xef\xbb\xbf{\"a\":1}".to_vec(),
            wide([0xff, 0xfe], u16::to_le_bytes),
            wide([0xfe, 0xff], u16::to_be_bytes),
            b"data: {\"a\":1}\n\n".to_vec(),
            b"event: done\r\ndata: {\"a\":1}\r\n\r\ndata: [DONE]\r\n\r\n".to_vec(),
            b": a comment\n\nevent: draft\ndata: {\"a\":0}\n\nid: 7\nevent: done\ndata: {\"a\":\ndata: 1}\n\n".to_vec(),
            b"\xef\xbb\xbfdata:{\"a\":1}".to_vec(),
            b"data: {\"a\":1}\n\nevent: ping\ndata: \n\n".to_vec(),
        ] {
            assert_eq!(parse(&body), Ok(json!({"a": 1})), "{}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn numbers_that_json_does_not_have_are_null() {
        let body = br#"{"a":NaN,"b":[-Infinity,Infinity, -NaN],"c":"NaN \"Infinity","d":-1.5}"#;
        let read = json!({"a": null, "b": [null, null, null], "c": "NaN \"Infinity", "d": -1.5});
        assert_eq!(parse(body), Ok(read));
        assert!(matches!(parse(b"{\"a\":Nan}"), Err(NotJson::Other(_))));
    }

    #[test]
    fn what_is_no_json_is_named_without_repeating_it() {
        let whole = br#"{"created":1,"data":[{"b64_json":"aGVsbG8h"}]}"#;
        for end in 1..whole.len() {
            assert_eq!(parse(&whole[..end]), Err(NotJson::Cut), "{end}");
        }
        assert_eq!(parse(b" \n"), Err(NotJson::Empty));
        assert_eq!(parse(b"\xef\xbb\xbf"), Err(NotJson::Empty));
        assert_eq!(parse(b"data:\n\n"), Err(NotJson::Empty));
        assert_eq!(parse(b"<html>secret"), Err(NotJson::Page));
        for body in [&b"secret"[..], b"{\"a\":\xff}", b"data: secret"] {
            let why = parse(body).unwrap_err().to_string();
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn an_answer_of_too_many_values_is_not_read() {
        let body = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert!(matches!(parse(body.as_bytes()), Err(NotJson::Other(why)) if why.contains("100000")));
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_reading_panic(body in "(data:|event:)?[\\[{\"NaInfity:,\\\\\n-]{0,40}") {
            let _ = parse(body.as_bytes());
        }
    }
}
