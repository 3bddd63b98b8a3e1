//! Budgets: how much of them is used up, and what waits for them.

use crate::db::Db;
use crate::findings::Findings;
use crate::ops::words::near_budgets;
use crate::queue::Redis;
use crate::worker::Budgets;

pub(super) async fn look(redis: &Redis, db: &Db, budgets: &Budgets) -> Findings {
    let mut findings = Findings::about("budgets");
    if budgets.all.is_empty() {
        return findings;
    }
    let asked = budgets.asked();
    let (uses, parks) = tokio::join!(db.budget_uses(&asked), redis.budget_parks());
    let (uses, parks) = match (uses, parks) {
        (Ok(uses), Ok(parks)) => (uses, parks),
        (Err(error), _) => {
            findings.warn(format!("how much of them is used cannot be told: {error}"));
            return findings;
        }
        (_, Err(error)) => {
            findings.warn(format!("what waits for them cannot be told: {error}"));
            return findings;
        }
    };
    let near = near_budgets(budgets, &uses, &parks);
    if near.is_empty() {
        findings.ok("less than four fifths of each is used up");
    }
    for sentence in near {
        findings.warn(format!(
            "{sentence} What waits goes on by itself then; raise BUDGETS and restart the replicas if it is to go on now"
        ));
    }
    findings
}
