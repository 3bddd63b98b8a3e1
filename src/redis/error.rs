//! Why something could not be done in Redis.

/// Why something could not be done in Redis. Always worth doing again when Redis is back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisFailure {
    /// The server in use did not do it.
    #[error("Redis: {0}")]
    Failed(String),
    /// The connection was cut before the answer came, and may have been dead for long: what was claimed is in hand.
    #[error("Redis: the answer was lost with its connection")]
    Lost,
    /// Another server has taken over since this was asked. It says nothing about that one.
    #[error("Redis: {}", super::server::REPLACED)]
    Replaced,
}

impl From<redis::RedisError> for RedisFailure {
    fn from(error: redis::RedisError) -> Self {
        if super::server::is_replaced(&error) {
            return Self::Replaced;
        }
        // The category says "timed out" or "connection refused" and never holds a password.
        let mut text = match error.detail() {
            Some(detail) => format!("{} ({detail})", error.category()),
            None => error.to_string(),
        };
        if text.contains("UnknownIssuer") {
            text.push_str("; name a file with its authority in SSL_CERT_FILE");
        }
        Self::Failed(text)
    }
}

impl From<deadpool_redis::PoolError> for RedisFailure {
    fn from(error: deadpool_redis::PoolError) -> Self {
        match error {
            deadpool_redis::PoolError::Backend(error) => error.into(),
            deadpool_redis::PoolError::Timeout(_) => {
                Self::Failed("no connection could be opened in time".to_owned())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}
