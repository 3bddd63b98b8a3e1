//! Keeping house: one replica of a queue removes every hour what has ended longer ago than it is to be kept. `tidy`
//! does the same.

use std::time::Duration;

use rand::Rng;

use crate::db::{Chore, Db, DbError, Retention};
use crate::queue::Redis;

/// Between two turns, whichever replicas have them.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// After a replica has started: what it finds to do first is to work.
const FIRST: Duration = Duration::from_secs(3);
/// After a turn that was not finished.
const AGAIN: Duration = Duration::from_secs(60);
/// Between two chunks, so that others get at the tables.
const PAUSE: Duration = Duration::from_millis(50);
/// Replicas that wait for the same time do not ask at once.
const JITTER: Duration = Duration::from_secs(10);

/// Keeps house for one queue.
#[derive(Clone)]
pub struct Housekeeping {
    /// The ledger.
    pub db: Db,
    /// The queue.
    pub redis: Redis,
    /// How long what has ended is kept.
    pub retention: Retention,
    /// Whether it is only counted what there is to do.
    pub dry_run: bool,
}

/// What has come of one chore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tidied {
    /// Rows or entries, and what was done to them, in words that go on "removed 3 …".
    pub count: i64,
    /// What was done to them: `removed`, `emptied`, `ended`, `cut`.
    pub done: &'static str,
    /// What they are.
    pub what: &'static str,
}

impl Housekeeping {
    /// Takes a turn whenever nobody had one for an hour, for ever.
    pub(super) async fn take_turns(&self, worker_id: &str) {
        let mut pause = FIRST;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.redis.take_housekeeping(worker_id, EVERY).await {
                Ok(Ok(())) => self.take_turn().await,
                Ok(Err(left)) => left + rand::rng().random_range(Duration::ZERO..JITTER),
                // Whether Redis answers is for others to say.
                Err(_) => AGAIN,
            };
        }
    }

    /// Returns when the next turn may be taken.
    async fn take_turn(&self) -> Duration {
        let tell = |tidied: Tidied| {
            let Tidied { count, done, what } = tidied;
            if count > 0 {
                tracing::info!(count, "housekeeping has {done} {what}");
            }
            Ok(())
        };
        let Err(error) = self.tidy(false, tell).await else {
            return EVERY;
        };
        if is_lasting(&error) {
            tracing::warn!(
                "housekeeping cannot remove what is old: {error:#}; grant the rights of deploy/postgres/roles.sql, or run tidy as \
                 somebody who has them"
            );
            return EVERY;
        }
        let _ = self.redis.leave_housekeeping(AGAIN).await;
        AGAIN
    }

    /// Does all chores, the first to the last, and tells of each. Of a large ledger a turn looks for old jobs in the part
    /// of the hour only, unless it is `all_jobs`.
    ///
    /// # Errors
    /// What Postgres or Redis answers, or `tell`. Each chore is tried all the same; the first error is returned.
    pub async fn tidy(
        &self,
        all_jobs: bool,
        mut tell: impl FnMut(Tidied) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut result = Ok(());
        for chore in Chore::ALL {
            let (done, what) = match chore {
                Chore::Ghosts => ("ended", "jobs whose rows in ac_background_jobs are gone"),
                Chore::Prompts => ("emptied", "packages of jobs that have ended"),
                Chore::DeadPackages => ("removed", "packages that failed for good (DEAD_RETENTION)"),
                Chore::Callbacks => (
                    "removed",
                    "callbacks that were delivered or given up (DEAD_RETENTION)",
                ),
                Chore::Jobs => ("removed", "jobs that have ended (JOBS_RETENTION)"),
                Chore::Calls => ("removed", "paid calls (CALLS_RETENTION)"),
                Chore::Actions => ("removed", "rows of what commands have done (CALLS_RETENTION)"),
                Chore::Budgets => ("removed", "days and months of budgets (CALLS_RETENTION)"),
            };
            let Some(older_than) = chore.older_than(&self.retention) else {
                continue;
            };
            match self.all_of(chore, older_than, all_jobs).await {
                Ok(count) => tell(Tidied { count, done, what })?,
                Err(error) => result = result.and(Err(anyhow::Error::new(error).context(what))),
            }
        }
        if let Some(older_than) = self.retention.dead {
            let what = "entries of the dead set in Redis (DEAD_RETENTION)";
            let before = self.db.now().await? - older_than;
            let count = self
                .redis
                .forget_dead_before(before.timestamp_millis(), self.dry_run)
                .await?;
            tell(Tidied {
                count,
                done: "removed",
                what,
            })?;
        }
        let count = self.redis.cut_dead(self.dry_run).await?;
        let what = "entries of the dead set in Redis that were too long (DEAD_LETTER_MAX_BYTES)";
        tell(Tidied {
            count,
            done: "cut",
            what,
        })?;
        result
    }

    async fn all_of(&self, chore: Chore, older_than: Duration, all_jobs: bool) -> Result<i64, DbError> {
        if self.dry_run {
            return self.db.count_untidy(chore, older_than).await;
        }
        let mut total = 0;
        let mut numbers = self.db.job_numbers(all_jobs).await?;
        loop {
            let chunk = self.db.tidy(chore, older_than, &numbers).await?;
            total += chunk.count;
            let Some(next) = chunk.next else {
                return Ok(total);
            };
            numbers = next..=*numbers.end();
            if chunk.count > 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether an error will be the same in a minute.
fn is_lasting(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(DbError::Refused(_)))
}
