//! Whether the replica is alive, and whether it is able to work.
//!
//! The two differ on purpose: a replica that has lost Redis or Postgres is not to be killed, as it rides the outage
//! out with paid pictures in its hands. Only a loop that does not turn is no use any more.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::Watched;
use super::cached::Cached;
use crate::queue::ReplicaStatus;
use crate::storage::Storage;

/// Longer than servers that do not answer can hold the loop up, and shorter than what ends the process.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// A server that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// A store may be far away.
const STORE_PATIENCE: Duration = Duration::from_secs(2);
/// Probes of the same second share an answer.
const KEEP: Duration = Duration::from_secs(1);
/// The store is asked rarely, as some bill every question.
const KEEP_STORE: Duration = Duration::from_secs(30);
const KEEP_STORE_AWAY: Duration = Duration::from_secs(5);

/// What `/healthz` says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Liveness {
    status: &'static str,
    loop_stands_for_seconds: u64,
}

impl Liveness {
    pub(super) fn is_well(&self) -> bool {
        self.status == "ok"
    }
}

/// Whether the loop turns. A replica that has not begun yet, or finishes what it has, is alive as well.
pub(super) fn live(status: &ReplicaStatus) -> Liveness {
    let stands_for = status.stands_for();
    Liveness {
        status: if stands_for < STUCK_AFTER { "ok" } else { "stuck" },
        loop_stands_for_seconds: stands_for.as_secs(),
    }
}

/// What `/readyz` says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    is_ready: bool,
    state: &'static str,
    not_answering: Vec<&'static str>,
    /// What answers, and refuses something that the replica needs: the service, and what to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refusing: Vec<String>,
}

impl Report {
    fn new(status: &ReplicaStatus, not_answering: Vec<&'static str>, refusing: Vec<String>) -> Self {
        let state = if status.is_draining.load(Ordering::Relaxed) {
            "draining"
        } else if !status.has_begun() {
            "starting"
        } else if live(status).is_well() {
            "running"
        } else {
            "stuck"
        };
        Self {
            is_ready: state == "running" && not_answering.is_empty() && refusing.is_empty(),
            state,
            not_answering,
            refusing,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }
}

/// The last answers of the services.
#[derive(Default)]
pub(super) struct Readiness {
    /// Redis, or why it refuses even to answer, and Postgres.
    servers: Cached<(Result<(), Option<String>>, bool)>,
    store: StoreAnswers,
}

/// Whether the store answers, as it was asked last.
#[derive(Default)]
pub(super) struct StoreAnswers(Cached<bool>);

impl StoreAnswers {
    pub(super) async fn get(&self, storage: &Storage) -> bool {
        let keep = |answers: &bool| if *answers { KEEP_STORE } else { KEEP_STORE_AWAY };
        self.0.get(keep, within(STORE_PATIENCE, storage.answers())).await
    }
}

impl Readiness {
    /// Asks all services at once.
    pub(super) async fn ask(&self, watched: &Watched) -> Report {
        let Watched {
            redis, db, storage, ..
        } = watched;
        let ping = async {
            let ping = tokio::time::timeout(PATIENCE, redis.ping()).await;
            // `None`: it does not answer.
            ping.map_err(|_| None)?
                .map_err(|failure| failure.is_refusal().then(|| failure.bare()))
        };
        let servers = async { tokio::join!(ping, within(PATIENCE, db.is_up())) };
        let ((redis, postgres), storage) =
            tokio::join!(self.servers.get(|_| KEEP, servers), self.store.get(storage));
        let mut refusing = watched.replica.redis_refusals();
        let redis = match redis {
            Ok(()) => true,
            Err(None) => false,
            Err(Some(why)) => {
                refusing = vec![why];
                true
            }
        };
        let refusing = refusing.into_iter().map(|why| format!("redis: {why}")).collect();
        let not_answering = [("redis", redis), ("postgres", postgres), ("storage", storage)]
            .into_iter()
            .filter_map(|(name, answers)| (!answers).then_some(name))
            .collect();
        Report::new(watched.replica.status(), not_answering, refusing)
    }
}

async fn within(patience: Duration, answers: impl Future<Output = bool>) -> bool {
    tokio::time::timeout(patience, answers).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn json(value: impl Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_does_not_turn_is_not_alive_and_one_that_waits_for_servers_is() {
        let status = ReplicaStatus::new(1, Uuid::nil());
        status.postgres_is_up.store(false, Ordering::Relaxed);
        tokio::time::advance(STUCK_AFTER - Duration::from_secs(1)).await;
        assert!(live(&status).is_well());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!live(&status).is_well());
        assert_eq!(
            json(live(&status)),
            r#"{"status":"stuck","loopStandsForSeconds":60}"#
        );
        status.turned();
        assert_eq!(json(live(&status)), r#"{"status":"ok","loopStandsForSeconds":0}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn ready_is_who_runs_and_is_answered_by_all() {
        let status = ReplicaStatus::new(1, Uuid::nil());
        let report =
            |not_answering: &[&'static str]| json(Report::new(&status, not_answering.to_vec(), Vec::new()));
        assert_eq!(
            report(&[]),
            r#"{"isReady":false,"state":"starting","notAnswering":[]}"#
        );
        status.turned();
        assert_eq!(
            report(&[]),
            r#"{"isReady":true,"state":"running","notAnswering":[]}"#
        );
        assert_eq!(
            report(&["redis", "storage"]),
            r#"{"isReady":false,"state":"running","notAnswering":["redis","storage"]}"#
        );
        let refused = Report::new(&status, Vec::new(), vec!["redis: the key a is a hash".to_owned()]);
        assert_eq!(
            json(refused),
            r#"{"isReady":false,"state":"running","notAnswering":[],"refusing":["redis: the key a is a hash"]}"#
        );
        tokio::time::advance(STUCK_AFTER).await;
        assert_eq!(
            report(&[]),
            r#"{"isReady":false,"state":"stuck","notAnswering":[]}"#
        );
        status.turned();
        status.is_draining.store(true, Ordering::Relaxed);
        assert_eq!(
            report(&[]),
            r#"{"isReady":false,"state":"draining","notAnswering":[]}"#
        );
    }
}
