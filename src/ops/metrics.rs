//! What `/metrics` shows: what was counted where it happened, and what is looked up when somebody asks.
//!
//! Redis and Postgres are asked about the queue by a scrape alone, and by one of those of the same few seconds. A
//! replica that nobody scrapes asks nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::Utc;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::Watched;
use super::cached::Cached;
use crate::bullmq::Counts;
use crate::failure::ErrorClass;
use crate::measure::{self, Kind, PoolUse};
use crate::provider::catalog::Model;
use crate::queue::{Depths, Shut};
use crate::storage;
use crate::telemetry;
use crate::work_package::FIELDS;
use crate::worker::Observer;

/// Scrapes of so much time share what was learnt of the queue.
const KEEP: Duration = Duration::from_secs(5);
/// A scrape does not wait longer for Redis, nor for Postgres.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often values of histograms are put into their buckets while nobody asks; they take memory until then.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder of this process.
pub(super) struct Recording(PrometheusHandle);

impl Recording {
    /// Begins to keep metrics. Once per process.
    ///
    /// # Errors
    /// When it has begun before.
    pub(super) fn start() -> Result<Self, BuildError> {
        let handle = builder()?.install_recorder()?;
        measure::describe();
        Ok(Self(handle))
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in measure::ALL {
        if let Kind::Histogram(buckets) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
        }
    }
    Ok(builder)
}

pub(super) struct Metrics {
    handle: PrometheusHandle,
    queue: Cached<()>,
    /// Models that had not ended when the replica was started.
    models: Vec<&'static Model>,
}

impl Metrics {
    /// Must be called within a tokio runtime.
    pub(super) fn new(Recording(handle): Recording, replica: &Observer) -> Self {
        let kept = handle.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                kept.run_upkeep();
            }
        });
        measure::BUILD_INFO.set(1.0, &[("version", env!("CARGO_PKG_VERSION"))]);
        let today = Utc::now().date_naive();
        let models: Vec<_> = replica.models().filter(|model| !model.has_ended(today)).collect();
        begin_counts(replica.provider_names(), &models);
        storage::begin_counts();
        for field in FIELDS {
            measure::MISSPELLED.count(0, &[("field", field)]);
        }
        for outcome in ["delivered", "retried", "failed", "superseded"] {
            measure::CALLBACKS.count(0, &[("outcome", outcome)]);
        }
        Self {
            handle,
            queue: Cached::default(),
            models,
        }
    }

    pub(super) async fn render(&self, watched: &Watched) -> String {
        let noting = async {
            tokio::join!(
                note_queue(watched),
                note_parked(watched),
                note_bullmq(watched),
                note_callbacks(watched),
                note_budgets(watched)
            );
        };
        self.queue.get(|()| KEEP, noting).await;
        note_replica(&watched.replica);
        note_providers(&watched.replica);
        note_pool("redis", watched.redis.pool_use());
        note_pool("postgres", Some(watched.db.pool_use()));
        self.note_models();
        measure::DROPPED_LOG_LINES.reach(telemetry::dropped_lines());
        self.handle.render()
    }

    fn note_models(&self) {
        let today = Utc::now().date_naive();
        for model in &self.models {
            if let Some(days) = model.ends_in_days(today) {
                let labels = [("provider", &*model.provider), ("model", &*model.id)];
                measure::MODEL_END.set(days as f64, &labels);
            }
        }
    }
}

/// Begins what is counted of providers at 0: from nothing to 1 is no increase to Prometheus.
fn begin_counts(providers: impl Iterator<Item = &'static str>, models: &[&'static Model]) {
    for provider in providers {
        measure::UNKNOWN_OUTCOMES.count(0, &[("provider", provider)]);
    }
    let never = [
        ErrorClass::InvalidPackage,
        ErrorClass::Expired,
        ErrorClass::Storage,
        ErrorClass::Poison,
        ErrorClass::OverBudget,
    ];
    let classes = ErrorClass::ALL.into_iter().filter(|class| !never.contains(class));
    let outcomes: Vec<&str> = classes.map(ErrorClass::as_str).chain(["succeeded"]).collect();
    for model in models {
        for outcome in &outcomes {
            let labels = [
                ("provider", &*model.provider),
                ("model", &*model.id),
                ("outcome", *outcome),
            ];
            measure::CALLS.count(0, &labels);
        }
    }
}

