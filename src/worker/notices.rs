//! What a replica learns without asking: that there is work, how it stands with a provider, that a job is cancelled.

use tokio_util::sync::CancellationToken;

use super::upkeep::Upkeep;
use crate::queue::{Notice, Ring, Standing};

impl Upkeep {
    /// Listens until this replica stops for good.
    pub(super) async fn listen(&self, token: &CancellationToken) {
        let mut bell = self.queue.bell();
        while let Some(ring) = token.run_until_cancelled(bell.next()).await {
            match ring {
                Ring::Work => self.wake.work.notify_one(),
                Ring::Notice(Notice::Provider {
                    provider,
                    now_ms,
                    fields,
                }) => {
                    let standing = Standing::new(&fields, now_ms.parse().unwrap_or_default());
                    self.room.note(&provider, standing).await;
                }
                Ring::Notice(Notice::Cancelled { job_id }) => {
                    if self.in_hand.has_job(job_id) {
                        self.drop_cancelled().await;
                    }
                }
            }
        }
    }

    /// Stops work on jobs in hand that have been cancelled. Postgres decides which those are.
    pub(super) async fn drop_cancelled(&self) {
        let jobs = self.in_hand.jobs();
        if jobs.is_empty() {
            return;
        }
        // Where Postgres is away, it is asked again when it is back.
        let cancelled = self.statements.db.cancelled_among(jobs).await;
        for job_id in cancelled.unwrap_or_default() {
            self.in_hand.cancel(job_id);
        }
    }
}
