//! Postgres: whether it keeps what it confirms and has room for more replicas, and what commands may not do there.

use crate::db::{Db, MissingRight, PostgresFacts, Twins};
use crate::findings::{Findings, clock};

pub(super) async fn advise(db: &Db) -> Findings {
    let mut findings = Findings::about("postgres");
    let (facts, ahead_ms) = match db.facts().await {
        Ok(found) => found,
        Err(error) => {
            findings.warn(format!("how it is set up cannot be looked at: {error}"));
            return findings;
        }
    };
    findings.ok(format!("Postgres {}", facts.version));
    durability(&mut findings, &facts);
    connections(&mut findings, &facts);
    clock(&mut findings, ahead_ms);
    for twins in db.twins().await.unwrap_or_default() {
        let Twins { table, used, others } = twins;
        findings.warn(format!(
            "{table} stands in several schemas, and this account uses the one in {used}: if the application's stands in {others}, \
             set the search_path, and drop the other one"
        ));
    }
    let missing = db.missing_rights().await.unwrap_or_default();
    // Of a table that is not there, the look before has said so.
    let of_commands = missing
        .iter()
        .filter(|missing| !missing.is_needed && missing.is_there != Some(false));
    for MissingRight { object, right, .. } in of_commands {
        let what = match right.as_str() {
            "DELETE" => "housekeeping",
            _ => "enqueue",
        };
        findings.warn(format!(
            "this account lacks {right} on {object}, which {what} needs"
        ));
    }
    findings
}

fn durability(findings: &mut Findings, facts: &PostgresFacts) {
    if facts.fsync == "on" {
        findings.ok("fsync is on");
    } else {
        findings.warn("fsync is off: a crash of its machine can destroy the database; set fsync = on");
    }
    if facts.synchronous_commit == "off" {
        findings.warn(
            "synchronous_commit is off: a crash forgets the last calls that were paid for; set it to on for this account",
        );
    } else {
        findings.ok(format!("synchronous_commit is {}", facts.synchronous_commit));
    }
}

fn connections(findings: &mut Findings, facts: &PostgresFacts) {
    let PostgresFacts {
        connections,
        max_connections,
        ..
    } = facts;
    if *connections < max_connections / 5 * 4 {
        findings.ok(format!("{connections} of {max_connections} connections are open"));
    } else {
        findings.warn(format!(
            "{connections} of {max_connections} connections are open, and each replica opens up to 10: raise \
             max_connections, or put a pooler in front"
        ));
    }
}
