//! What went wrong with the store, for the person and for the operator.

use std::error::Error as _;
use std::fmt;

use object_store::client::{HttpError, HttpErrorKind};

use super::codes;
use crate::failure::{ErrorClass, Failure};
use crate::plain_text::plain;

/// An object that could not be stored, looked up or removed. Always retried (`ErrorClass::Storage`): the
/// picture is paid, and whatever an operator repairs lets the next attempt succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageError {
    /// What kind of trouble.
    pub kind: StorageErrorKind,
    /// For the operator: what was tried on what, and the cause, without credentials and signatures.
    details: String,
}

/// Kinds of trouble that ask for different people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageErrorKind {
    /// The store does not accept the credentials or does not allow this.
    Refused,
    /// There is no such bucket or directory.
    Missing,
    /// There is no room left.
    Full,
    /// A setting is wrong: the region, the address, this machine's clock.
    Settings,
    /// The store answers that it has too much to do.
    Busy,
    /// The store did not answer, or not in time.
    Unreachable,
    /// Anything else.
    Other,
}

impl StorageErrorKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Refused,
        Self::Missing,
        Self::Full,
        Self::Settings,
        Self::Busy,
        Self::Unreachable,
        Self::Other,
    ];

    /// The word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Missing => "missing",
            Self::Full => "full",
            Self::Settings => "settings",
            Self::Busy => "busy",
            Self::Unreachable => "unreachable",
            Self::Other => "other",
        }
    }

    /// Whether it may be over later without anybody doing anything.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Unreachable | Self::Busy)
    }
}

impl StorageError {
    pub(super) fn new(
        operation: &str,
        place: &str,
        key: impl fmt::Display,
        error: &object_store::Error,
    ) -> Self {
        let text = causes(error);
        let (kind, cure) = verdict(error, &text);
        let cause = redact(&text);
        Self {
            kind,
            details: if cure.is_empty() {
                format!("{operation} {key} in {place}: {cause}")
            } else {
                format!("{operation} {key} in {place}: {cause}; {cure}")
            },
        }
    }

    /// The same, where the machine that was to have keys of its own was asked for them and has none.
    pub(super) fn without_keys(
        operation: &str,
        place: &str,
        key: impl fmt::Display,
        error: &object_store::Error,
        no_keys: &str,
    ) -> Option<Self> {
        /// What the client says when it was a machine that it asked: Amazon's addresses, and words of its own for the others.
        const ASKED: [&str; 3] = [
            "/latest/api/token",
            "/latest/meta-data/",
            "Error performing token request",
        ];
        let text = causes(error);
        ASKED.iter().any(|asked| text.contains(asked)).then(|| Self {
            kind: StorageErrorKind::Refused,
            details: format!("{operation} {key} in {place}: {no_keys}"),
        })
    }

    pub(super) fn timed_out(
        operation: &str,
        place: &str,
        key: impl fmt::Display,
        limit: std::time::Duration,
    ) -> Self {
        Self {
            kind: StorageErrorKind::Unreachable,
            details: format!("{operation} {key} in {place}: no answer within {limit:?}"),
        }
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.details)
    }
}

impl std::error::Error for StorageError {}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let message = match error.kind {
            StorageErrorKind::Refused => {
                "The picture could not be stored: the store does not accept this service's credentials. \
                 Tell an operator; the prompt is not the cause."
            }
            StorageErrorKind::Missing => {
                "The picture could not be stored: the place for pictures does not exist. \
                 Tell an operator; the prompt is not the cause."
            }
            StorageErrorKind::Full => {
                "The picture could not be stored: the place for pictures is full. \
                 Tell an operator; the prompt is not the cause."
            }
            StorageErrorKind::Settings => {
                "The picture could not be stored: the place for pictures is set up wrongly. \
                 Tell an operator; the prompt is not the cause."
            }
            StorageErrorKind::Busy => {
                "The picture could not be stored: the store has too much to do. Start the job again in some minutes."
            }
            StorageErrorKind::Unreachable => {
                "The picture could not be stored: the store did not answer. Start the job again in some minutes."
            }
            StorageErrorKind::Other => {
                "The picture could not be stored. Start the job again in some minutes; if that does not help, tell an operator."
            }
        };
        Failure::new(ErrorClass::Storage, message).with_details(error.details)
    }
}

/// What kind of trouble it is, and what to do about it: by the store's own code first, then by the status.
fn verdict(error: &object_store::Error, text: &str) -> codes::Verdict {
    let by_answer = || {
        let by_status = || codes::by_status(status(text)?);
        match element(text, "Code") {
            // The store itself has answered, whatever it means.
            Some(code) => codes::by_code(code)
                .or_else(|| by_status().filter(|(kind, _)| *kind != StorageErrorKind::Settings)),
            None => by_status(),
        }
    };
    match error {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            by_answer().unwrap_or((
                StorageErrorKind::Refused,
                "the store does not accept these keys, or does not let them do this",
            ))
        }
        object_store::Error::NotFound { .. } => by_answer().unwrap_or((StorageErrorKind::Missing, "")),
        _ => by_answer()
            .or_else(|| codes::by_connection(text))
            .or_else(|| by_source(error))
            .unwrap_or((StorageErrorKind::Other, "")),
    }
}

