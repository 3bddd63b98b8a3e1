//! Packages and jobs that nobody works on although somebody should.

use std::time::Duration;

use crate::config::PROVIDERS;
use crate::db::{CallbackCounts, Db, Stuck};
use crate::findings::Findings;
use crate::ops::words::by_whom;
use crate::queue::{Keys, Overview, Redis, StrayList};
use crate::worker::Books;

/// So long after its time a delayed package should be on its list.
const OVERDUE_MS: i64 = 10_000;

/// A receiver that is restarted has been told by then.
const OLD_CALLBACK_S: f64 = 3_600.0;

/// `lease_ttl`: of the queue's replicas.
pub(super) async fn look(redis: &Redis, db: &Db, lease_ttl: Duration) -> Findings {
    let mut findings = Findings::about("packages");
    let Ok(overview) = redis.overview(&PROVIDERS).await else {
        findings.warn("what stands where cannot be told without Redis");
        return findings;
    };
    in_redis(&mut findings, &overview, redis.keys());
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
    match db.stuck(redis.keys().inbox(), &live).await {
        Ok(stuck) => in_postgres(&mut findings, stuck),
        Err(error) => findings.warn(format!("what jobs wait for cannot be told: {error}")),
    }
    match db.callback_counts(redis.keys().inbox()).await {
        Ok(counts) => in_outbox(&mut findings, counts),
        Err(error) => findings.warn(format!("whether callbacks wait cannot be told: {error}")),
    }
    findings
}

/// Ends of jobs that nobody was told of by HTTP.
fn in_outbox(findings: &mut Findings, counts: CallbackCounts) {
    let CallbackCounts {
        waiting,
        oldest_s,
        failed,
    } = counts;
    if failed > 0 {
        findings.warn(format!(
            "{failed} callbacks were given up, so their receivers do not know how the jobs ended: generative-ai-worker callbacks list \
             --failed says why; mend that and run callbacks retry --all, or callbacks drop ID"
        ));
    }
    if oldest_s > OLD_CALLBACK_S {
        findings.warn(format!(
            "{waiting} callbacks wait, the oldest for {} h: generative-ai-worker callbacks list says what their receivers answer; those \
             of a host that CALLBACK_HOSTS does not name any more wait for ever",
            (oldest_s / 3_600.0).floor()
        ));
    }
    if failed == 0 && oldest_s <= OLD_CALLBACK_S {
        findings.ok("no callback was given up or waits for long");
    }
}

/// Packages that a replica would take.
fn to_be_taken(overview: &Overview) -> u64 {
    overview.depths.waiting.iter().map(|list| list.count).sum()
}

fn in_redis(findings: &mut Findings, overview: &Overview, keys: &Keys) {
    let waiting = to_be_taken(overview);
    match (overview.ping_age_ms, waiting) {
        (Some(_), _) => findings.ok(format!("a replica is able to work; {waiting} packages wait")),
        (None, 0) => findings.warn("no replica pings; nothing waits: start one before something does"),
        (None, waiting) => findings.fail(format!(
            "no replica pings and {waiting} packages wait: start one, or read the log of those that run"
        )),
    }
    if let Some(note) = &overview.paused {
        let whom = by_whom(note);
        findings.warn(format!(
            "the queue is paused {whom}: no replica takes new work; generative-ai-worker resume ends it"
        ));
    }
    for StrayList { key, count } in &overview.stray_lists {
        findings.warn(format!(
            "{count} packages stand in {key}, a list that no replica reads: tell who pushes there that the lists are {}, and move them \
             with LMOVE {key} {} RIGHT LEFT",
            keys.all_waiting().join(", "),
            keys.inbox()
        ));
    }
    match overview.depths.set_aside {
        0 => findings.ok("no package is too large"),
        count => findings.warn(format!(
            "{count} packages are larger than MAX_PACKAGE_BYTES and were set aside unread: generative-ai-worker dead list \
             shows them, dead export writes them out; tell who pushes them, or raise MAX_PACKAGE_BYTES"
        )),
    }
    let dead: Vec<&str> = overview
        .replicas
        .iter()
        .filter(|replica| !replica.has_lease && replica.landing + replica.processing > 0)
        .map(|replica| replica.worker_id.as_str())
        .collect();
    if dead.is_empty() {
        findings.ok("no dead replica has packages");
    } else {
        findings.warn(format!(
            "dead replicas have packages, which live ones take back within twice LEASE_TTL: {}",
            dead.join(", ")
        ));
    }
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
    match overview.next_due_in_ms {
        Some(ms) if ms < -OVERDUE_MS => findings.fail(format!(
            "a delayed package is overdue for {} s: no replica brings it back; start one",
            -ms / 1_000
        )),
        _ => findings.ok("no delayed package is overdue"),
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

fn in_postgres(findings: &mut Findings, stuck: Stuck) {
    if stuck.ownerless > 0 {
        findings.warn(format!(
            "{} jobs were begun by replicas that are gone; the next delivery of each takes it over",
            stuck.ownerless
        ));
    } else {
        findings.ok("every job that was begun has a live replica");
    }
    if stuck.overdue_calls > 0 {
        findings.warn(format!(
            "{} paid calls are open for too long; the next delivery of each job gives them up",
            stuck.overdue_calls
        ));
    } else {
        findings.ok("no paid call is open after its deadline");
    }
    if stuck.held > 0 {
        findings.warn(format!(
            "{} jobs are held ({}): decide whether another picture may be bought, then run generative-ai-worker jobs release JOB_ID, \
             or reseed --held for all of them",
            stuck.held,
            stuck.held_jobs.unwrap_or_default()
        ));
    }
}
