//! Redis: whether it keeps what it is given, and answers quickly.

use std::time::Duration;

use crate::findings::{Findings, clock};
use crate::queue::{Redis, RedisFacts};

/// Every step of a package is a round trip.
const SLOW: Duration = Duration::from_millis(10);
/// As many entries as the slow log has by default.
const SLOW_LOG_FULL: u64 = 128;
const MIB: u64 = 1024 * 1024;

pub(super) async fn advise(redis: &Redis) -> Findings {
    let mut findings = Findings::about("redis");
    let facts = match redis.facts().await {
        Ok(facts) => facts,
        Err(error) => {
            findings.warn(format!("how it is set up cannot be looked at: {error}"));
            return findings;
        }
    };
    findings.ok(format!("{} at {}", facts.version, facts.address));
    memory(&mut findings, &facts);
    persistence(&mut findings, &facts);
    let round_trip = facts.round_trip.as_secs_f64() * 1_000.0;
    if facts.round_trip < SLOW {
        findings.ok("a round trip takes less than 10 ms");
    } else {
        findings.warn(format!(
            "a round trip takes {round_trip:.1} ms (the median of 20): run replicas nearer to it"
        ));
    }
    clock(&mut findings, facts.ahead_ms);
    match facts.slow_log {
        Some(entries) if entries >= SLOW_LOG_FULL => findings.warn(format!(
            "its slow log has {entries} entries: SLOWLOG GET says which commands hold up the others"
        )),
        Some(_) => findings.ok("its slow log is not full"),
        None => {}
    }
    findings
}

fn memory(findings: &mut Findings, facts: &RedisFacts) {
    if facts.policy.is_none() {
        findings.warn("it does not say its maxmemory-policy; make sure that it is noeviction");
    }
    let used = facts.used_memory / MIB;
    let most = facts.max_memory / MIB;
    if facts.max_memory == 0 {
        findings.ok(format!("{used} MiB of memory in use, without a limit of its own"));
    } else if facts.used_memory < facts.max_memory / 5 * 4 {
        findings.ok(format!("{used} of {most} MiB of memory in use"));
    } else {
        findings.warn(format!(
            "{used} of {most} MiB of memory in use: raise maxmemory before producers are refused"
        ));
    }
}

fn persistence(findings: &mut Findings, facts: &RedisFacts) {
    let has_snapshots = facts.save.as_deref().is_some_and(|save| !save.is_empty());
    match (facts.has_aof, facts.append_fsync.as_deref()) {
        (true, Some("no")) => findings.warn(
            "appendfsync is no: a crash of its machine loses what the system had not written; set it to everysec",
        ),
        (true, _) => findings.ok("it appends every change to a file"),
        (false, _) if has_snapshots => findings.warn(
            "it keeps snapshots only: a crash loses the minutes since the last one; set appendonly yes",
        ),
        (false, _) => findings.warn("it keeps nothing on disk: a restart loses the queue; set appendonly yes"),
    }
    if !facts.aof_is_well {
        findings.fail("its last write to the append-only file failed: look at its disk");
    }
    if !facts.snapshot_is_well {
        findings.warn("its last snapshot failed: look at its disk, or it will refuse writes");
    }
}
