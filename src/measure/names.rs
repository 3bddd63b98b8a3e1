//! Every metric, once. `docs/operations.md` has a row for each, in the same order; a test holds the two together.
//!
//! Names are OpenTelemetry's where it has one (`messaging.process.duration`, `gen_ai.client.operation.duration`,
//! `db.client.connection.max`), written as Prometheus writes them, and `generative_ai_…` otherwise.

use super::{Kind, Metric};

/// From what Postgres takes to what the slowest provider takes.
const STAGE_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0,
    320.0,
];
const PROCESS_SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0,
];
const CALL_SECONDS: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0,
];
/// What one picture costs.
const USD: &[f64] = &[0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64];

macro_rules! metrics {
    ($($constant:ident: $kind:expr, $name:literal, [$($label:literal),*], $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name,
                help: $help,
                kind: $kind,
                labels: &[$($label),*],
            };
        )+

        /// Every metric.
        pub const ALL: &[Metric] = &[$($constant),+];
    };
}

metrics! {
    TAKEN: Kind::Counter, "messaging_client_consumed_messages_total", [],
        "Packages that this replica has taken, each delivery of one counted.";
    PACKAGES: Kind::Counter, "generative_ai_packages_total", ["outcome", "error_type"],
        "Packages that this replica has seen through, by what became of them and the class of the error.";
    MISSPELLED: Kind::Counter, "generative_ai_misspelled_fields_total", ["field"],
        "Fields of packages that nobody reads, by the field that was probably meant.";
    TAKEN_OVER: Kind::Counter, "generative_ai_bullmq_taken_over_total", [],
        "Jobs of the BullMQ queue that have become packages here.";
    BULLMQ_JOBS: Kind::Gauge, "generative_ai_bullmq_jobs", ["state"],
        "Jobs in the BullMQ queue: waiting, delayed, active.";
    PROCESS_DURATION: Kind::Histogram(PROCESS_SECONDS), "messaging_process_duration_seconds", ["outcome"],
        "From a package being taken to its being settled, by what became of it.";
    STAGE_DURATION: Kind::Histogram(STAGE_SECONDS), "generative_ai_stage_duration_seconds", ["stage"],
        "Parts of the work on a package: begin, draw, prepare, store, record, settle.";
    IN_HAND: Kind::Gauge, "generative_ai_in_hand_packages", [],
        "Packages that this replica works on.";
    SLOTS: Kind::Gauge, "generative_ai_slots", [],
        "Packages that this replica can work on at once (WORKER_CONCURRENCY).";
    WAITING: Kind::Gauge, "generative_ai_queue_waiting_packages", ["priority"],
        "Packages that wait on each list; the same from every replica.";
    OLDEST_AGE: Kind::Gauge, "generative_ai_queue_oldest_age_seconds", ["priority"],
        "Age of the job whose package is taken next from each list, 0 where none waits; the same from every replica.";
    DELAYED: Kind::Gauge, "generative_ai_queue_delayed_packages", [],
        "Packages that wait for a time; the same from every replica.";
    PARKED: Kind::Gauge, "generative_ai_queue_parked_packages", ["place"],
        "Packages that wait until a provider may be called or a type has room, and suspects; the same from every replica.";
    DEAD: Kind::Gauge, "generative_ai_queue_dead_packages", [],
        "Packages among the dead in Redis; the same from every replica.";
    SET_ASIDE: Kind::Gauge, "generative_ai_queue_set_aside_packages", [],
        "Packages above MAX_PACKAGE_BYTES that Redis keeps unread; the same from every replica.";
    IN_FLIGHT: Kind::Gauge, "generative_ai_queue_in_flight_packages", [],
        "Packages that are being worked on by whichever replica; the same from every replica.";
    PAUSED: Kind::Gauge, "generative_ai_queue_paused", [],
        "1 while the queue is paused; the same from every replica.";
    CALLS: Kind::Counter, "generative_ai_provider_calls_total", ["provider", "model", "outcome"],
        "Calls to providers that have ended: succeeded, or the class of the error.";
    CALL_DURATION: Kind::Histogram(CALL_SECONDS), "gen_ai_client_operation_duration_seconds",
        ["provider", "model", "outcome"],
        "How long a provider took for a picture (succeeded) or an error (failed).";
    COST: Kind::Histogram(USD), "generative_ai_provider_cost_usd", ["provider", "cost_basis"],
        "US dollars per picture, as reported, computed from usage, or estimated; the sum is what was spent.";
    BUDGET_USED: Kind::Gauge, "generative_ai_budget_used_usd", ["scope", "period"],
        "US dollars that are used of a budget, of the user or collection that has used the most; the same from every replica.";
    BUDGET_LIMIT: Kind::Gauge, "generative_ai_budget_limit_usd", ["scope", "period"],
        "US dollars of a budget (BUDGETS).";
    BUDGET_PARKED: Kind::Gauge, "generative_ai_queue_budget_parked_packages", [],
        "Packages that wait for a budget; the same from every replica.";
    UNKNOWN_OUTCOMES: Kind::Counter, "generative_ai_provider_unknown_outcomes_total", ["provider"],
        "Paid calls of which nobody knows what they have brought.";
    PAUSE: Kind::Gauge, "generative_ai_provider_pause_seconds", ["provider"],
        "How long a provider that takes no more calls is still left alone.";
    BREAKER: Kind::Gauge, "generative_ai_provider_breaker_state", ["provider"],
        "Breaker of a provider: 0 closed (healthy), 1 half-open (one call tries), 2 open (nobody calls).";
    MODEL_END: Kind::Gauge, "generative_ai_model_ends_in_days", ["provider", "model"],
        "Days until a model of a configured provider ends, in its last 60 days.";
    STORE_CALLS: Kind::Counter, "generative_ai_store_calls_total", ["operation", "outcome"],
        "Calls to the store that have ended: succeeded, or the kind of the failure.";
    STORE_DURATION: Kind::Histogram(STAGE_SECONDS), "generative_ai_store_call_duration_seconds", ["operation"],
        "How long the store took to store, look up, read or remove an object, resends included.";
    RECOVERED: Kind::Counter, "generative_ai_recovered_packages_total", [],
        "Packages that this replica has taken back from replicas that died.";
    PUT_BACK: Kind::Counter, "generative_ai_put_back_packages_total", [],
        "Packages that this replica has put back from the ledger, as they were nowhere in the queue.";
    CALLBACKS: Kind::Counter, "generative_ai_callbacks_total", ["outcome"],
        "Posts to a callbackUrl, by what came of each: delivered, retried, failed for good, superseded by a later end.";
    CALLBACKS_WAITING: Kind::Gauge, "generative_ai_callbacks_waiting", [],
        "Ends of jobs that are still to be posted to a callbackUrl; the same from every replica.";
    CALLBACKS_OLDEST: Kind::Gauge, "generative_ai_callbacks_oldest_age_seconds", [],
        "How long ago the job of the oldest of them ended, 0 where none waits; the same from every replica.";
    CALLBACKS_FAILED: Kind::Gauge, "generative_ai_callbacks_failed", [],
        "Ends of jobs that were posted in vain for days and are left to operators; the same from every replica.";
    LEASE_LOSSES: Kind::Counter, "generative_ai_lease_losses_total", [],
        "How often this replica's lease had run out before it was renewed.";
    DEPENDENCY_UP: Kind::Gauge, "generative_ai_dependency_up", ["dependency"],
        "1 while Redis or Postgres answers this replica.";
    CONNECTIONS: Kind::Gauge, "db_client_connections", ["pool", "state"],
        "Open connections of the pools, used and idle.";
    CONNECTIONS_MAX: Kind::Gauge, "db_client_connection_max", ["pool"],
        "Connections that a pool opens at the most.";
    CONNECTIONS_WANTED: Kind::Gauge, "db_client_connection_pending_requests", ["pool"],
        "Callers that wait for a connection of a pool.";
    DROPPED_LOG_LINES: Kind::Counter, "generative_ai_dropped_log_lines_total", [],
        "Lines of the log that were dropped, as nobody read it or it could not be written.";
    BUILD_INFO: Kind::Gauge, "generative_ai_build_info", ["version"],
        "Always 1; the label is the version.";
}
