//! One round trip of the lane: its steps as few commands, and what their answers mean for each step.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Script, Value};

use super::lane::{Answer, Command, Due, Step};
use super::scripts::{LOADS, Scripts, is_lost};
use super::turns::Turns;
use super::{DeadLetter, Event, Redis};
use crate::redis::{Connection, RedisFailure};

/// A reply list that nobody reads is forgotten after a day.
pub(super) const REPLY_SECONDS: u32 = 24 * 60 * 60;

pub(super) struct Pipeline {
    pub(super) redis: Redis,
    pub(super) scripts: Arc<Scripts>,
    pub(super) worker_id: Arc<str>,
    pub(super) turns: Turns,
    /// Taken from the pool once and kept: asking the pool costs a round trip of its own each time.
    pub(super) connection: Option<Connection>,
}

/// A command, and the steps that it is for.
type Call = (Cmd, Vec<usize>);

type Answers = Vec<Result<Answer, RedisFailure>>;

impl Pipeline {
    pub(super) async fn run(&mut self, steps: Vec<Step>) -> Answers {
        let all: Vec<usize> = (0..steps.len()).collect();
        let mut which = &all;
        let told: Vec<usize>;
        let kept = self.connection.take();
        if let Some(mut kept) = kept.filter(|kept| self.redis.is_in_use(kept.server())) {
            if let Ok(answers) = self.run_over(&mut kept, &steps, which).await {
                self.connection = Some(kept);
                return answers;
            }
            // It may have died long ago, which says nothing of the server now: a new one will tell. What was heard all
            // the same is heard twice, which changes nothing. What was claimed has to be looked for in the hand.
            kept.discard();
            told = all
                .iter()
                .copied()
                .filter(|&i| matches!(steps[i], Step::Tell(_)))
                .collect();
            which = &told;
        }
        let outcome = match self.redis.connection().await {
            Ok(mut open) => {
                let outcome = self.run_over(&mut open, &steps, which).await;
                match &outcome {
                    Ok(_) => self.connection = Some(open),
                    // A broken connection must not go back into the pool.
                    Err(_) => open.discard(),
                }
                outcome
            }
            Err(error) => Err(error),
        };
        outcome.unwrap_or_else(|error| steps.iter().map(|_| Err(error.clone())).collect())
    }

    /// One round trip; another one each time that the server has lost the scripts, for the calls that were refused. Steps that
    /// are not to be run count as lost.
    async fn run_over(
        &mut self,
        connection: &mut Connection,
        steps: &[Step],
        which: &[usize],
    ) -> Result<Answers, RedisFailure> {
        let mut answers: Answers = steps.iter().map(|_| Err(RedisFailure::Lost)).collect();
        let mut refused = self.round_trip(connection, steps, which, &mut answers).await?;
        for _ in 0..LOADS {
            if refused.is_empty() {
                break;
            }
            for script in self.scripts.all() {
                script.load_async(connection).await?;
            }
            refused = self.round_trip(connection, steps, &refused, &mut answers).await?;
        }
        Ok(answers)
    }

