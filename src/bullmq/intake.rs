//! Takes jobs while there is room for them, and no more: what waits stays with BullMQ, where its producer and the worker that
//! was there before see it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bullmq::worker::WorkerEvent;
use bullmq::{Job, Worker};
use chrono::{DateTime, Utc};
use redis::Script;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{BullmqQueue, link};
use crate::fault;
use crate::measure;
use crate::queue::{Priority, Redis, TakenOver};
use crate::redis::RedisFailure;

/// Between two looks at whether there is room.
const TURN: Duration = Duration::from_millis(100);
/// Between two looks while nothing of ours waits and others' jobs do, and after what has failed.
const REST: Duration = Duration::from_secs(1);
/// How long the job that is in hand may take when the replica stops.
const CLOSE_MS: u64 = 300;
/// While so many packages are held up (by a provider that is away, say), none are taken.
const HELD_UP_MAX: u64 = 1_000;
/// Why BullMQ has a job among those that failed of which only the id was left.
const GONE: &str =
    "only the id of this job was left; what it asked for was removed from Redis while it waited";

/// What takes a BullMQ queue's jobs.
pub struct Intake {
    source: BullmqQueue,
    target: Redis,
    worker_id: String,
    /// How many more packages this replica could begin now.
    free: Box<dyn Fn() -> usize + Send + Sync>,
}

/// What the task that takes and the task that allows it have in common.
struct Gate {
    source: BullmqQueue,
    target: Redis,
    /// How many jobs may be taken before the next look.
    left: AtomicUsize,
    /// Whether jobs of others have been seen, and not been gone since.
    is_shared: AtomicBool,
    /// Whether what has failed last was told.
    has_failed: AtomicBool,
    worker: OnceLock<Weak<Worker>>,
}

impl Intake {
    /// `free` says how many more packages the replica could begin now.
    pub fn new(
        source: BullmqQueue,
        target: Redis,
        worker_id: &str,
        free: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Self {
        Self {
            source,
            target,
            worker_id: worker_id.to_owned(),
            free: Box::new(free),
        }
    }

    /// Takes jobs until `stop`. Rides out every outage.
    pub async fn run(self, stop: CancellationToken) {
        tracing::info!(
            queue = self.source.name(),
            "taking over the jobs of this BullMQ queue"
        );
        while !stop.is_cancelled() {
            let gate = Arc::new(Gate {
                source: self.source.clone(),
                target: self.target.clone(),
                left: AtomicUsize::new(0),
                is_shared: AtomicBool::new(false),
                has_failed: AtomicBool::new(false),
                worker: OnceLock::new(),
            });
            if let Err(error) = self.take_from_one_server(&gate, &stop).await {
                gate.failed(&error);
                let _ = stop.run_until_cancelled(tokio::time::sleep(REST)).await;
            }
        }
    }

    /// Returns when another server has taken over, or this one has failed.
    async fn take_from_one_server(&self, gate: &Arc<Gate>, stop: &CancellationToken) -> Result<(), String> {
        let server = self
            .source
            .connector
            .server()
            .await
            .map_err(|error| error.to_string())?;
        let options = link::options(&self.source, &server, &self.worker_id);
        let keeper = gate.clone();
        let keep = move |job: Job, _| {
            let gate = keeper.clone();
            async move { gate.keep(&job).await }
        };
        let worker = Worker::with_options(self.source.name(), keep, options).await;
        let worker = Arc::new(worker.map_err(|error| error.to_string())?);
        let _ = gate.worker.set(Arc::downgrade(&worker));
        // Nothing is taken before there is room.
        worker.pause();
        worker.run().await.map_err(|error| error.to_string())?;
        let told = tokio::spawn(tell(gate.clone(), worker.clone()));
        let mut rest = Duration::ZERO;
        let ended = loop {
            if stop
                .run_until_cancelled(tokio::time::sleep(TURN + rest))
                .await
                .is_none()
            {
                break Ok(());
            }
            self.source.connector.look_around();
            if !self.source.connector.is_in_use(&server) {
                break Ok(());
            }
            match self.turn(gate, &worker).await {
                Ok(next) => rest = next,
                Err(error) => break Err(error.to_string()),
            }
        };
        worker.pause();
        let _ = worker.close(CLOSE_MS).await;
        told.abort();
        ended
    }

    /// Opens or closes the gate; returns how long to rest before the next look.
    async fn turn(&self, gate: &Gate, worker: &Worker) -> Result<Duration, RedisFailure> {
        let free = (self.free)();
        if free == 0 {
            worker.pause();
            return Ok(Duration::ZERO);
        }
        if !worker.is_paused() {
            return Ok(Duration::ZERO);
        }
        let backlog = self.target.backlog().await?;
        if backlog.is_paused || backlog.held_up >= HELD_UP_MAX {
            return Ok(REST);
        }
        let waiting = usize::try_from(backlog.waiting).unwrap_or(usize::MAX);
        let mut room = free.saturating_sub(waiting);
        if room > 0 && gate.is_shared.load(Ordering::Relaxed) {
            room = gate.bring_forward(room).await?;
            if room == 0 {
                return Ok(REST);
            }
        }
        if room > 0 {
            gate.left.store(room, Ordering::Relaxed);
            worker.resume();
        }
        Ok(Duration::ZERO)
    }
}

impl Gate {
    fn close(&self) {
        if let Some(worker) = self.worker.get().and_then(Weak::upgrade) {
            worker.pause();
        }
    }

