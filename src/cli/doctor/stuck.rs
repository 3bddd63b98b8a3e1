//! Packages and jobs that nobody works on although somebody should.

use std::time::Duration;

use crate::config::PROVIDERS;
use crate::db::Db;
use crate::findings::Findings;
use crate::ops::words::stuck;
use crate::queue::{Overview, Redis};
use crate::worker::{Books, parked_for};

/// `lease_ttl`: of the queue's replicas.
pub(super) async fn look(redis: &Redis, db: &Db, lease_ttl: Duration) -> Findings {
    let mut findings = Findings::about("packages");
    let Ok(overview) = redis.overview(&parked_for(PROVIDERS.into_iter())).await else {
        findings.warn("what stands where cannot be told without Redis");
        return findings;
    };
    stuck::taking(&mut findings, &overview);
    if let Some(note) = &overview.paused {
        findings.warn(stuck::paused(note));
    }
    stuck::packages(&mut findings, &overview, redis.keys());
    landed(&mut findings, &overview);
    let live: Vec<String> = overview
        .replicas
        .iter()
        .filter(|replica| replica.has_lease)
        .map(|replica| replica.worker_id.clone())
        .collect();
    let books = Books::new(db.clone(), redis.clone(), PROVIDERS.into_iter());
    let (lost, let_go_of) = tokio::join!(books.lost_by_now(lease_ttl), books.let_go_of());
    match (lost, let_go_of) {
        (Ok(lost), Ok(let_go_of)) => {
            in_neither(&mut findings, lost.len(), overview.ping_age_ms.is_some());
            in_no_hand(&mut findings, let_go_of.len());
        }
        (Err(error), _) | (_, Err(error)) => {
            findings.warn(format!(
                "what is lost cannot be told: {:#}",
                anyhow::Error::from(error)
            ));
        }
    }
    match db.stuck(redis.keys().inbox(), &live, &[]).await {
        Ok(found) => {
            stuck::jobs(&mut findings, &found);
            stuck::callbacks(&mut findings, found.callbacks);
        }
        Err(error) => findings.warn(format!(
            "what jobs and callbacks wait for cannot be told: {error}"
        )),
    }
    findings
}

/// For moments this is so all the time, so only who looks again knows more.
fn landed(findings: &mut Findings, overview: &Overview) {
    let landed: u64 = overview
        .replicas
        .iter()
        .filter(|replica| replica.has_lease)
        .map(|replica| replica.landing)
        .sum();
    if landed > 0 {
        findings.warn(format!(
            "{landed} packages have landed and are not adopted; if this stays, Redis or Postgres is away for a replica"
        ));
    }
}

/// What replicas put back.
fn in_neither(findings: &mut Findings, lost: usize, has_ping: bool) {
    let what = format!("{lost} unfinished jobs have no package in Redis, which has lost them");
    if lost == 0 {
        findings.ok("every unfinished job that nobody works on has its package in Redis");
    } else if has_ping {
        findings.warn(format!(
            "{what}: replicas put them back within two minutes of the time when they are due, generative-ai-worker reseed \
             does it at once"
        ));
    } else {
        findings.fail(format!(
            "{what}: start a replica, which puts them back, or run generative-ai-worker reseed"
        ));
    }
}

/// What replicas let go of, and put back then.
fn in_no_hand(findings: &mut Findings, count: usize) {
    if count == 0 {
        findings.ok("every job that a live replica has begun is in its hand");
    } else {
        findings.warn(format!(
            "{count} jobs say that a live replica works on them, which has no package of theirs: Postgres or Redis has \
             lost data; replicas put them back within two minutes"
        ));
    }
}
