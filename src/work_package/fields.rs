//! Reading single fields: each refusal names the field, what was found and what is accepted.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::deletion::MAX_URL_CHARS;
use super::options::{Background, ImageOptions, OutputFormat, Word, words};
use super::references::{MAX_REFERENCE_IMAGES, ReferenceImage};
use crate::trace::TraceParent;

use super::{CallbackUrl, MAX_PROMPT_CHARS, NearMiss, PackageLimits, Prompt, near_misses};

/// How much of a wrong value a message quotes, in characters.
const QUOTED_CHARS: usize = 80;
/// Longest name of a reply list, in characters.
pub(super) const MAX_REPLY_CHARS: usize = 1_024;
/// The last time that JavaScript has, in Unix milliseconds.
pub(super) const LAST_MS: f64 = 8.64e15;

pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    faults: Vec<String>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(object: &'a Map<String, Value>) -> Self {
        Self {
            object,
            faults: Vec::new(),
        }
    }

    /// Reads something, and notes what is wrong with it.
    pub(super) fn note<T: Default>(&mut self, read: impl FnOnce(&Self) -> Result<T, String>) -> T {
        read(self).unwrap_or_else(|fault| {
            self.faults.push(fault);
            T::default()
        })
    }

    /// All that is wrong, in one line; `None`: nothing is.
    pub(super) fn all_faults(&self) -> Option<String> {
        match self.faults.as_slice() {
            [] => None,
            [fault] => Some(fault.clone()),
            faults => {
                let numbered: Vec<String> = (1..)
                    .zip(faults)
                    .map(|(number, fault)| format!("({number}) {fault}"))
                    .collect();
                Some(format!("{} faults: {}", faults.len(), numbered.join(". ")))
            }
        }
    }

    /// Fields that nobody reads, and that look like ones that are.
    pub(super) fn near_misses(&self) -> Vec<NearMiss> {
        near_misses::in_package(self.object)
    }

    /// The value of a field; `null` and `""` count as absent, as producers send both for "no choice".
    fn value(&self, name: &str) -> Option<&'a Value> {
        match self.object.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(value) => Some(value),
        }
    }

    /// Says that a field is not there, and which one may have been meant for it: `job_id` and `JobId` are no `jobId`.
    fn missing(&self, name: &str, accepted: &str) -> String {
        let near_misses = self.near_misses();
        let other = near_misses
            .iter()
            .find(|near| near.meant == name)
            .map(|near| &near.found);
        let found = match other {
            Some(other) => format!("{} was found, which is another name", quoted(other)),
            None => "nothing was found".to_owned(),
        };
        format!("{name}: {found}; {accepted} is required")
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, String> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(wrong(name, other, "a text")),
        }
    }

    pub(super) fn required_text(&self, name: &str, accepted: &str) -> Result<String, String> {
        self.text(name)?.ok_or_else(|| self.missing(name, accepted))
    }

    /// A person's text, of which no more is ever repeated than how long it is.
    pub(super) fn prompt(&self, name: &str) -> Result<Option<Prompt>, String> {
        let wrong = |found: &str| Err(format!("{name}: {found} found; {} is accepted", prompt_text()));
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => match text.chars().count() {
                _ if text.trim().is_empty() => wrong("only white space was"),
                chars if chars > MAX_PROMPT_CHARS => wrong(&format!("{chars} characters were")),
                _ => Ok(Some(Prompt::new(text.clone()))),
            },
            // Only the kind: whatever stands here may be what a person wrote.
            Some(other) => wrong(&format!("{} was", kind_of(other))),
        }
    }

    pub(super) fn required_prompt(&self) -> Result<Prompt, String> {
        self.prompt("prompt")?
            .ok_or_else(|| self.missing("prompt", &prompt_text()))
    }

    pub(super) fn row_id(&self, name: &str) -> Result<Option<i32>, String> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => row_id(value).map(Some).ok_or_else(|| wrong(name, value, ROW_ID)),
        }
    }

    pub(super) fn required_row_id(&self, name: &str) -> Result<i32, String> {
        self.row_id(name)?.ok_or_else(|| self.missing(name, ROW_ID))
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, String> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => integer(value)
                .map(Some)
                .ok_or_else(|| wrong(name, value, INTEGER)),
        }
    }

    /// No address is repeated, as it may be signed.
    pub(super) fn references(&mut self) -> Vec<ReferenceImage> {
        let name = "referenceImages";
        let list = self.note(|fields| match fields.value(name) {
            None => Ok(&[][..]),
            Some(Value::Array(list)) if list.len() <= MAX_REFERENCE_IMAGES => Ok(&list[..]),
            Some(Value::Array(list)) => Err(format!(
                "{name}: {} were found; at most {MAX_REFERENCE_IMAGES} are accepted",
                list.len()
            )),
            Some(other) => Err(format!(
                "{name}: {} was found; a list of {REFERENCES} is accepted",
                kind_of(other)
            )),
        });
        let read = (1..).zip(list).filter_map(|(number, value)| {
            self.note(|_| match ReferenceImage::read(value) {
                Some(reference) => Ok(Some(reference)),
                None => Err(format!(
                    "{name}: number {number} is something else; one of the {REFERENCES} is accepted"
                )),
            })
        });
        read.collect()
    }

    pub(super) fn options(&mut self) -> ImageOptions {
        let options = ImageOptions {
            background: self.note(|fields| fields.word("background")),
            moderation: self.note(|fields| fields.word("moderation")),
            complexity: self.note(|fields| fields.word("complexity")),
            output_format: self.note(|fields| fields.word("outputFormat")),
        };
        if let (Some(Background::Transparent), Some(OutputFormat::Jpeg)) =
            (options.background, options.output_format)
        {
            let fault =
                "outputFormat: \"jpeg\" was found; with a transparent background png or webp is accepted";
            self.faults.push(fault.to_owned());
        }
        options
    }

    /// One of a few words; `auto` counts as absent where it is one of them.
    fn word<W: Word>(&self, name: &str) -> Result<Option<W>, String> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let found = value.as_str().unwrap_or_default();
        let word = W::ALL.iter().copied().find(|word| word.as_str() == found);
        match word {
            None if W::HAS_AUTO && found == "auto" => Ok(None),
            None => Err(wrong(name, value, &any_of(&words::<W>()))),
            word => Ok(word),
        }
    }

    pub(super) fn required_key_part(&self, name: &str) -> Result<String, String> {
        match self.value(name) {
            None => Err(self.missing(name, KEY_PART)),
            Some(Value::String(text)) if is_key_part(text) => Ok(text.clone()),
            Some(other) => Err(wrong(name, other, KEY_PART)),
        }
    }

    pub(super) fn required_key_part_or_number(&self, name: &str) -> Result<String, String> {
        match self.value(name) {
            Some(value @ Value::Number(_)) => match integer(value) {
                Some(number) if number >= 0 => Ok(number.to_string()),
                _ => Err(wrong(name, value, KEY_PART_OR_NUMBER)),
            },
            Some(Value::String(text)) if is_key_part(text) => Ok(text.clone()),
            Some(other) => Err(wrong(name, other, KEY_PART_OR_NUMBER)),
            None => Err(self.missing(name, KEY_PART_OR_NUMBER)),
        }
    }

    /// The address of a picture that is there: it is compared with what is known, and never asked for.
    pub(super) fn image_url(&self, name: &str) -> Result<Option<String>, String> {
        match self.text(name)? {
            Some(url) if url.chars().count() > MAX_URL_CHARS => Err(format!(
                "{name}: {} characters were found; at most {MAX_URL_CHARS} are accepted",
                url.chars().count()
            )),
            Some(url) if url.chars().any(char::is_control) => Err(format!(
                "{name}: a control character was found, which no address has; write the address as the job's data.imageUrl has it"
            )),
            url => Ok(url),
        }
    }

    /// Says so where neither of two fields is there.
    pub(super) fn one_of(&self, name: &str, other: &str) -> Result<(), String> {
        if self.value(name).or_else(|| self.value(other)).is_some() {
            return Ok(());
        }
        Err(self.missing(name, &format!("{name} or {other}")))
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, String> {
        let accepted = "a time such as \"2026-11-22T10:00:00Z\", Unix seconds or Unix milliseconds";
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let time = match value {
            Value::String(text) => DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()),
            other => unix_time(other),
        };
        time.map(Some).ok_or_else(|| wrong(name, value, accepted))
    }

    pub(super) fn reply_to(&self, limits: &PackageLimits) -> Result<Option<String>, String> {
        let prefix = &limits.reply_prefix;
        match self.text("replyTo")? {
            Some(text) if text.chars().count() > MAX_REPLY_CHARS => Err(format!(
                "replyTo: a name of {} characters was found; at most {MAX_REPLY_CHARS} are accepted",
                text.chars().count()
            )),
            Some(text) if text.chars().any(char::is_control) => Err(format!(
                "replyTo: {} was found, with a control character; the name of a list has none",
                quoted(&text)
            )),
            Some(text) if !text.starts_with(prefix) => Err(format!(
                "replyTo: {} was found; the name of a list that starts with \"{prefix}\" is accepted (QUEUE_REPLY_PREFIX)",
                quoted(&text)
            )),
            text => Ok(text),
        }
    }

    pub(super) fn callback_url(&self, limits: &PackageLimits) -> Result<Option<CallbackUrl>, String> {
        let text = match self.text("callbackUrl") {
            // It may carry a secret, whatever it is.
            Err(_) => "".to_owned(),
            Ok(None) => return Ok(None),
            Ok(Some(text)) => text,
        };
        let read = limits.callback_origins.read(&text);
        read.map(Some).map_err(|wrong| format!("callbackUrl: {wrong}"))
    }

    /// A trace context that does not parse is ignored, as the standard asks.
    pub(super) fn traceparent(&self) -> Option<TraceParent> {
        TraceParent::parse(self.object.get("traceparent")?.as_str()?)
    }
}