fn note_replica(replica: &Observer) {
    let status = replica.status();
    measure::IN_HAND.set(status.in_flight.load(Ordering::Relaxed) as f64, &[]);
    measure::SLOTS.set(status.concurrency() as f64, &[]);
    let postgres_is_up = status.postgres_is_up.load(Ordering::Relaxed);
    for (name, is_up) in [("redis", replica.redis_is_up()), ("postgres", postgres_is_up)] {
        measure::DEPENDENCY_UP.set(f64::from(u8::from(is_up)), &[("dependency", name)]);
    }
}

fn note_providers(replica: &Observer) {
    for provider in replica.provider_names() {
        let state = replica.provider_state(provider).unwrap_or_default();
        let (mut breaker, mut pause_s) = (0.0, 0.0);
        match state.why.filter(|_| state.is_shut()) {
            Some(Shut::Failing | Shut::Refused) if state.shut_for_ms > 0 => breaker = 2.0,
            Some(Shut::Failing | Shut::Refused) => breaker = 1.0,
            Some(Shut::Asked | Shut::Busy) => pause_s = state.shut_for_ms as f64 / 1000.0,
            None => {}
        }
        let labels = [("provider", provider)];
        measure::BREAKER.set(breaker, &labels);
        measure::PAUSE.set(pause_s, &labels);
    }
}

fn note_pool(name: &'static str, pool: Option<PoolUse>) {
    let Some(pool) = pool else {
        return;
    };
    let label = ("pool", name);
    let used = pool.open.saturating_sub(pool.idle);
    measure::CONNECTIONS.set(used as f64, &[label, ("state", "used")]);
    measure::CONNECTIONS.set(pool.idle as f64, &[label, ("state", "idle")]);
    measure::CONNECTIONS_MAX.set(pool.max as f64, &[label]);
    measure::CONNECTIONS_WANTED.set(pool.waiting as f64, &[label]);
}

/// Counts what stands where. What cannot be learnt now is not a number, rather than what it was some time ago.
async fn note_queue(watched: &Watched) {
    let depths = match tokio::time::timeout(PATIENCE, watched.redis.depths()).await {
        Ok(Ok(depths)) => depths,
        _ => return note_nothing_of_queue(),
    };
    let ages = ages(watched, &depths).await;
    for (waiting, age) in depths.waiting.iter().zip(ages) {
        let labels = [("priority", waiting.priority)];
        measure::WAITING.set(waiting.count as f64, &labels);
        measure::OLDEST_AGE.set(age, &labels);
    }
    measure::DELAYED.set(depths.delayed as f64, &[]);
    measure::DEAD.set(depths.dead as f64, &[]);
    measure::SET_ASIDE.set(depths.set_aside as f64, &[]);
    measure::IN_FLIGHT.set(depths.in_flight as f64, &[]);
    measure::PAUSED.set(f64::from(u8::from(depths.is_paused)), &[]);
}

/// Counts what waits for providers and for limits.
async fn note_parked(watched: &Watched) {
    let (places, words): (Vec<String>, Vec<&'static str>) = watched.replica.parking_places().unzip();
    let counts = tokio::time::timeout(PATIENCE, watched.redis.parked(&places)).await;
    let counts = counts.ok().and_then(Result::ok);
    for (nth, word) in words.into_iter().enumerate() {
        let count = counts.as_ref().and_then(|counts| counts.get(nth));
        measure::PARKED.set(count.map_or(f64::NAN, |count| *count as f64), &[("place", word)]);
    }
}

/// Counts what waits in the BullMQ queue, where one is taken over.
async fn note_bullmq(watched: &Watched) {
    let Some(bullmq) = &watched.bullmq else {
        return;
    };
    let counts = tokio::time::timeout(PATIENCE, bullmq.counts()).await;
    let counts = counts.ok().and_then(Result::ok);
    let count = |count: fn(&Counts) -> u64| counts.as_ref().map_or(f64::NAN, |counts| count(counts) as f64);
    measure::BULLMQ_JOBS.set(count(|counts| counts.waiting), &[("state", "waiting")]);
    measure::BULLMQ_JOBS.set(count(|counts| counts.delayed), &[("state", "delayed")]);
    measure::BULLMQ_JOBS.set(count(|counts| counts.active), &[("state", "active")]);
}

/// Counts what is still to be posted.
async fn note_callbacks(watched: &Watched) {
    let asked = watched.db.callback_counts(watched.redis.keys().inbox());
    let (waiting, oldest, failed) = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(counts)) => (counts.waiting as f64, counts.oldest_s, counts.failed as f64),
        _ => (f64::NAN, f64::NAN, f64::NAN),
    };
    measure::CALLBACKS_WAITING.set(waiting, &[]);
    measure::CALLBACKS_OLDEST.set(oldest, &[]);
    measure::CALLBACKS_FAILED.set(failed, &[]);
}

