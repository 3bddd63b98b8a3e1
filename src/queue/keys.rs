//! Names of keys. Every derived one carries the hash tag `{Q}`, so that all live in one slot of a cluster.

/// How urgent a package is: which list it was pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// `{Q}:critical`
    Critical,
    /// `{Q}:high`
    High,
    /// `Q` itself
    Normal,
    /// `{Q}:low`
    Low,
}

impl Priority {
    /// The most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The word in delivery ids, which leads a package back to its list.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// The keys of one queue.
#[derive(Clone, Debug)]
pub struct Keys {
    name: String,
}

impl Keys {
    /// The keys of the queue called `name`, which has no braces in it.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The list that producers push to.
    #[must_use]
    pub fn inbox(&self) -> &str {
        &self.name
    }

    /// The waiting list of a priority.
    #[must_use]
    pub fn waiting(&self, priority: Priority) -> String {
        match priority {
            Priority::Normal => self.name.clone(),
            other => self.derived(other.as_str()),
        }
    }

    /// The waiting lists, the most urgent first.
    #[must_use]
    pub fn all_waiting(&self) -> [String; 4] {
        Priority::ALL.map(|priority| self.waiting(priority))
    }

    /// Names that producers take for lists of the queue, and that are none. Nobody reads them.
    #[must_use]
    pub(super) fn near_misses(&self) -> Vec<String> {
        const NAMES: [&str; 22] = [
            "urgent",
            "normal",
            "medium",
            "default",
            "standard",
            "highest",
            "higher",
            "hi",
            "lowest",
            "lower",
            "lo",
            "crit",
            "important",
            "priority",
            "background",
            "bulk",
            "High",
            "HIGH",
            "Low",
            "LOW",
            "Critical",
            "CRITICAL",
        ];
        NAMES.map(|name| self.derived(name)).to_vec()
    }

    /// Packages of a waiting list whose turn depends on whose they are (`FAIRNESS`).
    #[must_use]
    pub fn sorted(&self, priority: Priority) -> String {
        self.derived(&format!("sorted:{}", priority.as_str()))
    }

    /// The waiting lists and their sorted sets, each the most urgent first: where scripts give packages back.
    #[must_use]
    pub(super) fn heads(&self) -> [String; 8] {
        let [critical, high, normal, low] = self.all_waiting();
        let sorted = Priority::ALL.map(|priority| self.sorted(priority));
        let [sorted_critical, sorted_high, sorted_normal, sorted_low] = sorted;
        [
            critical,
            high,
            normal,
            low,
            sorted_critical,
            sorted_high,
            sorted_normal,
            sorted_low,
        ]
    }

    /// How far the groups of a sorted set have come.
    #[must_use]
    pub fn group_tags(&self, priority: Priority) -> String {
        self.derived(&format!("group-tags:{}", priority.as_str()))
    }

    /// The channel on which replicas are told what cannot wait.
    #[must_use]
    pub fn control(&self) -> String {
        self.derived("control")
    }

    /// What BLMOVE has moved towards a worker.
    #[must_use]
    pub fn landing(&self, worker_id: &str) -> String {
        self.derived(&format!("landing:{worker_id}"))
    }

    /// What a worker has taken and not settled.
    #[must_use]
    pub fn processing(&self, worker_id: &str) -> String {
        self.derived(&format!("processing:{worker_id}"))
    }

    /// Present while a worker is alive.
    #[must_use]
    pub fn lease(&self, worker_id: &str) -> String {
        self.derived(&format!("lease:{worker_id}"))
    }

    /// One replica's ping key.
    #[must_use]
    pub fn replica_ping(&self, worker_id: &str) -> String {
        self.derived(&format!("ping:{worker_id}"))
    }

    /// The service's ping key.
    #[must_use]
    pub fn ping(&self) -> String {
        self.derived("ping")
    }

    /// Packages that wait for a time.
    #[must_use]
    pub fn delayed(&self) -> String {
        self.derived("delayed")
    }

    /// Present for a while when a package has come before the row of its job.
    #[must_use]
    pub fn missing_row(&self, job_id: i32) -> String {
        self.derived(&format!("missing-row:{job_id}"))
    }

    /// Whose turn it is to keep house, and for how long.
    #[must_use]
    pub fn housekeeping(&self) -> String {
        self.derived("housekeeping")
    }

    /// Who compares the queue with the ledger, for as long as nobody else is to.
    #[must_use]
    pub fn reconciler(&self) -> String {
        self.derived("reconciler")
    }

    /// Jobs whose packages were put back from the ledger, each with how far it was then; score = Unix ms.
    #[must_use]
    pub fn put_back(&self) -> String {
        self.derived("put-back")
    }

    /// Packages that have failed for good.
    #[must_use]
    pub fn dead(&self) -> String {
        self.derived("dead")
    }