fn prompt_text() -> String {
    format!("a text of 1 to {MAX_PROMPT_CHARS} characters")
}

const REFERENCES: &str = "https URLs and keys of this service's objects (ypGenAi/...)";
const ROW_ID: &str = "an integer from 1 to 2147483647, as a number or a text of digits";
const KEY_PART: &str = "1 to 64 of the characters A-Z, a-z, 0-9, _ and -";
const INTEGER: &str = "an integer from -9007199254740991 to 9007199254740991";
const KEY_PART_OR_NUMBER: &str =
    "an integer from 0 to 9007199254740991, or 1 to 64 of the characters A-Z, a-z, 0-9, _ and -";

/// The job to tell about a package that is refused for another field.
pub(super) fn job_id_of(object: &Map<String, Value>) -> Option<i32> {
    object.get("jobId").and_then(row_id)
}

fn row_id(value: &Value) -> Option<i32> {
    let number = match value {
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
        other => integer(other)?,
    };
    i32::try_from(number).ok().filter(|id| *id >= 1)
}

/// An integer, also when it was written `42.0`, as some encoders do.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        // Up to 2^53 a double holds every integer exactly; beyond it the digits would be a guess.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let float = value.as_f64()?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked to be integral and within 2^53"
        )]
        (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
    })
}

