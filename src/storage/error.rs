//! What went wrong with the store, for the person and for the operator.

use std::error::Error as _;
use std::fmt;

use object_store::client::{HttpError, HttpErrorKind};

use crate::failure::{ErrorClass, Failure};

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
    /// The store did not answer, or not in time.
    Unreachable,
    /// Anything else, a full disk for example.
    Other,
}

impl StorageError {
    pub(super) fn new(
        operation: &str,
        place: &str,
        key: impl fmt::Display,
        error: &object_store::Error,
    ) -> Self {
        Self {
            kind: kind(error),
            details: format!("{operation} {key} in {place}: {}", cause(error)),
        }
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

fn kind(error: &object_store::Error) -> StorageErrorKind {
    match error {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            return StorageErrorKind::Refused;
        }
        object_store::Error::NotFound { .. } => return StorageErrorKind::Missing,
        _ => {}
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<HttpError>() {
            return match error.kind() {
                HttpErrorKind::Connect
                | HttpErrorKind::Request
                | HttpErrorKind::Timeout
                | HttpErrorKind::Interrupted => StorageErrorKind::Unreachable,
                _ => StorageErrorKind::Other,
            };
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return match error.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    StorageErrorKind::Refused
                }
                std::io::ErrorKind::NotFound => StorageErrorKind::Missing,
                _ => StorageErrorKind::Other,
            };
        }
        source = cause.source();
    }
    StorageErrorKind::Other
}

/// The chain of causes in one line.
fn cause(error: &object_store::Error) -> String {
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
    redact(&text)
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
    for tag in ["Code", "Message"] {
        words.extend(element(body, tag).map(str::to_owned));
    }
    let line = words.join(" ");
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
            "Generic Azure error: Error performing PUT https://a.blob.core.windows.net/c/k?… in 1ms \
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
        assert_eq!(of(std::io::ErrorKind::StorageFull), StorageErrorKind::Other);
        assert_eq!(
            of(std::io::ErrorKind::PermissionDenied),
            StorageErrorKind::Refused
        );
    }

    fn kind_of(error: object_store::Error) -> StorageErrorKind {
        StorageError::new("put", "/srv", "key", &error).kind
    }
}
