//! Whose turn it is: shares of the waiting lists, and of whoever fills them.

use redis::{Cmd, RedisResult, Value};

use super::suspects::deliveries;
use super::{Adopted, Keys, Priority};

/// Packages of one list that one claim sorts at the most, so that Redis is never held up for long.
const SORTED_AT_ONCE: u32 = 1000;

/// How many packages of each list are taken while all of them are full, the most urgent list first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights(pub [u32; 4]);

impl Default for Weights {
    fn default() -> Self {
        Self([20, 10, 5, 1])
    }
}

impl Weights {
    /// The weight of one list.
    pub fn of(&mut self, priority: Priority) -> &mut u32 {
        &mut self.0[priority as usize]
    }
}

/// Whose backlog holds up nobody else (`FAIRNESS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fairness {
    /// Packages leave each list in the order in which they were pushed.
    #[default]
    Off,
    /// Collections take turns.
    Collection,
    /// Users take turns.
    User,
}

impl Fairness {
    /// What the adopt script groups packages by; empty = nothing.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Off => "",
            Self::Collection => "collection",
            Self::User => "user",
        }
    }
}

/// What one replica remembers from one claim to the next.
pub(super) struct Turns {
    weights: Weights,
    fairness: Fairness,
    max_package_bytes: usize,
    /// How far each list has come, in the adopt script's own words.
    tags: [String; 4],
    /// Number of the next delivery: none is used twice by a worker.
    next_delivery: u64,
}

/// Of the adopt script: whether new work is paused, the tags of the lists, delivery ids with packages, their counted
/// crashes, the sizes of packages that were set aside, whether more may wait, waiting lists that are none.
type Answer = (
    bool,
    [String; 4],
    Vec<(String, Vec<u8>)>,
    Vec<i64>,
    Vec<u64>,
    bool,
    Vec<String>,
);

impl Turns {
    pub(super) fn new(weights: Weights, fairness: Fairness, max_package_bytes: usize) -> Self {
        Self {
            weights,
            fairness,
            max_package_bytes,
            tags: ["0"; 4].map(str::to_owned),
            next_delivery: 1,
        }
    }

    /// A call of the adopt script, for `free` packages at the most.
    pub(super) fn claim(&mut self, adopt: &str, keys: &Keys, worker_id: &str, free: usize) -> Cmd {
        let first = self.next_delivery;
        self.next_delivery += free as u64;
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(adopt).arg(7 + 3 * Priority::ALL.len());
        cmd.arg(keys.landing(worker_id))
            .arg(keys.processing(worker_id))
            .arg(keys.in_flight())
            .arg(keys.workers())
            .arg(keys.paused())
            .arg(&keys.heads());
        for priority in Priority::ALL {
            cmd.arg(keys.group_tags(priority));
        }
        cmd.arg(keys.suspects()).arg(keys.set_aside());
        cmd.arg(free)
            .arg(first)
            .arg(worker_id)
            .arg(SORTED_AT_ONCE)
            .arg(self.fairness.field())
            .arg(&self.weights.0)
            .arg(&self.tags)
            .arg(self.max_package_bytes);
        cmd
    }

    /// What the call has brought.
    pub(super) fn adopted(&mut self, answer: Value) -> RedisResult<Adopted> {
        let (is_paused, tags, pairs, crashes, set_aside, has_more, refused): Answer =
            redis::from_redis_value(answer)?;
        self.tags = tags;
        Ok(Adopted {
            deliveries: deliveries(pairs, &crashes),
            is_paused,
            set_aside,
            has_more,
            refused,
        })
    }
}
