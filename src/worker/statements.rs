//! Statements that are run until Postgres has answered them.

use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use crate::db::{Db, DbError};
use crate::failure::{ErrorClass, Failure};

const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Postgres, as attempts see it: an outage is waited out with the package in hand. Cloning it is cheap.
#[derive(Clone)]
pub(super) struct Statements {
    pub(super) db: Db,
    pub(super) health: Arc<Health>,
}

impl Statements {
    /// Runs a statement until Postgres has answered it; a stop ends the wait from outside.
    ///
    /// # Errors
    /// When Postgres refuses the values, as a failure of this service that another attempt would not mend.
    pub(super) async fn run<T, F>(&self, statement: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, DbError>>,
    {
        let mut pause = PAUSE;
        loop {
            match statement().await {
                Ok(value) => return Ok(value),
                Err(error) if error.is_transient() => {
                    self.health.postgres_failed(&error.to_string());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => {
                    let message =
                        "This service could not record the job. An operator finds the reason in the log.";
                    return Err(Failure::new(ErrorClass::Internal, message)
                        .with_details(error.to_string())
                        .finally());
                }
            }
        }
    }
}
