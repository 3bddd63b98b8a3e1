//! What a database call can end with, beside its result.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::deadpool::PoolError;

/// Why a statement did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DbError {
    /// Nothing is known to be wrong with the statement: the same call is made again when Postgres is back.
    #[error("Postgres: {0}")]
    Unavailable(String),
    /// The owner of an image, `images.user_id`, has no row.
    #[error("Postgres: {0}")]
    UnknownUser(String),
    /// Postgres refuses the values; the same call would be refused again.
    #[error("Postgres refused the statement: {0}")]
    Refused(String),
}

impl DbError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
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
            DatabaseErrorKind::ForeignKeyViolation if info.table_name() == Some("images") => {
                Self::UnknownUser(message)
            }
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation => Self::Refused(message),
            // The driver does not hand on the SQLSTATE of the rest. Only faults of the values are told apart by
            // their text; all else (shutdown, failover, full disk, missing table) is the database's state.
            _ if [
                "invalid byte sequence",
                "value too long",
                "out of range",
                "invalid input",
                "unsupported Unicode",
            ]
            .iter()
            .any(|phrase| message.contains(phrase)) =>
            {
                Self::Refused(message)
            }
            _ => Self::Unavailable(message),
        }
    }
}
