//! What a database call can end with, beside its result.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::deadpool::PoolError;

/// Why a statement did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DbError {
    /// Postgres does not answer: the same call is made again when it does.
    #[error("Postgres: {0}")]
    Unavailable(String),
    /// Postgres answers and takes no writes: it is a standby, has no room left, or somebody has locked a whole table. The same call
    /// is made again.
    #[error("Postgres takes no writes: {0}")]
    Demoted(String),
    /// Two transactions were in each other's way. The same call is made again at once.
    #[error("Postgres: {0}")]
    Collided(String),
    /// What the statement needs is locked by somebody else's transaction, or is not to be had now for another reason that may
    /// pass. The same call is made again later, for a while.
    #[error("Postgres: {0}")]
    Locked(String),
    /// The owner of an image, `images.user_id`, has no row.
    #[error("Postgres: {0}")]
    UnknownUser(String),
    /// Postgres refuses the statement, with these words: its values, a right, or a trigger of the application. The same call
    /// would be refused again.
    #[error("Postgres refused the statement: {0}")]
    Refused(String),
}

impl DbError {
    /// Whether the same call may succeed when Postgres is well again: nothing is wrong with the call itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Demoted(_) | Self::Collided(_))
    }

    /// Whether it says nothing of the rows that the statement was about.
    pub(super) fn is_nobodys(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Demoted(_))
    }

    /// Whether a trigger may have said it, on a server that takes writes: what the server itself lacks, no other connection has.
    pub(super) fn may_be_of_a_row(&self) -> bool {
        let Self::Demoted(said) = self else {
            return false;
        };
        let mut known = TEXTS.iter().filter(|(text, _)| said.starts_with(text));
        !known.any(|(_, kind)| matches!(kind(String::new()), Self::Demoted(_)))
    }

    /// Whether the connection is of no more use.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Demoted(_) => true,
            Self::Collided(said) => said == STALE_PLAN,
            _ => false,
        }
    }

    pub(super) fn lane_ended() -> Self {
        Self::Unavailable("the batch that this was part of was stopped".to_owned())
    }
}

impl From<PoolError> for DbError {
    fn from(error: PoolError) -> Self {
        Self::Unavailable(match error {
            PoolError::Timeout(_) => "no connection became free or could be opened in time".to_owned(),
            // Around the error of Postgres itself the pool has words of its own.
            PoolError::Backend(error) => error.to_string(),
            other => other.to_string(),
        })
    }
}

/// A kind of error, of which a message is still to say more.
type Kind = fn(String) -> DbError;

/// What the server says under SQLSTATEs that the driver hands on neither as a code nor as a kind of its own. Where a server
/// speaks another language, such an error is one of the rows, as is whatever is not listed. That it shuts down is seen without its
/// words: it does not answer any more.
///
/// Source: PostgreSQL, "Error Codes", and the texts of its `errmsg` calls.
const TEXTS: &[(&str, Kind)] = &[
    // 40P01
    ("deadlock detected", DbError::Collided),
    // 55P03
    ("could not obtain lock", DbError::Locked),
    // 55P03 and 57014
    ("canceling statement due to", DbError::Locked),
    // 53: the whole server lacks something
    ("could not extend file", DbError::Demoted),
    ("could not write to file", DbError::Demoted),
    ("out of memory", DbError::Demoted),
    ("out of shared memory", DbError::Demoted),
    // 0A000
    (STALE_PLAN, DbError::Collided),
];

/// Tables have been altered since the statement was prepared on this connection.
const STALE_PLAN: &str = "cached plan must not change result type";

impl From<DieselError> for DbError {
    fn from(error: DieselError) -> Self {
        let DieselError::DatabaseError(kind, info) = &error else {
            return match error {
                DieselError::SerializationError(_) | DieselError::DeserializationError(_) => {
                    Self::Refused(error.to_string())
                }
                other => Self::Unavailable(other.to_string()),
            };
        };
        let message = info.message().to_owned();
        match kind {
            DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection => {
                Self::Unavailable(message)
            }
            DatabaseErrorKind::SerializationFailure => Self::Collided(message),
            DatabaseErrorKind::ReadOnlyTransaction => Self::Demoted(message),
            DatabaseErrorKind::ForeignKeyViolation if info.table_name() == Some("images") => {
                Self::UnknownUser(message)
            }
            DatabaseErrorKind::Unknown => {
                let known = TEXTS.iter().find(|(text, _)| message.starts_with(text));
                known.map_or(Self::Refused as Kind, |(_, kind)| *kind)(message)
            }
            _ => Self::Refused(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kind: DatabaseErrorKind, said: &str) -> DbError {
        DieselError::DatabaseError(kind, Box::new(said.to_owned())).into()
    }

    #[test]
    fn what_postgres_says_is_told_apart_and_what_is_not_known_is_about_the_rows() {
        assert!(matches!(
            judged(DatabaseErrorKind::Unknown, "deadlock detected"),
            DbError::Collided(_)
        ));
        for said in [
            "canceling statement due to lock timeout",
            "could not obtain lock on row in relation \"x\"",
        ] {
            assert!(
                matches!(judged(DatabaseErrorKind::Unknown, said), DbError::Locked(_)),
                "{said}"
            );
        }
        // A trigger may say anything.
        for said in [
            "no deadlock detected",
            "permission denied for table x",
            "row is too long",
        ] {
            assert!(
                matches!(judged(DatabaseErrorKind::Unknown, said), DbError::Refused(_)),
                "{said}"
            );
        }
        let read_only = judged(DatabaseErrorKind::ReadOnlyTransaction, "cannot execute UPDATE");
        assert!(matches!(read_only, DbError::Demoted(_)) && read_only.ends_connection());
        let collided = judged(
            DatabaseErrorKind::SerializationFailure,
            "could not serialize access",
        );
        assert!(matches!(collided, DbError::Collided(_)) && !collided.ends_connection());
        assert!(judged(DatabaseErrorKind::Unknown, STALE_PLAN).ends_connection());
        assert!(matches!(
            judged(DatabaseErrorKind::ClosedConnection, "closed"),
            DbError::Unavailable(_)
        ));
    }
}
