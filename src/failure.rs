//! What went wrong with a job: its class, what follows from that, and the sentence for the person who asked.
//!
//! Plain values without I/O. Providers, pictures and storage have error types of their own where code
//! branches on them; each turns into a [`Failure`] before it reaches the worker.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plain_text::one_line;

/// Most characters of a sentence for a person: it goes into a row, an event and a notice on a screen.
pub const MESSAGE_CHARS: usize = 1_000;
/// Most characters of what an operator gets beside it.
pub const DETAILS_CHARS: usize = 4_000;

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
    /// A budget is spent, or the picture can never be paid from it.
    OverBudget,
    /// Somebody has ended the job.
    Cancelled,
    /// Worker after worker was lost with this job in its hands.
    Poison,
    /// A fault of this service itself, a panic for example.
    Internal,
}

impl ErrorClass {
    /// Every class, for the tests that hold documents and code together.
    pub const ALL: [Self; 20] = [
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
        Self::OverBudget,
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
            Self::OverBudget => "over_budget",
            Self::Cancelled => "cancelled",
            Self::Poison => "poison",
            Self::Internal => "internal",
        }
    }

    /// What follows from a failure of this class, for everyone who has to decide something about it.
    #[must_use]
    pub const fn rules(self) -> Rules {
        match self {
            Self::InvalidPackage | Self::Expired | Self::Moderation => Rules::FINAL,
            // Somebody has to look first: at what the provider has billed, or at what replicas die of.
            Self::UnknownOutcome | Self::Cancelled | Self::Poison => Rules {
                another_package_may_help: false,
                ..Rules::FINAL
            },
            Self::InvalidRequest | Self::ModelGone => Rules {
                another_provider_may_help: true,
                ..Rules::FINAL
            },
            Self::Auth => Rules {
                another_provider_may_help: true,
                breaker: BreakerInput::Refusal,
                leaves_call_open: true,
                ..Rules::FINAL
            },
            Self::Quota => Rules {
                another_provider_may_help: true,
                breaker: BreakerInput::Refusal,
                ..Rules::FINAL
            },
            Self::RateLimited => Rules {
                attempts: Attempts::Uncounted,
                is_resent: true,
                another_provider_may_help: true,
                breaker: BreakerInput::Busy,
                leaves_call_open: true,
                ..Rules::FINAL
            },
            // It waits for the next day or month, unless operators want it to fail.
            Self::OverBudget => Rules {
                attempts: Attempts::Uncounted,
                ..Rules::FINAL
            },
            // A definite answer that no picture was made, or no answer as nothing was asked.
            Self::Overloaded | Self::Network => Rules {
                attempts: Attempts::Counted,
                is_resent: true,
                another_provider_may_help: true,
                breaker: BreakerInput::Fault,
                leaves_call_open: true,
                ..Rules::FINAL
            },
            // How many more calls there are is counted in the ledger instead (`UNKNOWN_OUTCOME`).
            Self::Ambiguous | Self::TimedOut => Rules {
                attempts: Attempts::Counted,
                breaker: BreakerInput::Fault,
                may_be_billed: true,
                ..Rules::FINAL
            },
            // The call has probably been billed: there is one more and not four.
            Self::BadOutput | Self::BadImage => Rules {
                attempts: Attempts::AtMost(2),
                ..Rules::FINAL
            },
            Self::Storage | Self::Internal => Rules {
                attempts: Attempts::Counted,
                ..Rules::FINAL
            },
        }
    }

    /// Whether a later attempt at the same package can end differently without anybody changing anything.
    #[must_use]
    pub fn is_retried(self) -> bool {
        self.rules().attempts != Attempts::Once
    }

    /// How many attempts a job may have, of which this class ended one. `configured` is `MAX_ATTEMPTS`.
    #[must_use]
    pub fn max_attempts(self, configured: u32) -> u32 {
        match self.rules().attempts {
            Attempts::Once => 1,
            Attempts::AtMost(most) => configured.min(most),
            Attempts::Counted | Attempts::Uncounted => configured,
        }
    }
}

/// What follows from a failure of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How many attempts a job may have of which one ended so.
    pub attempts: Attempts,
    /// Whether the same call may be sent again within the attempt: nothing was bought, and it may last a second only.
    pub is_resent: bool,
    /// Whether another provider may be asked instead: nothing was bought, and the cause is not the prompt.
    pub another_provider_may_help: bool,
    /// What the breaker of the provider counts.
    pub breaker: BreakerInput,
    /// Whether the call may have been billed and may still bring a picture, which nobody will see.
    pub may_be_billed: bool,
    /// Whether a call that the provider has accepted goes on, where asking for its picture ended so.
    pub leaves_call_open: bool,
    /// Whether a job that has failed so starts again with a package that asks for something else.
    pub another_package_may_help: bool,
}

impl Rules {
    /// Nobody tries again, and the provider has done nothing wrong.
    const FINAL: Self = Self {
        attempts: Attempts::Once,
        is_resent: false,
        another_provider_may_help: false,
        breaker: BreakerInput::Ignored,
        may_be_billed: false,
        leaves_call_open: false,
        another_package_may_help: true,
    };
}