/// Whether a file or directory was not there.
pub(super) fn is_absent(error: &object_store::Error) -> bool {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let mut files = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    matches!(error, object_store::Error::NotFound { .. })
        || files.any(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Of connections that fail, and of disks.
fn by_source(error: &object_store::Error) -> Option<codes::Verdict> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<HttpError>() {
            return match error.kind() {
                HttpErrorKind::Connect
                | HttpErrorKind::Request
                | HttpErrorKind::Timeout
                | HttpErrorKind::Interrupted => Some((StorageErrorKind::Unreachable, "")),
                _ => None,
            };
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return match error.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Some((
                    StorageErrorKind::Refused,
                    "this account may not write there: let it, or mend STORAGE_URL",
                )),
                std::io::ErrorKind::NotFound => Some((StorageErrorKind::Missing, "")),
                std::io::ErrorKind::StorageFull
                | std::io::ErrorKind::QuotaExceeded
                | std::io::ErrorKind::FileTooLarge => Some((
                    StorageErrorKind::Full,
                    "the disk is full: make room, or raise its quota",
                )),
                _ => None,
            };
        }
        source = cause.source();
    }
    None
}

/// The status of an answer, as the client writes it.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// The chain of causes, as it is: it may hold what signs requests.
fn causes(error: &object_store::Error) -> String {
    // The outermost text names the client's own types and repeats the key; what happened is below it.
    let mut source = error.source();
    let mut text = source.map_or_else(|| error.to_string(), ToString::to_string);
    while let Some(cause) = source {
        // Most of these errors repeat their cause in their own text.
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Takes out what signs requests: queries of URLs (SAS tokens, signed URLs) and bodies of answers.
///
/// Of an XML body only code and message stay: Amazon's and its imitators' answer to a wrong signature holds
/// the key id and everything that was signed.
fn redact(text: &str) -> String {
    const MAX_CHARACTERS: usize = 600;
    let (before, body) = match text.find('<') {
        Some(start) => text.split_at(start),
        None => (text, ""),
    };
    let mut words: Vec<String> = before
        .split_whitespace()
        .map(|word| match word.find('?') {
            Some(query) if word.contains("://") || word.contains('=') => format!("{}?…", &word[..query]),
            _ => word.to_owned(),
        })
        .collect();
    for tag in ["Code", "Message", "Region"] {
        words.extend(element(body, tag).map(str::to_owned));
    }
    // How long a call took says nothing of why it failed.
    let is_time = |word: &str| word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with('s');
    while let Some(at) = words
        .windows(2)
        .position(|pair| pair[0] == "in" && is_time(&pair[1]))
    {
        words.drain(at..at + 2);
    }
    let line = plain(&words.join(" "));
    match line.char_indices().nth(MAX_CHARACTERS) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

fn element<'a>(body: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{tag}>"))?;
    Some(rest.split_once(&format!("</{tag}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_signs_a_request_is_taken_out() {
        let text = "Generic Azure error: Error performing PUT https://a.blob.core.windows.net/c/k?sv=1&sig=hunter2 in 1ms \
                    - Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?><Error>\
                    <Code>SignatureDoesNotMatch</Code><Message>It does not match.</Message>\
                    <AWSAccessKeyId>AKIAHUNTER</AWSAccessKeyId><StringToSign>hunter2</StringToSign></Error>";
        let redacted = redact(text);
        assert_eq!(
            redacted,
            "Generic Azure error: Error performing PUT https://a.blob.core.windows.net/c/k?… \
             - Server returned non-2xx status code: 403 Forbidden: SignatureDoesNotMatch It does not match."
        );
    }

    #[test]
    fn a_long_cause_is_cut() {
        assert_eq!(redact(&"ä".repeat(2_000)).chars().count(), 601);
    }

    #[test]
    fn a_full_disk_is_no_matter_of_credentials_and_a_closed_one_is() {
        let of = |kind: std::io::ErrorKind| {
            kind_of(object_store::Error::Generic {
                store: "LocalFileSystem",
                source: Box::new(std::io::Error::from(kind)),
            })
        };
        assert_eq!(of(std::io::ErrorKind::StorageFull), StorageErrorKind::Full);
        assert_eq!(
            of(std::io::ErrorKind::PermissionDenied),
            StorageErrorKind::Refused
        );
    }

    fn kind_of(error: object_store::Error) -> StorageErrorKind {
        StorageError::new("put", "/srv", "key", &error).kind
    }
}
