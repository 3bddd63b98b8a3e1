//! What a database call can end with, beside its result.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::deadpool::PoolError;

/// Why a statement did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DbError {
    /// Postgres does not answer: the same call is made again when it does.
    #[error("Postgres: {0}")]
    Unavailable(String),
    /// Postgres answers and takes no writes: it is a standby, or has no room left. The same call is made again.
    #[error("Postgres takes no writes: {0}")]
    Demoted(String),
    /// Two transactions were in each other's way. The same call is made again at once.
    #[error("Postgres: {0}")]
    Collided(String),
    /// What the statement needs is locked by somebody else's transaction. The same call is made again later.
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

    /// Whether the connection is of no more use.
    pub(super) fn ends_connection(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Demoted(_))
    }

    pub(super) fn lane_ended() -> Self {
        Self::Unavailable("the batch that this was part of was stopped".to_owned())
    }
}

impl From<PoolError> for DbError {
    fn from(error: PoolError) -> Self {
        Self::Unavailable(match error {
            PoolError::Timeout(_) => "no connection became free or could be opened in time".to_owned(),
            other => other.to_string(),
        })
    }
}

/// What the server says under SQLSTATEs that the driver hands on neither as a code nor as a kind of its own. Where a server
/// speaks another language, such an error is one of the rows, as is whatever is not listed.
///
/// Source: PostgreSQL, "Error Codes", and the texts of its `errmsg` calls.
const TEXTS: &[(&str, fn(String) -> DbError)] = &[
    // 40P01
    ("deadlock detected", DbError::Collided),
    // 55P03
    ("canceling statement due to lock timeout", DbError::Locked),
    ("could not obtain lock", DbError::Locked),
    // 57014
    ("canceling statement due to", DbError::Locked),
    // 57P01 to 57P05
    ("terminating connection due to", DbError::Unavailable),
    ("the database system is", DbError::Unavailable),
    // 53: the whole server lacks something
    ("could not extend file", DbError::Demoted),
    ("could not write to file", DbError::Demoted),
    ("No space left on device", DbError::Demoted),
    ("out of memory", DbError::Demoted),
    ("out of shared memory", DbError::Demoted),
    // 0A000: the tables have been altered since the statement was prepared on this connection.
    ("cached plan must not change result type", DbError::Unavailable),
];

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
                let known = TEXTS.iter().find(|(text, _)| message.contains(text));
                known.map_or(Self::Refused as fn(String) -> Self, |(_, error)| *error)(message)
            }
            _ => Self::Refused(message),
        }
    }
}
