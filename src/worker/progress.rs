//! How far jobs have come, told to people a few times a second at the most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::db::Db;
use crate::generator::Progress;
use crate::queue::{Event, Queue};

/// A job that passes several steps within this time shows only the last of them, which costs one write.
const INTERVAL: Duration = Duration::from_millis(250);

/// Collects steps and writes them in batches.
#[derive(Clone)]
pub(super) struct Reporter {
    queue: Queue,
    db: Db,
    steps: Arc<Mutex<HashMap<i32, u8>>>,
    has_steps: Arc<Notify>,
}

impl Reporter {
    pub(super) fn new(queue: Queue, db: Db) -> Self {
        Self {
            queue,
            db,
            steps: Arc::default(),
            has_steps: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, u8>> {
        self.steps
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// The reporter of one job. When it is dropped nothing more is told of the job's progress.
    pub(super) fn of(&self, job_id: i32) -> JobProgress<'_> {
        JobProgress {
            reporter: self,
            job_id,
        }
    }

    /// Writes steps as they come, for ever.
    pub(super) async fn run(self) {
        loop {
            self.has_steps.notified().await;
            tokio::time::sleep(INTERVAL).await;
            let steps: Vec<(i32, u8)> = self
                .lock()
                .iter()
                .map(|(job_id, percent)| (*job_id, *percent))
                .collect();
            if steps.is_empty() {
                continue;
            }
            let rows: Vec<(i32, i32)> = steps
                .iter()
                .map(|(job_id, percent)| (*job_id, i32::from(*percent)))
                .collect();
            // A step that cannot be written is made up for by the next one.
            let _ = self.db.raise_progress(&rows).await;
            let mut waiting = self.lock();
            for (job_id, percent) in steps {
                let Some(latest) = waiting.get(&job_id).copied() else {
                    continue;
                };
                // Under the lock, so that no step is announced after its job's end.
                self.queue.publish(Event::progress(job_id, percent));
                if latest == percent {
                    waiting.remove(&job_id);
                }
            }
            if !waiting.is_empty() {
                self.has_steps.notify_one();
            }
        }
    }
}

/// One job's way to the reporter.
pub(super) struct JobProgress<'a> {
    reporter: &'a Reporter,
    job_id: i32,
}

impl Progress for JobProgress<'_> {
    fn reached(&self, percent: u8) {
        self.reporter.lock().insert(self.job_id, percent);
        self.reporter.has_steps.notify_one();
    }
}

impl Drop for JobProgress<'_> {
    fn drop(&mut self) {
        self.reporter.lock().remove(&self.job_id);
    }
}
