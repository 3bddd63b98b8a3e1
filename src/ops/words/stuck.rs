//! What nobody works on although somebody should, for `doctor` and for the page: what is wrong, and what ends it.

use super::by_whom;
use crate::db::{CallbackCounts, Stuck};
use crate::findings::Findings;
use crate::queue::{Keys, Overview, PauseNote, StrayList};

/// So long after its time a delayed package should be on its list.
const OVERDUE_MS: i64 = 10_000;
/// A receiver that is restarted has been told by then.
const OLD_CALLBACK_S: f64 = 3_600.0;

/// Whether anybody takes packages.
pub(crate) fn taking(findings: &mut Findings, overview: &Overview) {
    let waiting: u64 = overview.depths.waiting.iter().map(|list| list.count).sum();
    match (overview.ping_age_ms, waiting) {
        (Some(_), _) => findings.ok(format!("a replica is able to work; {waiting} packages wait")),
        (None, 0) => findings.warn("no replica pings; nothing waits: start one before something does"),
        (None, waiting) => findings.fail(format!(
            "no replica pings and {waiting} packages wait: start one, or read the log of those that run"
        )),
    }
}

/// In a sentence: that somebody has paused the queue.
pub(crate) fn paused(note: &PauseNote) -> String {
    let whom = by_whom(note);
    format!("the queue is paused {whom}: no replica takes new work; generative-ai-worker resume ends it")
}

/// Packages that wait where nobody comes by.
pub(crate) fn packages(findings: &mut Findings, overview: &Overview, keys: &Keys) {
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
    match overview.next_due_in_ms {
        Some(ms) if ms < -OVERDUE_MS => findings.fail(format!(
            "a delayed package is overdue for {} s: no replica brings it back; start one",
            -ms / 1_000
        )),
        _ => findings.ok("no delayed package is overdue"),
    }
}

/// Jobs that their owners have left, or that wait for an operator.
pub(crate) fn jobs(findings: &mut Findings, stuck: Stuck) {
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

/// Ends of jobs that nobody was told of by HTTP.
pub(crate) fn callbacks(findings: &mut Findings, counts: CallbackCounts) {
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