/// A time in seconds or milliseconds since 1970, told apart by their size: what would be seconds from 10^11 on lies
/// beyond the year 5000, and as milliseconds before it in 1973.
fn unix_time(value: &Value) -> Option<DateTime<Utc>> {
    const LEAST_MS: f64 = 1e11;
    // Of today's times a double holds every millisecond.
    let number = value.as_f64()?;
    let ms = if number.abs() < LEAST_MS {
        number * 1_000.0
    } else {
        number
    };
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within i64")]
    let ms = (ms.abs() <= LAST_MS).then_some(ms.round() as i64)?;
    DateTime::from_timestamp_millis(ms)
}

fn is_key_part(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// "a, b or c"
pub(crate) fn any_of<S: AsRef<str>>(words: &[S]) -> String {
    let mut sentence = String::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            sentence.push_str(if index + 1 == words.len() { " or " } else { ", " });
        }
        sentence.push_str(word.as_ref());
    }
    sentence
}

fn wrong(name: &str, found: &Value, accepted: &str) -> String {
    let found = match found {
        Value::String(text) => quoted(text),
        Value::Number(number) => number.to_string(),
        other => kind_of(other).to_owned(),
    };
    format!("{name}: {found} was found; {accepted} is accepted")
}

fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(QUOTED_CHARS).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", cut.escape_debug())
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