/// How much of the budgets is used up, where any are set.
async fn note_budgets(watched: &Watched) {
    let budgets = &watched.replica.budgets().all;
    let parks = tokio::time::timeout(PATIENCE, watched.redis.budget_parks()).await;
    let parked = match parks {
        Ok(Ok(parks)) => parks.iter().map(|park| park.parked).sum::<u64>() as f64,
        _ => f64::NAN,
    };
    measure::BUDGET_PARKED.set(parked, &[]);
    let asked = watched.replica.budgets().asked();
    let uses = tokio::time::timeout(PATIENCE, watched.db.budget_uses(&asked)).await;
    let uses = uses.ok().and_then(Result::ok);
    for (place, budget) in budgets.iter().enumerate() {
        let labels = [
            ("scope", budget.scope.as_str()),
            ("period", budget.period.as_str()),
        ];
        let used = uses.as_ref().and_then(|uses| uses.get(place));
        measure::BUDGET_USED.set(used.map_or(f64::NAN, |used| used.used_usd), &labels);
        measure::BUDGET_LIMIT.set(budget.usd, &labels);
    }
}

/// How old the job is whose package comes next, list by list. Packages carry no time of their own.
async fn ages(watched: &Watched, depths: &Depths) -> Vec<f64> {
    let job_ids: Vec<i32> = depths
        .waiting
        .iter()
        .filter_map(|list| list.next_job_id)
        .collect();
    let mut ages = Default::default();
    if !job_ids.is_empty()
        && let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, watched.db.ages(job_ids)).await
    {
        ages = found;
    }
    let age = |next: Option<i32>| next.and_then(|job_id| ages.get(&job_id).copied());
    depths
        .waiting
        .iter()
        .map(|list| match list.count {
            0 => 0.0,
            _ => age(list.next_job_id).unwrap_or(f64::NAN),
        })
        .collect()
}

fn note_nothing_of_queue() {
    for priority in crate::queue::Priority::ALL {
        let labels = [("priority", priority.as_str())];
        measure::WAITING.set(f64::NAN, &labels);
        measure::OLDEST_AGE.set(f64::NAN, &labels);
    }
    for metric in [
        measure::DELAYED,
        measure::DEAD,
        measure::SET_ASIDE,
        measure::IN_FLIGHT,
        measure::PAUSED,
    ] {
        metric.set(f64::NAN, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::catalog;

    #[test]
    fn histograms_have_buckets_and_what_is_not_known_is_not_a_number() {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            measure::describe();
            measure::PROCESS_DURATION.observe(0.02, &[("outcome", "completed")]);
            note_nothing_of_queue();
            let models: Vec<_> = catalog::all("openai").collect();
            begin_counts(["openai"].into_iter(), &models);
        });
        let text = recorder.handle().render();
        for line in [
            "# TYPE messaging_process_duration_seconds histogram",
            r#"messaging_process_duration_seconds_bucket{outcome="completed",le="0.01"} 0"#,
            r#"messaging_process_duration_seconds_bucket{outcome="completed",le="0.025"} 1"#,
            "generative_ai_queue_delayed_packages NaN",
            r#"generative_ai_queue_oldest_age_seconds{priority="normal"} NaN"#,
            "generative_ai_lease_losses_total 0",
            r#"generative_ai_packages_total{outcome="held",error_type="unknown_outcome"} 0"#,
            r#"generative_ai_packages_total{outcome="failed",error_type="auth"} 0"#,
            r#"generative_ai_provider_unknown_outcomes_total{provider="openai"} 0"#,
            r#"generative_ai_provider_calls_total{provider="openai",model="gpt-image-2",outcome="quota"} 0"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
