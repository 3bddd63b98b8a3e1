//! What operators do, with commands and on the page: the same code, and a row of `generative_ai.operator_actions` for each.

mod callbacks;
mod cancel;
mod purge;
mod release;
mod retry;
mod switch;

use std::time::Duration;

use crate::db::{Db, DbError};
use crate::ops::words::counted;
use crate::plain_text::one_line;

pub(crate) use callbacks::{drop_callbacks, retry_callbacks};
pub(crate) use cancel::{cancel, message_of};
pub(crate) use purge::purge_all;
pub(crate) use release::{is_alive, not_in_ledger, release, why_not};
pub(crate) use retry::{Rate, Tally, retry_all};
pub(crate) use switch::{pause, resume, resume_provider};

/// What is written down of what somebody has typed.
pub(crate) const MOST_CHARS: usize = 300;
/// For so long who has done something waits for Postgres to take the row.
const PATIENCE: Duration = Duration::from_secs(5);

/// What somebody is about to do.
pub(crate) struct Intent<'a> {
    pub(crate) db: &'a Db,
    pub(crate) queue: &'a str,
    pub(crate) by: &'a str,
    /// The command.
    pub(crate) action: &'a str,
    /// About what.
    pub(crate) subject: String,
}

/// What was done.
pub(crate) struct Done {
    /// To how many jobs or packages.
    pub(crate) count: i64,
    /// In a sentence.
    pub(crate) said: String,
    /// Whether it is what was asked for.
    pub(crate) is_done: bool,
}

impl Done {
    /// Nothing was changed, for this reason.
    pub(crate) fn nothing(said: String) -> Self {
        Self {
            count: 0,
            said,
            is_done: false,
        }
    }
}

impl Intent<'_> {
    /// Writes it down before anything is changed, so that what is cut off is seen as well.
    ///
    /// # Errors
    /// [`DbError`].
    pub(crate) async fn begin(&self) -> Result<i64, DbError> {
        let subject = one_line(&self.subject, MOST_CHARS);
        self.db
            .begin_action(self.queue, self.by, self.action, &subject)
            .await
    }

    /// Writes down what came of it.
    ///
    /// # Errors
    /// [`DbError`].
    pub(crate) async fn end(&self, id: i64, done: &anyhow::Result<Done>) -> Result<(), DbError> {
        let (count, outcome) = match done {
            Ok(done) => (done.count, done.said.clone()),
            Err(error) => (0, format!("it failed: {error:#}")),
        };
        self.db
            .end_action(id, count, &one_line(&outcome, MOST_CHARS))
            .await
    }

    /// Does what must not be done without a row of it.
    ///
    /// # Errors
    /// Those of what is done; and where Postgres does not take the row, when nothing is done.
    pub(crate) async fn run_noted(
        &self,
        doing: impl Future<Output = anyhow::Result<Done>>,
    ) -> anyhow::Result<Done> {
        let id = self.begin().await.map_err(|error| {
            anyhow::Error::new(error)
                .context("nothing was done, as it cannot be written down in generative_ai.operator_actions")
        })?;
        let done = doing.await;
        if let Err(error) = self.end(id, &done).await {
            tracing::warn!(
                "what came of an action is not written down in generative_ai.operator_actions: {error}"
            );
        }
        done
    }

    /// Leaves a row of what was done in Redis already, if it changed anything: a queue is paused also while Postgres is away.
    ///
    /// # Errors
    /// Why it is not written down.
    pub(crate) async fn note(&self, done: &Done) -> Result<(), String> {
        if done.count == 0 {
            return Ok(());
        }
        let noting = async {
            let id = self.begin().await?;
            let outcome = one_line(&done.said, MOST_CHARS);
            self.db.end_action(id, done.count, &outcome).await
        };
        match tokio::time::timeout(PATIENCE, noting).await {
            Ok(noted) => noted.map_err(|error| error.to_string()),
            Err(_) => Err(format!(
                "Postgres has not answered within {} s",
                PATIENCE.as_secs()
            )),
        }
    }
}

/// `1 package`, `2 packages`
pub(crate) fn packages(count: i64) -> String {
    counted(count, "package", "packages")
}
