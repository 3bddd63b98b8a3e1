//! What went wrong with a job: its class, whether trying again makes sense, and what to tell whom.
//!
//! Plain values without I/O. Providers, pictures and storage have error types of their own where code
//! branches on them; each turns into a [`Failure`] before it reaches the worker.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The kind of a failure. One vocabulary for the job row, the dead letters, events, logs and metrics.
///
/// `docs/operations.md` has a row for each: cause, retried or not, what an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The package itself is wrong: not JSON, an unknown type, a bad field, no job row.
    InvalidPackage,
    /// The package's `deadline` passed before its picture was begun.
    Expired,
    /// The provider refused the prompt, or what it drew, under its content policy.
    Moderation,
    /// The provider does not offer what was asked for (model, size, quality, field).
    InvalidRequest,
    /// The key is missing, wrong, or not allowed to do this.
    Auth,
    /// The account has no credit or has used up a limit that a wait of minutes does not lift.
    Quota,
    /// The model has been shut down or was never there.
    ModelGone,
    /// Too many calls: the provider asks for a pause.
    RateLimited,
    /// The provider is broken or overloaded.
    Overloaded,
    /// The request never reached the provider: name, connection or TLS failed.
    Network,
    /// The request was sent and no answer came: the picture may have been made and billed.
    Ambiguous,
    /// The provider answered with something that is not a picture.
    BadOutput,
    /// The picture cannot be used: too large, truncated, of an unknown format.
    BadImage,
    /// The picture could not be stored.
    Storage,
    /// The attempt took longer than `JOB_TIMEOUT`.
    TimedOut,
    /// A picture was asked for, nobody knows whether it was made, and it may not be bought again.
    UnknownOutcome,
    /// Somebody has ended the job.
    Cancelled,
    /// Worker after worker was lost with this job in its hands.
    Poison,
    /// A fault of this service itself, a panic for example.
    Internal,
}

impl ErrorClass {
    /// Every class, for the tests that hold documents and code together.
    pub const ALL: [Self; 19] = [
        Self::InvalidPackage,
        Self::Expired,
        Self::Moderation,
        Self::InvalidRequest,
        Self::Auth,
        Self::Quota,
        Self::ModelGone,
        Self::RateLimited,
        Self::Overloaded,
        Self::Network,
        Self::Ambiguous,
        Self::BadOutput,
        Self::BadImage,
        Self::Storage,
        Self::TimedOut,
        Self::UnknownOutcome,
        Self::Cancelled,
        Self::Poison,
        Self::Internal,
    ];

    /// The name in rows, events, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidPackage => "invalid_package",
            Self::Expired => "expired",
            Self::Moderation => "moderation",
            Self::InvalidRequest => "invalid_request",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::ModelGone => "model_gone",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Network => "network",
            Self::Ambiguous => "ambiguous",
            Self::BadOutput => "bad_output",
            Self::BadImage => "bad_image",
            Self::Storage => "storage",
            Self::TimedOut => "timed_out",
            Self::UnknownOutcome => "unknown_outcome",
            Self::Cancelled => "cancelled",
            Self::Poison => "poison",
            Self::Internal => "internal",
        }
    }

    /// Whether a later attempt at the same package can end differently without anybody changing anything.
    #[must_use]
    pub fn is_retried(self) -> bool {
        match self {
            Self::InvalidPackage
            | Self::Expired
            | Self::Moderation
            | Self::InvalidRequest
            | Self::Auth
            | Self::Quota
            | Self::ModelGone
            | Self::UnknownOutcome
            | Self::Cancelled
            | Self::Poison => false,
            Self::RateLimited
            | Self::Overloaded
            | Self::Network
            | Self::Ambiguous
            | Self::BadOutput
            | Self::BadImage
            | Self::Storage
            | Self::TimedOut
            | Self::Internal => true,
        }
    }

    /// How many attempts a job may have, of which this class ended one. `configured` is `MAX_ATTEMPTS`.
    ///
    /// Where the failed attempt has probably been billed, there is one more and not four. What may have been
    /// billed (`Ambiguous`, `TimedOut`) is counted call by call in the ledger instead.
    #[must_use]
    pub fn max_attempts(self, configured: u32) -> u32 {
        match self {
            Self::BadOutput | Self::BadImage => configured.min(2),
            class if class.is_retried() => configured,
            _ => 1,
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why one attempt at a job ended without a picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Decides whether there is another attempt.
    pub class: ErrorClass,
    /// One sentence for the person who asked: what happened and what to do. Never a secret, never a type name.
    pub message: String,
    /// What an operator needs beyond the message: the chain of causes. Never a secret, never a prompt.
    pub details: Option<String>,
    /// How long the other side asked us to wait before the next attempt.
    pub retry_after: Option<Duration>,
    /// No further attempt, whatever the class says: it would buy again what has been bought already.
    pub is_final: bool,
}

impl Failure {
    /// A failure with its sentence for the person.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            details: None,
            retry_after: None,
            is_final: false,
        }
    }

    /// Adds what only an operator wants to know.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// Rules out another attempt.
    #[must_use]
    pub fn finally(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// Whether there is to be another attempt, as far as this failure can tell.
    #[must_use]
    pub fn is_retried(&self) -> bool {
        self.class.is_retried() && !self.is_final
    }

    /// Adds the wait that the other side asked for.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_find_every_class_in_their_manual() {
        let manual = include_str!("../docs/operations.md");
        for class in ErrorClass::ALL {
            assert!(
                manual.contains(&format!("| `{class}` |")),
                "docs/operations.md has no row for {class}"
            );
        }
    }

    #[test]
    fn a_class_is_serialized_under_its_name() {
        for class in ErrorClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
    }
}
