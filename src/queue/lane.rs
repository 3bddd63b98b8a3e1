//! What a worker tells Redis about its deliveries, in order and pipelined: events, settles, delays, burials.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use redis::{Cmd, Script, Value};

use super::scripts::{Scripts, is_lost};
use super::server::Connection;
use super::{DeadLetter, Delivery, Event, Queue, QueueError, Redis};
use crate::batch::Batcher;

/// A reply list that nobody reads is forgotten after a day.
const REPLY_SECONDS: u32 = 24 * 60 * 60;
const MAX_PIPELINE: usize = 200;

/// When a delayed delivery comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// After this time, by the server's clock.
    In(Duration),
    /// At this time.
    At(DateTime<Utc>),
}

/// One step of the lane.
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

impl Queue {
    /// Runs a command in its turn. `false`: the delivery was not this worker's any more, and nothing was done.
    ///
    /// # Errors
    /// [`QueueError`]; the same command can be given again.
    pub async fn run(&self, command: Command) -> Result<bool, QueueError> {
        let ended = || {
            Err(QueueError::Failed(
                "the pipeline that this was part of was stopped".to_owned(),
            ))
        };
        self.lane.submit(command).await.unwrap_or_else(ended)
    }

    /// Tells the event channel, in turn, without waiting for it. Lost when Redis is away: events of progress
    /// are worth nothing later.
    pub fn publish(&self, event: Event) {
        self.lane.submit_unwatched(Command::Publish(event));
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

pub(super) fn spawn(
    redis: &Redis,
    scripts: &Arc<Scripts>,
    worker_id: &Arc<str>,
    dead_letter_max: usize,
) -> Batcher<Command, Result<bool, QueueError>> {
    let encoder = Arc::new(Encoder {
        redis: redis.clone(),
        scripts: scripts.clone(),
        worker_id: worker_id.clone(),
        dead_letter_max,
    });
    // Taken from the pool once and kept: asking the pool costs a round trip of its own each time.
    let connection = Arc::new(tokio::sync::Mutex::new(None::<Connection>));
    Batcher::spawn(MAX_PIPELINE, move |commands: Vec<Command>| {
        let (encoder, connection) = (encoder.clone(), connection.clone());
        async move {
            let mut held = connection.lock().await;
            let redis = &encoder.redis;
            if let Some(mut kept) = held.take().filter(|kept| redis.is_in_use(kept.server())) {
                if let Ok(results) = encoder.run(&mut kept, &commands).await {
                    *held = Some(kept);
                    return results;
                }
                // It may have died long ago, which says nothing of the server now: a new one will tell. What
                // was heard all the same is heard twice, which changes nothing.
                kept.discard();
            }
            let outcome = match redis.connection().await {
                Ok(mut open) => {
                    let outcome = encoder.run(&mut open, &commands).await;
                    match &outcome {
                        Ok(_) => *held = Some(open),
                        // A broken connection must not go back into the pool.
                        Err(_) => open.discard(),
                    }
                    outcome
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(results) => results,
                Err(error) => commands.iter().map(|_| Err(error.clone())).collect(),
            }
        }
    })
}

/// Two more than whole ones, as the server's clock and this time are both cut, and nothing comes back before its time.
fn whole_ms(delay: Duration) -> i64 {
    let rounded = if delay.is_zero() { 0 } else { delay.as_millis() + 2 };
    i64::try_from(rounded).unwrap_or(i64::MAX)
}

struct Encoder {
    redis: Redis,
    scripts: Arc<Scripts>,
    worker_id: Arc<str>,
    dead_letter_max: usize,
}

impl Encoder {
    /// One round trip; a second one when the server has lost the scripts, for those that were refused.
    async fn run(
        &self,
        connection: &mut Connection,
        commands: &[Command],
    ) -> Result<Vec<Result<bool, QueueError>>, QueueError> {
        let all: Vec<usize> = (0..commands.len()).collect();
        let mut answers = self.pipeline(connection, commands, &all).await?;
        let refused: Vec<usize> = all
            .into_iter()
            .filter(|&i| answers[i].as_ref().is_err_and(is_lost))
            .collect();
        if !refused.is_empty() {
            for script in self.scripts.all() {
                script.load_async(connection).await?;
            }
            let again = self.pipeline(connection, commands, &refused).await?;
            for (i, answer) in refused.into_iter().zip(again) {
                answers[i] = answer;
            }
        }
        Ok(answers
            .into_iter()
            .map(|answer| answer.map(|value| value != Value::Int(0)).map_err(Into::into))
            .collect())
    }

    async fn pipeline(
        &self,
        connection: &mut Connection,
        commands: &[Command],
        which: &[usize],
    ) -> Result<Vec<redis::RedisResult<Value>>, QueueError> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for &i in which {
            pipeline.add_command(self.encode(&commands[i]));
        }
        Ok(pipeline.query_async(connection).await?)
    }

    fn encode(&self, command: &Command) -> Cmd {
        let keys = self.redis.keys();
        let json = |event: &Option<Event>| event.as_ref().map(Event::to_json).unwrap_or_default();
        match command {
            Command::Publish(event) => {
                let mut cmd = redis::cmd("PUBLISH");
                cmd.arg(keys.events()).arg(event.to_json());
                cmd
            }
            Command::Settle {
                delivery,
                event,
                reply_to,
            } => {
                let mut cmd = self.call(&self.scripts.settle, &[], reply_to.as_deref(), delivery);
                cmd.arg(json(event)).arg(REPLY_SECONDS);
                cmd
            }
            Command::Delay { delivery, due, event } => {
                let mut cmd = self.call(&self.scripts.delay, &[keys.delayed()], None, delivery);
                let (kind, ms) = match due {
                    Due::In(delay) => ("in", whole_ms(*delay)),
                    Due::At(time) => ("at", time.timestamp_millis()),
                };
                cmd.arg(json(event)).arg(kind).arg(ms);
                cmd
            }
            Command::Bury {
                delivery,
                letter,
                event,
                reply_to,
            } => {
                let mut cmd = self.call(&self.scripts.bury, &[keys.dead()], reply_to.as_deref(), delivery);
                let member = serde_json::to_string(letter).expect("a dead letter has text keys only");
                cmd.arg(event.to_json()).arg(REPLY_SECONDS);
                cmd.arg(member).arg(letter.dead_at).arg(self.dead_letter_max);
                cmd
            }
        }
    }

    /// The beginning that all scripts of a delivery share.
    fn call(&self, script: &Script, more_keys: &[String], reply_to: Option<&str>, delivery: &str) -> Cmd {
        let keys = self.redis.keys();
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(script.get_hash())
            .arg(2 + more_keys.len() + usize::from(reply_to.is_some()));
        cmd.arg(keys.processing(&self.worker_id))
            .arg(keys.in_flight())
            .arg(more_keys)
            .arg(reply_to);
        cmd.arg(delivery).arg(&*self.worker_id).arg(keys.events());
        cmd
    }
}