    /// One job that BullMQ has given us: pushed as a package. The library completes it when this is `Ok`, and puts it back to
    /// the head of its list where it is "limited".
    async fn keep(&self, job: &Job) -> Result<Value, bullmq::Error> {
        let give_back = || Err(bullmq::Error::RateLimited { delay_ms: 0 });
        if !self
            .source
            .settings
            .job_names
            .iter()
            .any(|name| name == job.name())
        {
            if job.name().is_empty() && self.is_gone(job).await == Ok(true) {
                let (queue, job) = (self.source.name(), job.id());
                tracing::warn!(
                    queue,
                    job,
                    "a BullMQ job was removed from Redis while its id waited; it is put among those that failed"
                );
                return Err(bullmq::Error::Unrecoverable(GONE.to_owned()));
            }
            if !self.is_shared.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    queue = self.source.name(),
                    name = job.name(),
                    "the BullMQ queue also has jobs that are not named in BULLMQ_JOB_NAMES; they are left to others"
                );
            }
            self.close();
            return give_back();
        }
        fault::point("bullmq-taken");
        match self.push(job).await {
            Ok(()) => {
                fault::point("bullmq-kept");
                measure::TAKEN_OVER.count(1, &[]);
                if self.left.fetch_sub(1, Ordering::Relaxed) <= 1 {
                    self.close();
                }
                Ok(Value::Null)
            }
            Err(error) => {
                self.close();
                self.failed(&error.to_string());
                give_back()
            }
        }
    }

    /// Whether nothing is left of a job but its id, which would come back to the head of the list for ever: BullMQ writes a name with
    /// each job.
    async fn is_gone(&self, job: &Job) -> Result<bool, RedisFailure> {
        let mut connection = self.source.connector.connection().await?;
        let has_name: bool = redis::cmd("HEXISTS")
            .arg(self.source.key(job.id()))
            .arg("name")
            .query_async(&mut connection)
            .await?;
        Ok(!has_name)
    }

    /// Pushes the job's data as its producer wrote it: the library has read it, and would write it otherwise.
    async fn push(&self, job: &Job) -> Result<(), RedisFailure> {
        let mut connection = self.source.connector.connection().await?;
        let data: Option<Vec<u8>> = redis::cmd("HGET")
            .arg(self.source.key(job.id()))
            .arg("data")
            .query_async(&mut connection)
            .await?;
        match data {
            Some(data) => {
                let origin = self.origin(job);
                let priority = priority(job.priority());
                self.target.push_taken_over(priority, &data, &origin).await
            }
            // Its producer has removed it meanwhile.
            None => Ok(()),
        }
    }

    /// What is worth to be known of it later.
    fn origin(&self, job: &Job) -> TakenOver {
        let taken_at = Utc::now();
        let added_at = i64::try_from(job.timestamp()).ok();
        TakenOver {
            queue: self.source.name().to_owned(),
            id: job.id().to_owned(),
            name: job.name().to_owned(),
            added_at: added_at
                .and_then(DateTime::from_timestamp_millis)
                .unwrap_or(taken_at),
            taken_at,
            priority: job.priority(),
            attempts_made: job.attempts_made(),
        }
    }

    /// Brings up to `most` jobs of ours to where they are taken next; returns how many.
    async fn bring_forward(&self, most: usize) -> Result<usize, RedisFailure> {
        let script = Script::new(include_str!("scripts/forward.lua"));
        let mut call = script.key(self.source.key("wait"));
        call.key(self.source.key("prioritized"))
            .key(self.source.key("delayed"))
            .arg(self.source.key(""))
            .arg(most)
            .arg(Utc::now().timestamp_millis());
        self.source
            .settings
            .job_names
            .iter()
            .for_each(|name| _ = call.arg(name));
        let mut connection = self.source.connector.connection().await?;
        let (ours, others, due): (usize, usize, usize) = call.invoke_async(&mut connection).await?;
        if others == 0 {
            self.is_shared.store(false, Ordering::Relaxed);
            return Ok(most);
        }
        // BullMQ moves what is due when it takes.
        Ok(if due > 0 { ours.max(1) } else { ours })
    }

    fn failed(&self, error: &str) {
        if !self.has_failed.swap(true, Ordering::Relaxed) {
            let queue = self.source.name();
            tracing::error!(
                queue,
                error,
                "nothing can be taken from the BullMQ queue; trying again until it goes"
            );
        }
    }
}

/// Hears what the library says, which it keeps until somebody does.
async fn tell(gate: Arc<Gate>, worker: Arc<Worker>) {
    while let Some(event) = worker.next_event().await {
        match event {
            WorkerEvent::Error(error) => gate.failed(&error),
            WorkerEvent::Completed { .. } if gate.has_failed.swap(false, Ordering::Relaxed) => {
                tracing::info!(
                    queue = gate.source.name(),
                    "jobs of the BullMQ queue are taken again"
                );
            }
            WorkerEvent::Stalled { job_id } => {
                tracing::warn!(job = job_id, "a BullMQ job whose taker died waits again");
            }
            _ => {}
        }
    }
}

/// The list for a priority of BullMQ, where 1 goes first and 0 says nothing. The replaced system wrote now 1, critical 5, high 100,
/// medium 1000, low 10000.
fn priority(number: u32) -> Priority {
    match number {
        0 => Priority::Normal,
        1..=5 => Priority::Critical,
        6..=100 => Priority::High,
        101..=1_000 => Priority::Normal,
        _ => Priority::Low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_replaced_system_lead_to_the_lists_of_their_names() {
        let cases = [
            (0, Priority::Normal),
            (1, Priority::Critical),
            (5, Priority::Critical),
            (100, Priority::High),
            (1_000, Priority::Normal),
            (10_000, Priority::Low),
        ];
        for (number, list) in cases {
            assert_eq!(priority(number), list, "{number}");
        }
    }
}
