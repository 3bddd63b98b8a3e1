//! Whose turn it is: shares of the waiting lists, and of whoever fills them.

use std::sync::{Mutex, MutexGuard};

use super::Priority;

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
    pub(super) weights: Weights,
    pub(super) fairness: Fairness,
    tags: Mutex<[String; 4]>,
}

impl Turns {
    pub(super) fn new(weights: Weights, fairness: Fairness) -> Self {
        Self {
            weights,
            fairness,
            tags: Mutex::new(["0"; 4].map(str::to_owned)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, [String; 4]> {
        self.tags.lock().expect("nothing panics while it holds this lock")
    }

    /// How far each list has come, in the adopt script's own words.
    pub(super) fn tags(&self) -> [String; 4] {
        self.lock().clone()
    }

    pub(super) fn note(&self, tags: [String; 4]) {
        *self.lock() = tags;
    }
}