/// How many attempts a job may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempts {
    /// There is no other.
    Once,
    /// So many, or `MAX_ATTEMPTS` where that is less.
    AtMost(u32),
    /// `MAX_ATTEMPTS`.
    Counted,
    /// As many as it takes: the attempt has cost nothing, and the package waits for its cause to go away.
    Uncounted,
}

/// What a failure means to the breaker of the provider that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerInput {
    /// The provider has answered for itself: the failure is about this package, and ends a row of faults.
    Ignored,
    /// The provider is broken or out of reach.
    Fault,
    /// The provider is there and refuses the account.
    Refusal,
    /// The provider asks for a pause.
    Busy,
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
    /// A failure with its sentence for the person. Parts of it may be foreign: it becomes one line of at most
    /// [`MESSAGE_CHARS`].
    pub fn new(class: ErrorClass, message: impl AsRef<str>) -> Self {
        Self {
            class,
            message: one_line(message.as_ref(), MESSAGE_CHARS),
            details: None,
            retry_after: None,
            is_final: false,
        }
    }

    /// Adds what only an operator wants to know, as one line of at most [`DETAILS_CHARS`].
    #[must_use]
    pub fn with_details(mut self, details: impl AsRef<str>) -> Self {
        self.details = Some(one_line(details.as_ref(), DETAILS_CHARS));
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

    /// The sentence while the job is tried again by itself: without what a person is to do about it.
    #[must_use]
    pub fn message_while_retried(&self) -> String {
        let said = without_advice(&self.message);
        one_line(&format!("{said} It is tried again by itself."), MESSAGE_CHARS)
    }

    /// Adds the wait that the other side asked for.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }
}

/// A sentence for a person without its advice to start the job again, for a job that goes on by itself.
#[must_use]
pub fn without_advice(message: &str) -> &str {
    let said = match message.to_ascii_lowercase().find("start the job again") {
        // What is left before the sentence that says so.
        Some(place) => message[..place].rfind(". ").map_or("", |end| &message[..=end]),
        None => message,
    };
    if said.is_empty() {
        "The attempt failed."
    } else {
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns of the manual's row for a class: cause, retried, what to do.
    fn row(class: ErrorClass) -> Vec<&'static str> {
        let manual = include_str!("../docs/operations.md");
        let start = format!("| `{class}` |");
        let row = manual.lines().find_map(|line| line.strip_prefix(&start));
        let row = row.unwrap_or_else(|| panic!("docs/operations.md has no row for {class}"));
        row.split('|').map(str::trim).collect()
    }

    #[test]
    fn operators_find_in_their_manual_whether_a_class_is_retried() {
        for class in ErrorClass::ALL {
            let rules = class.rules();
            let written = row(class)[1];
            let expected: &[&str] = match rules.attempts {
                _ if rules.may_be_billed => &["once per job", "as for `ambiguous`"],
                Attempts::Once => &["no"],
                Attempts::AtMost(2) => &["once"],
                Attempts::AtMost(_) => &[],
                Attempts::Counted | Attempts::Uncounted => &["yes"],
            };
            assert!(
                expected.iter().any(|start| written.starts_with(start)),
                "docs/operations.md says \"{written}\" of {class}, whose rules are {rules:?}"
            );
        }
    }

    #[test]
    fn operators_find_in_their_manual_what_opens_a_breaker_though_it_is_not_retried() {
        for class in ErrorClass::ALL {
            let opens = class.rules().breaker == BreakerInput::Refusal;
            assert_eq!(row(class)[1].contains("five in a row"), opens, "{class}");
        }
    }

    #[test]
    fn nothing_that_may_have_been_billed_is_sent_again_or_bought_elsewhere() {
        for class in ErrorClass::ALL {
            let rules = class.rules();
            let is_spent = rules.may_be_billed || matches!(rules.attempts, Attempts::AtMost(_));
            assert!(
                !is_spent || !rules.is_resent && !rules.another_provider_may_help,
                "{class}"
            );
        }
    }

    #[test]
    fn nobody_is_told_to_start_what_is_tried_again_by_itself() {
        for (message, shown) in [
            (
                "openai is overloaded (request r. 1). Start the job again in some minutes.",
                "openai is overloaded (request r. 1). It is tried again by itself.",
            ),
            (
                "It is cut off: a. b. Choose another model and start the job again.",
                "It is cut off: a. b. It is tried again by itself.",
            ),
            (
                "Start the job again.",
                "The attempt failed. It is tried again by itself.",
            ),
            ("It waits.", "It waits. It is tried again by itself."),
        ] {
            let failure = Failure::new(ErrorClass::Overloaded, message);
            assert_eq!(failure.message_while_retried(), shown);
        }
    }

    #[test]
    fn what_may_have_been_bought_is_for_an_operator_to_start_again() {
        for class in ErrorClass::ALL {
            let is_operators = matches!(
                class,
                ErrorClass::UnknownOutcome | ErrorClass::Cancelled | ErrorClass::Poison
            );
            assert_eq!(class.rules().another_package_may_help, !is_operators, "{class}");
        }
    }

    #[test]
    fn what_is_sent_again_is_retried_as_well() {
        for class in ErrorClass::ALL {
            assert!(!class.rules().is_resent || class.is_retried(), "{class}");
        }
    }

    #[test]
    fn a_class_is_serialized_under_its_name() {
        for class in ErrorClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
    }
}
