//! Postgres: whether it is up to date, keeps what it confirms, and lets this account do what a worker does.

use crate::db::{self, Db, DbSettings, MissingRight, PostgresFacts, Twins};
use crate::findings::{Findings, clock};

/// The oldest one with `gen_random_uuid`.
const OLDEST: i32 = 130_000;

pub(super) async fn look(settings: &DbSettings, db: &Db) -> Findings {
    let mut findings = Findings::about("postgres");
    let (facts, ahead_ms) = match db.facts().await {
        Ok(found) => found,
        Err(error) => {
            findings.fail(format!(
                "it cannot be looked at: {error}; start it, or mend DATABASE_URL"
            ));
            return findings;
        }
    };
    if facts.version_number >= OLDEST {
        findings.ok(format!("Postgres {}", facts.version));
    } else {
        findings.fail(format!("Postgres {}; 13 or later is needed", facts.version));
    }
    if facts.is_standby {
        findings.fail("it is a standby, to which nothing can be written; DATABASE_URL must name its primary");
    }
    durability(&mut findings, &facts);
    connections(&mut findings, &facts);
    clock(&mut findings, ahead_ms);
    match db::pending(settings).await {
        Ok(pending) if pending.is_empty() => findings.ok("every migration is applied"),
        Ok(pending) => {
            findings.fail(format!(
                "it lacks {} migration(s), from {} on; run generative-ai-worker migrate",
                pending.len(),
                pending[0]
            ));
        }
        Err(error) => findings.fail(format!("{error:#}")),
    }
    for twins in db.twins().await.unwrap_or_default() {
        let Twins { table, used, others } = twins;
        findings.warn(format!(
            "{table} stands in several schemas, and this account uses the one in {used}: if the application's stands in {others}, \
             set the search_path, and drop the other one"
        ));
    }
    match db.missing_rights().await {
        Ok(missing) if missing.is_empty() => findings.ok("this account has every right that it needs"),
        Ok(missing) => rights(&mut findings, &missing),
        Err(error) => findings.fail(format!(
            "its rights cannot be looked at: {error}; GRANT USAGE ON SCHEMA generative_ai to this account"
        )),
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

fn rights(findings: &mut Findings, missing: &[MissingRight]) {
    for right in missing {
        let MissingRight {
            object,
            right,
            is_there,
            is_needed,
        } = right;
        if *is_there == Some(false) {
            // Said once, and by the migrations where they make it.
            if right == "SELECT" {
                findings.fail(format!(
                    "{object} is not there, or not on the search_path of this account"
                ));
            }
        } else if *is_needed {
            findings.fail(format!("this account lacks {right} on {object}: GRANT it"));
        } else {
            let what = match right.as_str() {
                "DELETE" => "housekeeping",
                _ => "enqueue",
            };
            findings.warn(format!(
                "this account lacks {right} on {object}, which {what} needs"
            ));
        }
    }
}