    /// Gives each of these steps its answer, and returns those whose script the server has lost.
    async fn round_trip(
        &mut self,
        connection: &mut Connection,
        steps: &[Step],
        which: &[usize],
        answers: &mut Answers,
    ) -> Result<Vec<usize>, RedisFailure> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        let mut asked = Vec::new();
        for (cmd, for_steps) in self.calls(steps, which) {
            pipeline.add_command(cmd);
            asked.push(for_steps);
        }
        // The library refuses to send nothing, which is no fault of the server.
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<redis::RedisResult<Value>> = pipeline.query_async(connection).await?;
        let mut refused = Vec::new();
        for (for_steps, value) in asked.into_iter().zip(values) {
            if value.as_ref().is_err_and(is_lost) {
                refused.extend(&for_steps);
            }
            self.understand(value, steps, &for_steps, answers);
        }
        Ok(refused)
    }

    /// What only ends deliveries or tells of jobs is one call of one script. Claims come last.
    fn calls(&mut self, steps: &[Step], which: &[usize]) -> Vec<Call> {
        let (mut shared, mut calls, mut claims) = (None::<Call>, Vec::new(), Vec::new());
        for &i in which {
            let command = match &steps[i] {
                Step::Tell(command) => &**command,
                Step::Claim(free) => {
                    let adopt = self.scripts.adopt.get_hash();
                    let cmd = self.turns.claim(adopt, self.redis.keys(), &self.worker_id, *free);
                    claims.push((cmd, vec![i]));
                    continue;
                }
            };
            let cmd = match command {
                Command::Publish(event) => {
                    self.share(&mut shared, i).arg("").arg(event.to_json());
                    continue;
                }
                Command::Settle {
                    delivery,
                    event,
                    reply_to: None,
                } => {
                    let event = event.as_ref().filter(|event| !event.is_told());
                    self.share(&mut shared, i).arg(delivery).arg(json(event));
                    continue;
                }
                Command::Settle {
                    delivery,
                    event,
                    reply_to,
                } => {
                    let is_told = event.as_ref().is_some_and(Event::is_told);
                    let mut cmd = self.tell(reply_to.as_deref(), is_told);
                    cmd.arg(delivery).arg(json(event.as_ref()));
                    cmd
                }
                Command::Delay { delivery, due, event } => self.delay(delivery, *due, event.as_ref()),
                Command::Bury {
                    delivery,
                    letter,
                    event,
                    reply_to,
                } => self.bury(delivery, letter, event, reply_to.as_deref()),
            };
            calls.push((cmd, vec![i]));
        }
        shared.into_iter().chain(calls).chain(claims).collect()
    }

    /// The call that many steps share, which this one is added to.
    fn share<'c>(&self, shared: &'c mut Option<Call>, step: usize) -> &'c mut Cmd {
        let (cmd, for_steps) = shared.get_or_insert_with(|| (self.tell(None, false), Vec::new()));
        for_steps.push(step);
        cmd
    }

    fn understand(
        &mut self,
        value: redis::RedisResult<Value>,
        steps: &[Step],
        for_steps: &[usize],
        answers: &mut Answers,
    ) {
        let value = match value {
            Ok(value) => value,
            Err(error) => {
                let error = RedisFailure::from(error);
                for_steps.iter().for_each(|&i| answers[i] = Err(error.clone()));
                return;
            }
        };
        if let [i] = *for_steps
            && let Step::Claim(_) = steps[i]
        {
            answers[i] = self.turns.adopted(value).map(Answer::Claimed).map_err(Into::into);
            return;
        }
        // The positions of deliveries that were not this worker's; of a single one 0 says so.
        let lost: Vec<usize> = match value {
            Value::Int(0) => vec![1],
            Value::Int(_) => Vec::new(),
            positions => redis::from_redis_value(positions).unwrap_or_default(),
        };
        for (position, &i) in (1..).zip(for_steps) {
            answers[i] = Ok(Answer::Heard(!lost.contains(&position)));
        }
    }

    /// The beginning of a call that ends deliveries and tells of jobs, the channel too unless it `is_told`; of each, its delivery
    /// and its event follow.
    fn tell(&self, reply_to: Option<&str>, is_told: bool) -> Cmd {
        let mut cmd = self.call(&self.scripts.tell, &[], reply_to);
        let channel = if is_told {
            String::new()
        } else {
            self.redis.keys().events()
        };
        cmd.arg(&*self.worker_id).arg(channel).arg(REPLY_SECONDS);
        cmd
    }

    fn delay(&self, delivery: &str, due: Due, event: Option<&Event>) -> Cmd {
        let keys = self.redis.keys();
        let mut cmd = self.call(&self.scripts.delay, &[keys.delayed()], None);
        let (kind, ms) = match due {
            Due::In(delay) => ("in", whole_ms(delay)),
            Due::At(time) => ("at", time.timestamp_millis()),
        };
        cmd.arg(delivery).arg(&*self.worker_id).arg(keys.events());
        cmd.arg(json(event)).arg(kind).arg(ms);
        cmd
    }

    fn bury(&self, delivery: &str, letter: &DeadLetter, event: &Event, reply_to: Option<&str>) -> Cmd {
        let keys = self.redis.keys();
        let mut cmd = self.call(&self.scripts.bury, &[keys.dead()], reply_to);
        let limits = self.redis.dead_limits();
        let member = letter.to_member(limits.letter_bytes);
        cmd.arg(delivery).arg(&*self.worker_id).arg(keys.events());
        cmd.arg(event.to_json()).arg(REPLY_SECONDS);
        cmd.arg(member).arg(letter.dead_at).arg(limits.count);
        cmd
    }

    /// The beginning that all scripts of deliveries share.
    fn call(&self, script: &Script, more_keys: &[String], reply_to: Option<&str>) -> Cmd {
        let keys = self.redis.keys();
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(script.get_hash())
            .arg(2 + more_keys.len() + usize::from(reply_to.is_some()));
        cmd.arg(keys.processing(&self.worker_id))
            .arg(keys.in_flight())
            .arg(more_keys)
            .arg(reply_to);
        cmd
    }
}

fn json(event: Option<&Event>) -> String {
    event.map(Event::to_json).unwrap_or_default()
}

/// Two more than whole ones, as the server's clock and this time are both cut, and nothing comes back before its time.
fn whole_ms(delay: Duration) -> i64 {
    let rounded = if delay.is_zero() { 0 } else { delay.as_millis() + 2 };
    i64::try_from(rounded).unwrap_or(i64::MAX)
}
