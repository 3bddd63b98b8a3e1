//! What is counted and timed: the kinds of metrics, and how a value gets into one.
//!
//! Known to every module, as `failure` is. The metrics themselves stand in `names`, `ops` serves them. A value of a
//! label is a `&'static str`: a word of this program, of its list of providers or of its table of models. So nothing
//! that a package or an answer says becomes one, and the number of series has a bound. Where nobody serves them
//! (`HTTP_ADDR` empty, and every command but `run`) nothing is kept.

mod names;
mod process;

use std::fmt;
use std::sync::OnceLock;

use metrics::{Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokio::time::Instant;
use tracing::Instrument;

use crate::trace;

pub use names::*;
pub use process::{Outcome, ended, given_back, process};

/// Names and values of a metric's labels, in the order of [`Metric::labels`].
pub type Labels<'a> = &'a [(&'static str, &'static str)];

/// One metric. Printed as `name{label,label}`.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// As Prometheus shows it, unit included.
    pub name: &'static str,
    /// What it measures, for whoever reads `/metrics`.
    pub help: &'static str,
    /// How its values add up.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
}

/// How the values of a metric add up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only rises, from 0 at each start.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counted by size, within these upper bounds.
    Histogram(&'static [f64]),
}

impl Metric {
    /// Adds to a counter.
    pub fn count(&self, by: u64, labels: Labels<'_>) {
        self.check(labels, self.kind == Kind::Counter);
        counter!(self.name, labels).increment(by);
    }

    /// Sets a gauge; NaN where the value is not known.
    pub fn set(&self, value: f64, labels: Labels<'_>) {
        self.check(labels, self.kind == Kind::Gauge);
        gauge!(self.name, labels).set(value);
    }

    /// Sets a counter without labels that is kept elsewhere.
    pub fn reach(&self, count: u64) {
        self.check(&[], self.kind == Kind::Counter);
        counter!(self.name).absolute(count);
    }

    /// Adds a value to a histogram.
    pub fn observe(&self, value: f64, labels: Labels<'_>) {
        self.histogram(labels).record(value);
    }

    fn histogram(&self, labels: Labels<'_>) -> Histogram {
        self.check(labels, matches!(self.kind, Kind::Histogram(_)));
        histogram!(self.name, labels)
    }

    fn check(&self, labels: Labels<'_>, is_kind: bool) {
        debug_assert!(is_kind, "{self} is a {:?}", self.kind);
        debug_assert!(
            labels
                .iter()
                .map(|(name, _)| *name)
                .eq(self.labels.iter().copied()),
            "{self} was given {labels:?}"
        );
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if !self.labels.is_empty() {
            write!(f, "{{{}}}", self.labels.join(","))?;
        }
        Ok(())
    }
}

/// A part of the work on one package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Becoming the job's owner in Postgres.
    Begin,
    /// At the providers, resends and fallbacks included.
    Draw,
    /// Pixel work: shrink, mark.
    Prepare,
    /// Into the store.
    Store,
    /// Image row, job row and ledger in Postgres.
    Record,
    /// Out of the hand, in Redis.
    Settle,
}

impl Stage {
    /// The word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Draw => "draw",
            Self::Prepare => "prepare",
            Self::Store => "store",
            Self::Record => "record",
            Self::Settle => "settle",
        }
    }
}

/// Does the work of a stage and notes how long it took, however it ended.
pub async fn stage<T>(stage: Stage, work: impl Future<Output = T>) -> T {
    // Looked up once, as each package passes each of them.
    static HISTOGRAMS: [OnceLock<Histogram>; 6] = [const { OnceLock::new() }; 6];
    let begun = Instant::now();
    let done = work.instrument(trace::stage(stage.as_str())).await;
    HISTOGRAMS[stage as usize]
        .get_or_init(|| STAGE_DURATION.histogram(&[("stage", stage.as_str())]))
        .record(begun.elapsed().as_secs_f64());
    done
}

/// How the connections of a pool are used at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// Connections at the most.
    pub max: usize,
    /// Those that are open.
    pub open: usize,
    /// Those of them that nobody uses.
    pub idle: usize,
    /// Callers that wait for one.
    pub waiting: usize,
}

/// Tells the recorder what every metric means, and begins counters at 0 whose labels are known, so that their first rise is
/// seen.
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram(_) => describe_histogram!(metric.name, metric.help),
        }
        if metric.kind == Kind::Counter && metric.labels.is_empty() {
            metric.count(0, &[]);
        }
    }
    process::begin_counts();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_say_their_kind_and_unit_and_stand_once() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{name}"
            );
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            if let Kind::Histogram(buckets) = metric.kind {
                assert!(name.ends_with("_seconds") || name.ends_with("_usd"), "{name}");
                assert!(buckets.is_sorted(), "{name}");
            }
            assert!(metric.help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn operators_find_every_metric_in_their_manual_and_no_other() {
        let manual = include_str!("../docs/operations.md");
        let (_, section) = manual
            .split_once("\n## Metrics\n")
            .expect("there is such a section");
        let section = section.split("\n## ").next().unwrap_or_default();
        let told: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let known: Vec<String> = ALL.iter().map(ToString::to_string).collect();
        assert_eq!(
            told, known,
            "docs/operations.md tells of other metrics, or in another order"
        );
    }

    #[test]
    fn the_dashboard_shows_every_metric() {
        let dashboard = include_str!("../deploy/observability/dashboard.json");
        for metric in ALL {
            let shown = dashboard.contains(metric.name);
            assert!(
                shown,
                "deploy/observability/dashboard.json has no panel of {metric}"
            );
        }
    }

    #[test]
    fn manual_dashboard_and_alert_rules_ask_for_metrics_that_exist() {
        let files = [
            include_str!("../docs/operations.md"),
            include_str!("../deploy/observability/rules.yaml"),
            include_str!("../deploy/observability/dashboard.json"),
        ];
        let all = files.join("\n");
        let words = all.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let prefixes = ["messaging_", "gen_ai_client_", "generative_ai_", "db_client_"];
        // Names of roles begin so too.
        let roles = [
            "generative_ai_worker",
            "generative_ai_operator",
            "generative_ai_migrator",
        ];
        let is_one =
            |word: &&str| prefixes.iter().any(|prefix| word.starts_with(prefix)) && !roles.contains(word);
        for word in words.filter(is_one) {
            let base = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix))
                .unwrap_or(word);
            let exists = ALL
                .iter()
                .any(|metric| metric.name == word || metric.name == base);
            assert!(
                exists,
                "docs/operations.md or a file of deploy/observability asks for {word}"
            );
        }
    }
}