    /// Packages that are larger than any may be, untouched, the first one that was set aside last.
    #[must_use]
    pub fn set_aside(&self) -> String {
        self.derived("set-aside")
    }

    /// Workers that have started and not left cleanly.
    #[must_use]
    pub fn workers(&self) -> String {
        self.derived("workers")
    }

    /// Replicas that have died, by their ids: when they were seen last, and what they had in hand.
    #[must_use]
    pub fn gone(&self) -> String {
        self.derived("gone")
    }

    /// Every package being worked on, since when.
    #[must_use]
    pub fn in_flight(&self) -> String {
        self.derived("in-flight")
    }

    /// Where the latest package of a job came from, where that was a BullMQ queue.
    #[must_use]
    pub fn taken_over(&self, job_id: i32) -> String {
        self.derived(&format!("taken-over:{job_id}"))
    }

    /// Present while no replica may take new work.
    #[must_use]
    pub fn paused(&self) -> String {
        self.derived("paused")
    }

    /// Why and until when a provider is shut, and how it recovers; absent while it is well.
    #[must_use]
    pub fn provider(&self, provider: &str) -> String {
        self.derived(&format!("provider:{provider}"))
    }

    /// Open calls of a provider whose calls are limited.
    #[must_use]
    pub fn open_calls(&self, provider: &str) -> String {
        self.derived(&format!("open-calls:{provider}"))
    }

    /// Calls of a provider within the last minute.
    #[must_use]
    pub fn recent_calls(&self, provider: &str) -> String {
        self.derived(&format!("recent-calls:{provider}"))
    }

    /// Packages that wait until a provider may be called.
    #[must_use]
    pub fn parked(&self, provider: &str) -> String {
        self.derived(&format!("parked:{provider}"))
    }

    /// Budgets that packages wait for, each with when some of them are woken, Unix ms.
    #[must_use]
    pub fn budgets(&self) -> String {
        self.derived("budgets")
    }

    /// Packages that were with a worker when it crashed, by the SHA-1 of their bytes, with the crashes that count as theirs.
    #[must_use]
    pub fn suspects(&self) -> String {
        self.derived("suspects")
    }

    /// The suspect that a worker runs: a crash of this worker counts as its.
    #[must_use]
    pub fn suspect(&self, worker_id: &str) -> String {
        self.derived(&format!("suspect:{worker_id}"))
    }

    /// Packages of a provider that were woken and have not asked to call yet.
    #[must_use]
    pub fn woken(&self, provider: &str) -> String {
        self.derived(&format!("woken:{provider}"))
    }

    /// What the scripts on a provider look at, in their order.
    #[must_use]
    pub(super) fn of_provider(&self, provider: &str) -> [String; 5] {
        [
            self.provider(provider),
            self.open_calls(provider),
            self.parked(provider),
            self.woken(provider),
            self.recent_calls(provider),
        ]
    }

    /// A key on which rights are tried.
    #[must_use]
    pub fn trial(&self, what: &str) -> String {
        self.derived(&format!("doctor:{what}"))
    }

    /// The channel of events.
    #[must_use]
    pub fn events(&self) -> String {
        self.derived("events")
    }

    fn derived(&self, what: &str) -> String {
        format!("{{{}}}:{what}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_derived_key_carries_the_hash_tag() {
        let keys = Keys::new("generative-ai");
        let derived = [
            keys.waiting(Priority::Critical),
            keys.waiting(Priority::High),
            keys.waiting(Priority::Low),
            keys.sorted(Priority::Normal),
            keys.group_tags(Priority::Normal),
            keys.control(),
            keys.landing("w"),
            keys.processing("w"),
            keys.lease("w"),
            keys.replica_ping("w"),
            keys.ping(),
            keys.delayed(),
            keys.missing_row(7),
            keys.reconciler(),
            keys.put_back(),
            keys.dead(),
            keys.housekeeping(),
            keys.set_aside(),
            keys.workers(),
            keys.in_flight(),
            keys.gone(),
            keys.paused(),
            keys.taken_over(7),
            keys.provider("p"),
            keys.open_calls("p"),
            keys.recent_calls("p"),
            keys.parked("p"),
            keys.budgets(),
            keys.suspects(),
            keys.suspect("w"),
            keys.woken("p"),
            keys.trial("t"),
            keys.events(),
        ];
        for key in &derived {
            assert!(key.starts_with("{generative-ai}:"), "{key}");
        }
        let distinct: std::collections::HashSet<_> = derived.iter().collect();
        assert_eq!(distinct.len(), derived.len());
        assert_eq!(keys.inbox(), "generative-ai");
        assert_eq!(keys.waiting(Priority::Normal), "generative-ai");
    }
}
