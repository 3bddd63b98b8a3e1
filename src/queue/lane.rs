//! What a worker tells Redis about its deliveries and claims from it, in order and pipelined: events, settles, delays, burials, and
//! at the end of each round trip the next packages, so that they come with the answer to what made room for them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::pipeline::Pipeline;
use super::{Adopted, DeadLetter, Delivery, Event, Queue};
use crate::batch::Batcher;
use crate::redis::RedisFailure;

/// Steps that share one round trip at the most.
const MAX_PIPELINE: usize = 200;

/// When a delayed delivery comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// After this time, by the server's clock.
    In(Duration),
    /// At this time, by the server's clock, unless that has come.
    At(DateTime<Utc>),
}

/// What is said of deliveries and jobs.
#[derive(Clone, Debug)]
pub enum Command {
    /// Tells the event channel.
    Publish(Event),
    /// Ends a delivery whose job has ended.
    Settle {
        /// Which.
        delivery: String,
        /// The final event.
        event: Option<Event>,
        /// Who else gets it.
        reply_to: Option<String>,
    },
    /// Lets a delivery wait.
    Delay {
        /// Which.
        delivery: String,
        /// Until when.
        due: Due,
        /// What to tell.
        event: Option<Event>,
    },
    /// Ends a delivery whose job has failed for good.
    Bury {
        /// Which.
        delivery: String,
        /// Its mirror in the dead set.
        letter: DeadLetter,
        /// The final event.
        event: Event,
        /// Who else gets it.
        reply_to: Option<String>,
    },
}

impl Command {
    /// The delivery that it is about.
    #[must_use]
    pub fn delivery(&self) -> Option<&str> {
        match self {
            Self::Publish(_) => None,
            Self::Settle { delivery, .. } | Self::Delay { delivery, .. } | Self::Bury { delivery, .. } => {
                Some(delivery)
            }
        }
    }
}

impl Command {
    /// When the delivery comes back, where it waits for a time.
    #[must_use]
    pub fn due(&self) -> Option<Due> {
        match self {
            Self::Delay { due, .. } => Some(*due),
            _ => None,
        }
    }
}

/// One step of the lane.
pub(super) enum Step {
    Tell(Arc<Command>),
    /// So many packages at the most.
    Claim(usize),
}

/// What has come of a step.
pub(super) enum Answer {
    /// Whether the delivery was this worker's.
    Heard(bool),
    Claimed(Adopted),
}

fn stopped() -> Result<Answer, RedisFailure> {
    let message = "the pipeline that this was part of was stopped";
    Err(RedisFailure::Failed(message.to_owned()))
}

impl Queue {
    /// Runs a command in its turn, which is kept from this call on. `false`: nothing was done, as the delivery was
    /// not this worker's any more, or was to wait for a time that has come.
    ///
    /// # Errors
    /// [`RedisFailure`]; the same command can be given again.
    pub fn run<C: Into<Arc<Command>>>(
        &self,
        command: C,
    ) -> impl Future<Output = Result<bool, RedisFailure>> + Send + use<C> {
        let answer = self.lane.submit(Step::Tell(command.into()));
        async {
            match answer.await.unwrap_or_else(stopped)? {
                Answer::Heard(is_mine) => Ok(is_mine),
                Answer::Claimed(_) => Ok(false),
            }
        }
    }

    /// Claims up to `free` packages: what has landed, then the waiting lists, each by its share. What has landed and is
    /// not claimed goes back. What was said before is heard before.
    ///
    /// # Errors
    /// [`RedisFailure`]; packages may have been claimed all the same: see [`Self::in_hand`].
    pub async fn adopt(&self, free: usize) -> Result<Adopted, RedisFailure> {
        match self
            .lane
            .submit(Step::Claim(free))
            .await
            .unwrap_or_else(stopped)?
        {
            Answer::Claimed(adopted) => Ok(adopted),
            Answer::Heard(_) => Err(RedisFailure::Lost),
        }
    }

    /// Tells the event channel, in turn and within milliseconds, without waiting for it. Lost when Redis is away: events of
    /// progress are worth nothing later.
    pub fn publish(&self, event: Event) {
        self.lane
            .submit_unwatched(Step::Tell(Arc::new(Command::Publish(event))));
    }
}

impl Delivery {
    /// Ends the delivery of a job that has ended.
    #[must_use]
    pub fn settle(&self, event: Option<Event>, reply_to: Option<String>) -> Command {
        Command::Settle {
            delivery: self.id.clone(),
            event,
            reply_to,
        }
    }

    /// Lets the delivery wait.
    #[must_use]
    pub fn delay(&self, due: Due, event: Option<Event>) -> Command {
        Command::Delay {
            delivery: self.id.clone(),
            due,
            event,
        }
    }

    /// Ends the delivery of a job that has failed for good.
    #[must_use]
    pub fn bury(&self, letter: DeadLetter, event: Event, reply_to: Option<String>) -> Command {
        Command::Bury {
            delivery: self.id.clone(),
            letter,
            event,
            reply_to,
        }
    }
}

pub(super) type Lane = Batcher<Step, Result<Answer, RedisFailure>>;

pub(super) fn spawn(pipeline: Pipeline) -> Lane {
    let pipeline = Arc::new(tokio::sync::Mutex::new(pipeline));
    Batcher::spawn(MAX_PIPELINE, move |steps: Vec<Step>| {
        let pipeline = pipeline.clone();
        async move { pipeline.lock().await.run(steps).await }
    })
}
