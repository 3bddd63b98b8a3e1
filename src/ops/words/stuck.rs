//! What nobody works on although somebody should, for `doctor` and for the page: what is wrong, and what ends it.

use super::{by_whom, counted};
use crate::db::{CallbackCounts, Stuck};
use crate::findings::Findings;
use crate::queue::{Keys, Overview, PauseNote, StrayList};

/// So long after its time a delayed package should be on its list.
const OVERDUE_MS: i64 = 10_000;
/// A receiver that is restarted has been told by then.
const OLD_CALLBACK_S: f64 = 3_600.0;

/// Whether anybody takes packages.
pub(crate) fn taking(findings: &mut Findings, overview: &Overview) {
    let depths = &overview.depths;
    let waiting: u64 = depths.waiting.iter().map(|list| list.count).sum();
    let for_providers: u64 = overview.providers.iter().map(|room| room.parked).sum();
    let for_budgets: u64 = overview.budgets.iter().map(|park| park.parked).sum();
    let later = depths.delayed + for_providers + for_budgets;
    let wait = |count: u64| counted(count, "package waits", "packages wait");
    match (overview.ping_age_ms, waiting, later) {
        (Some(_), ..) => findings.ok(format!("a replica is able to work; {}", wait(waiting))),
        (None, 0, 0) => findings.warn("no replica pings; nothing waits: start one before something does"),
        (None, 0, later) => findings.warn(format!(
            "no replica pings and {} for a time, a provider or a budget: start one, or read the log of those that run",
            wait(later)
        )),
        (None, waiting, _) => findings.fail(format!(
            "no replica pings and {}: start one, or read the log of those that run",
            wait(waiting)
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
    strays(findings, overview, keys);
    set_aside(findings, overview);
    left(findings, overview);
}

/// Packages on lists that nobody reads.
pub(crate) fn strays(findings: &mut Findings, overview: &Overview, keys: &Keys) {
    for StrayList { key, count } in &overview.stray_lists {
        let stand = counted(*count, "package stands", "packages stand");
        let them = if *count == 1 { "it" } else { "them" };
        findings.warn(format!(
            "{stand} in {key}, a list that no replica reads: tell who pushes there that the lists are {}, and move {them} \
             with LMOVE {key} {} RIGHT LEFT",
            keys.all_waiting().join(", "),
            keys.inbox()
        ));
    }
}

/// Packages that nobody reads, as they are too large.
pub(crate) fn set_aside(findings: &mut Findings, overview: &Overview) {
    let (are, them, were, push) = match overview.depths.set_aside {
        0 => {
            findings.ok("no package is too large");
            return;
        }
        1 => ("1 package is".to_owned(), "it", "was", "has pushed it"),
        count => (format!("{count} packages are"), "them", "were", "pushes them"),
    };
    findings.warn(format!(
        "{are} larger than MAX_PACKAGE_BYTES and {were} set aside unread: generative-ai-worker dead list \
         shows {them}, dead export writes {them} out; tell who {push}, or raise MAX_PACKAGE_BYTES"
    ));
}

/// Packages that replicas should have moved on.
pub(crate) fn left(findings: &mut Findings, overview: &Overview) {
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
pub(crate) fn jobs(findings: &mut Findings, stuck: &Stuck) {
    match stuck.ownerless {
        0 => findings.ok("every job that was begun has a live replica"),
        1 => findings.warn("1 job was begun by a replica that is gone; its next delivery takes it over"),
        count => findings.warn(format!(
            "{count} jobs were begun by replicas that are gone; the next delivery of each takes it over"
        )),
    }
    match stuck.overdue_calls {
        0 => findings.ok("no paid call is open after its deadline"),
        1 => findings.warn("1 paid call is open for too long; the next delivery of its job gives it up"),
        count => findings.warn(format!(
            "{count} paid calls are open for too long; the next delivery of each job gives them up"
        )),
    }
    let jobs = stuck.held_jobs.as_deref().unwrap_or_default();
    match stuck.held {
        0 => {}
        1 => findings.warn(format!(
            "1 job is held ({jobs}): decide whether another picture may be bought, then run generative-ai-worker jobs release {jobs}"
        )),
        count => findings.warn(format!(
            "{count} jobs are held ({jobs}): decide whether another picture may be bought, then run generative-ai-worker jobs release \
             JOB_ID, or reseed --held for all of them"
        )),
    }
}

/// Ends of jobs that nobody was told of by HTTP.
pub(crate) fn callbacks(findings: &mut Findings, counts: CallbackCounts) {
    let CallbackCounts {
        waiting,
        oldest_s,
        failed,
    } = counts;
    let mend = "generative-ai-worker callbacks list --failed says why; mend that and run callbacks retry --all, or callbacks drop ID";
    match failed {
        0 => {}
        1 => findings.warn(format!(
            "1 callback was given up, so its receiver does not know how the job ended: {mend}"
        )),
        failed => findings.warn(format!(
            "{failed} callbacks were given up, so their receivers do not know how the jobs ended: {mend}"
        )),
    }
    if oldest_s > OLD_CALLBACK_S {
        let hours = (oldest_s / 3_600.0).floor();
        let wait = match waiting {
            1 => format!("1 callback waits, for {hours} h"),
            waiting => format!("{waiting} callbacks wait, the oldest for {hours} h"),
        };
        findings.warn(format!(
            "{wait}: generative-ai-worker callbacks list says what their receivers answer; those of a host that CALLBACK_HOSTS does \
             not name any more wait for ever"
        ));
    }
    if failed == 0 && oldest_s <= OLD_CALLBACK_S {
        findings.ok("no callback was given up or waits for long");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(look: impl Fn(&mut Findings)) -> Vec<String> {
        let mut findings = Findings::default();
        look(&mut findings);
        findings.warnings().chain(findings.failures()).collect()
    }

    #[test]
    fn one_is_told_as_one_and_more_as_more() {
        let stuck = |count, jobs: &str| Stuck {
            ownerless: count,
            overdue_calls: count,
            held: count,
            held_jobs: Some(jobs.to_owned()),
            ..Stuck::default()
        };
        let one = said(|findings| jobs(findings, &stuck(1, "41")));
        for (text, start) in one.iter().zip([
            "1 job was begun by a replica",
            "1 paid call is open",
            "1 job is held (41): ",
        ]) {
            assert!(text.starts_with(start), "{text}");
        }
        let two = said(|findings| jobs(findings, &stuck(2, "41, 42")));
        for (text, start) in two.iter().zip([
            "2 jobs were begun by replicas",
            "2 paid calls are open",
            "2 jobs are held (41, 42): ",
        ]) {
            assert!(text.starts_with(start), "{text}");
        }
        let counts = |count| CallbackCounts {
            waiting: count,
            oldest_s: 7_300.0,
            failed: count,
        };
        let one = said(|findings| callbacks(findings, counts(1)));
        assert!(
            one[0].starts_with("1 callback was given up, so its receiver does not"),
            "{one:?}"
        );
        assert!(one[1].starts_with("1 callback waits, for 2 h: "), "{one:?}");
        let two = said(|findings| callbacks(findings, counts(2)));
        assert!(
            two[1].starts_with("2 callbacks wait, the oldest for 2 h: "),
            "{two:?}"
        );
    }
}
