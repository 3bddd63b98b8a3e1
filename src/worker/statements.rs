//! Statements that are run until Postgres has answered them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::health::Health;
use crate::db::{Db, DbError};
use crate::failure::{ErrorClass, Failure};

const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Between two looks at what is locked: at first, and at the most.
const FIRST_LOCK_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_LOCK_PAUSE: Duration = Duration::from_secs(60);
/// So long a lock is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(10 * 60);
/// So much of what Postgres has said is shown to a person.
const MAX_SAID: usize = 200;

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
    /// When Postgres refuses it, or what it needs stays locked, as a failure that another attempt would not mend.
    pub(super) async fn run<T, F>(&self, statement: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, DbError>>,
    {
        self.run_beside(|| {}, statement).await
    }

    /// The same for what concerns a row of the application: `step_aside` is called while it is locked, so that others go on.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn run_beside<T, F>(
        &self,
        step_aside: impl Fn(),
        statement: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, DbError>>,
    {
        let (mut pause, mut lock_pause) = (PAUSE, FIRST_LOCK_PAUSE);
        let mut locked_since = None;
        loop {
            let error = match statement().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if error.is_transient() {
                match error {
                    DbError::Unavailable(_) => self.health.postgres_failed(&error),
                    // Whether anything is taken meanwhile is for whoever asks regularly to say.
                    DbError::Demoted(_) if pause == PAUSE => tracing::warn!(%error, "a statement waits"),
                    _ => {}
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
            if matches!(error, DbError::Locked(_)) {
                step_aside();
                if locked_since.get_or_insert_with(Instant::now).elapsed() < LOCK_PATIENCE {
                    tokio::time::sleep(lock_pause).await;
                    lock_pause = (lock_pause * 2).min(LONGEST_LOCK_PAUSE);
                    continue;
                }
            }
            return Err(refused(&error));
        }
    }
}

fn refused(error: &DbError) -> Failure {
    let said = match error {
        DbError::Refused(said) | DbError::Locked(said) => said.clone(),
        other => other.to_string(),
    };
    let said: String = said
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(MAX_SAID)
        .collect();
    let message = format!(
        "The database does not take this job: {}. An operator has to change that before the job is started again.",
        said.trim_end_matches('.')
    );
    Failure::new(ErrorClass::Internal, message)
        .with_details(error.to_string())
        .finally()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_one_short_line_of_what_postgres_has_said() {
        let said = format!("no pictures on Sundays\n{}", "x".repeat(1_000));
        let failure = refused(&DbError::Refused(said));
        assert_eq!(
            failure.message,
            "The database does not take this job: no pictures on Sundays. An operator has to change that before the \
             job is started again."
        );
        assert!(refused(&DbError::Refused("y".repeat(1_000))).message.len() < 350);
    }
}
