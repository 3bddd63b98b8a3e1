//! How an attempt ends, and the one place where that is settled in Redis, counted and logged.
//!
//! Postgres comes before Redis at every end: whoever makes an [`Ending`] has committed it there. A crash before it is settled
//! brings the package back, whose job's state then says the same again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::health::Health;
use super::in_hand::InHand;
use super::upkeep::Alarm;
use crate::db::{DeletedRecord, PictureRecord};
use crate::failure::{ErrorClass, Failure, without_advice};
use crate::fault;
use crate::measure::{self, Outcome, Stage};
use crate::queue::{Command, Due, Queue, ReplicaStatus};

const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The end of one attempt at a package.
pub(super) struct Ending {
    /// What becomes of the delivery. `None`: it has been parked, and is not this replica's any more.
    pub(super) command: Option<Command>,
    /// How it is counted and logged.
    pub(super) report: Report,
}

/// What an attempt has come to.
pub(super) enum Report {
    /// The job has its image.
    Completed {
        job_id: i32,
        image_id: i32,
        picture: Arc<PictureRecord>,
    },
    /// The job has deleted its picture.
    Deleted { record: DeletedRecord },
    /// The attempt has failed, and there will be another.
    Retried {
        job_id: i32,
        attempt: u32,
        max_attempts: u32,
        delay: Duration,
        failure: Failure,
    },
    /// The attempt has failed in a way that costs nothing and counts for nothing: there will be another when its provider may be
    /// called.
    Delayed { job_id: i32, failure: Failure },
    /// The job has failed for good.
    Failed {
        job_id: i32,
        attempts: u32,
        failure: Failure,
    },
    /// An operator has to decide.
    Held { job_id: i32, failure: Failure },
    /// The package cannot become an attempt.
    Rejected { job_id: Option<i32>, failure: Failure },
    /// Somebody has ended the job.
    Cancelled { job_id: i32, message: String },
    /// The job had ended before.
    Repeated,
    /// Nothing is counted: the package waits for a cause, which the log may say.
    Waits(Option<String>),
    /// Nothing is counted, and somebody should look: Postgres has refused what was to be recorded.
    Refused(Failure),
}

impl Ending {
    /// The delivery waits for a time. Nothing is counted.
    pub(super) fn waits(command: Command) -> Self {
        Self {
            command: Some(command),
            report: Report::Waits(None),
        }
    }

    /// The delivery has been parked already.
    pub(super) fn parked() -> Self {
        Self {
            command: None,
            report: Report::Waits(None),
        }
    }
}

/// Settles endings.
pub(super) struct Endings {
    pub(super) queue: Queue,
    pub(super) health: Arc<Health>,
    pub(super) status: Arc<ReplicaStatus>,
    pub(super) in_hand: Arc<InHand>,
    pub(super) alarm: Arc<Alarm>,
}

impl Endings {
    /// Counts and logs an ending, then settles it in Redis, however long that takes.
    pub(super) async fn settle(&self, ending: Ending) {
        self.count(&ending.report);
        ending.report.log();
        if let Some(command) = ending.command {
            measure::stage(Stage::Settle, self.run(command)).await;
        }
        if matches!(ending.report, Report::Completed { .. } | Report::Deleted { .. }) {
            fault::point("settled");
        }
    }

    fn count(&self, report: &Report) {
        let counter = match report {
            Report::Completed { .. } | Report::Deleted { .. } => Some(&self.status.completed),
            Report::Retried { .. } | Report::Delayed { .. } => Some(&self.status.retried),
            Report::Failed { .. } | Report::Rejected { .. } => Some(&self.status.failed),
            _ => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((outcome, class)) = report.outcome() {
            measure::ended(outcome, class);
        }
    }

    /// Runs a command until Redis has answered it.
    async fn run(&self, command: Command) {
        let due = command.due();
        let command = Arc::new(command);
        let mut pause = PAUSE;
        let mut answer = self.queue.run(command.clone());
        // The next package is claimed after this command, with the same round trip.
        if let Some(id) = command.delivery() {
            self.in_hand.free_slot_to_end(id);
        }
        while let Err(error) = answer.await {
            self.health.redis_failed(&self.queue.explain(error).await);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            answer = self.queue.run(command.clone());
        }
        match due {
            Some(Due::In(delay)) => self.alarm.set(delay),
            Some(Due::At(_)) => self.alarm.set(Duration::ZERO),
            None => {}
        }
    }
}

impl Report {
    /// How it is counted, where it is.
    pub(super) fn outcome(&self) -> Option<(Outcome, Option<ErrorClass>)> {
        match self {
            Self::Completed { .. } | Self::Deleted { .. } => Some((Outcome::Completed, None)),
            Self::Retried { failure, .. } | Self::Delayed { failure, .. } => {
                Some((Outcome::Retried, Some(failure.class)))
            }
            Self::Failed { failure, .. } => Some((Outcome::Failed, Some(failure.class))),
            Self::Held { failure, .. } => Some((Outcome::Held, Some(failure.class))),
            Self::Rejected { failure, .. } => Some((Outcome::Rejected, Some(failure.class))),
            Self::Cancelled { .. } => Some((Outcome::Cancelled, Some(ErrorClass::Cancelled))),
            Self::Repeated => Some((Outcome::Repeated, None)),
            Self::Waits(_) | Self::Refused(_) => None,
        }
    }

    fn log(&self) {
        match self {
            Self::Completed {
                job_id,
                image_id,
                picture,
            } => tracing::info!(
                image_id,
                gen_ai.provider.name = picture.provider,
                gen_ai.request.model = picture.model,
                cost_usd = picture.cost.map(|(usd, _)| usd),
                "job {job_id} is done: image {image_id}"
            ),
            Self::Deleted { record } => tracing::info!(
                image_id = record.image_id,
                "job {} is done: {} is {}",
                record.job_id,
                record
                    .image_id
                    .map_or_else(|| "a picture".to_owned(), |id| format!("image {id}")),
                record.word
            ),
            Self::Retried {
                job_id,
                attempt,
                max_attempts,
                delay,
                failure,
            } => tracing::warn!(
                error.r#type = %failure.class,
                delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                details = failure.details,
                "attempt {attempt} of {max_attempts} of job {job_id} failed, next in {delay:.1?}: {}",
                without_advice(&failure.message)
            ),
            Self::Delayed { job_id, failure } => tracing::warn!(
                error.r#type = %failure.class,
                details = failure.details,
                "job {job_id} waits for its provider; no attempt is counted"
            ),
            Self::Failed {
                job_id,
                attempts,
                failure,
            } => tracing::warn!(
                error.r#type = %failure.class,
                details = failure.details,
                "job {job_id} failed for good in attempt {attempts}: {failure}"
            ),
            Self::Held { job_id, failure } => tracing::error!(
                error.r#type = %failure.class,
                details = failure.details,
                "job {job_id} is held: decide whether another picture may be bought, then run generative-ai-worker jobs release {job_id}"
            ),
            Self::Rejected { job_id, failure } => tracing::warn!(
                job_id,
                details = failure.details,
                "a package was refused: {failure}"
            ),
            Self::Cancelled { job_id, message } => tracing::info!("job {job_id} was cancelled: {message}"),
            Self::Waits(Some(why)) => tracing::info!("{why}"),
            Self::Waits(None) | Self::Repeated => {}
            Self::Refused(failure) => tracing::error!(
                details = failure.details,
                "the end of a job cannot be recorded; it is tried again later"
            ),
        }
    }
}
