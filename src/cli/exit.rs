//! Exit statuses, with the meanings of `sysexits.h`.

use std::io::Write;
use std::process::ExitCode;

use crate::config::Faults;
use crate::db::{self, DbError, UnfitDatabase};
use crate::findings::{Findings, Grade};
use crate::plain_text::plain;
use crate::redis::RedisFailure;
use crate::storage::StorageError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExitStatus {
    Done = 0,
    Failed = 1,
    Usage = 64,
    Unreachable = 69,
    Configuration = 78,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// What keeps a replica from starting, as a look at the services it relies on has found it; a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.failures().collect::<Vec<_>>().join("\n"))]
pub(super) struct Unfit(pub(super) Findings);

impl ExitStatus {
    /// Of two looks together. A service that is away hides what else may be wrong with it, so it is what to look at first.
    pub(super) fn or_worse(self, other: Self) -> Self {
        let order = [Self::Unreachable, Self::Configuration];
        let found = order
            .into_iter()
            .find(|status| self == *status || other == *status);
        found.unwrap_or(self)
    }
}

impl From<&Findings> for ExitStatus {
    /// A service that is away hides what else may be wrong with it, so it is what to look at first.
    fn from(findings: &Findings) -> Self {
        if findings.has(Grade::Away) {
            Self::Unreachable
        } else if findings.has(Grade::Fail) {
            Self::Configuration
        } else {
            Self::Done
        }
    }
}

/// Says on standard error what went wrong and returns the status for it.
pub(super) fn report(error: &anyhow::Error) -> ExitStatus {
    let mut err = std::io::stderr().lock();
    for line in format!("{error:#}").lines() {
        // The status says enough where nobody reads this any more.
        let _ = writeln!(err, "generative-ai-worker: {}", plain(line));
    }
    status(error)
}

fn status(error: &anyhow::Error) -> ExitStatus {
    if let Some(Unfit(findings)) = error.downcast_ref() {
        return findings.into();
    }
    for cause in error.chain() {
        let storage = cause.downcast_ref::<StorageError>();
        let redis = cause.downcast_ref::<RedisFailure>();
        if redis.is_some_and(|failure| !failure.needs_mending())
            || db::is_silence(cause)
            || matches!(
                cause.downcast_ref(),
                Some(DbError::Unavailable(_) | DbError::Demoted(_))
            )
            || storage.is_some_and(|error| error.kind.may_pass())
        {
            return ExitStatus::Unreachable;
        }
        if storage.is_some()
            || redis.is_some()
            || cause.is::<diesel::ConnectionError>()
            || cause.is::<Faults>()
            || cause.is::<UnfitDatabase>()
            || cause.is::<Misconfigured>()
        {
            return ExitStatus::Configuration;
        }
    }
    ExitStatus::Failed
}

/// A service that can be reached and is not as it has to be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Misconfigured(pub(super) String);
