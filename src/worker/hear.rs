//! What a replica is told without asking: that there is work, how it stands with a provider, that a job is cancelled.

use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::queue::{Notice, Ring, Standing};

impl Shared {
    /// Listens until this replica stops for good.
    pub(super) async fn hear(&self, token: &CancellationToken) {
        let mut bell = self.queue.bell();
        while let Some(ring) = token.run_until_cancelled(bell.next()).await {
            match ring {
                Ring::Work => self.rung.notify_one(),
                Ring::Notice(Notice::Provider {
                    provider,
                    now_ms,
                    fields,
                }) => {
                    let standing = Standing::new(&fields, now_ms.parse().unwrap_or_default());
                    self.room.note(&provider, standing).await;
                }
                Ring::Notice(Notice::Cancelled { job_id }) => {
                    if self.hand.has_job(job_id) {
                        self.drop_cancelled().await;
                    }
                }
            }
        }
    }

    /// Stops work on jobs in hand that have been cancelled. Postgres decides which those are.
    pub(super) async fn drop_cancelled(&self) {
        let jobs = self.hand.jobs();
        if jobs.is_empty() {
            return;
        }
        // Where Postgres is away, it is asked again when it is back.
        for job_id in self.db.cancelled_among(jobs).await.unwrap_or_default() {
            self.hand.cancel(job_id);
        }
    }
}
