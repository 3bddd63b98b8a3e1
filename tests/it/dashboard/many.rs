//! Behind many jobs every page stays small, asks Postgres little and reads no large table from end to end. `make ledger` tries it behind
//! a million ended jobs and a hundred thousand that wait, and prints what pages take there.

use std::time::Duration;

use tokio::time::Instant;

use super::ON;
use super::failures::{fail, groups};
use crate::harness::command::command_on;
use crate::harness::page::Page;
use crate::harness::stack::{QUEUE, Stack, logo};
use crate::ledger::{asked, fill};

/// A page is no larger.
const MOST_BYTES: usize = 80_000;
/// So many statements a page has of its own. The totals, which all pages share for some seconds, are one more.
const MOST_STATEMENTS: usize = 2;
/// Tables that grow with all jobs that ever were.
const LARGE: [&str; 4] = ["jobs", "provider_calls", "images", "ac_background_jobs"];
/// So often each page is asked for.
const TIMES: usize = 3;

/// Statements that were logged, each with its plan. The totals, which are counted for all pages at once, are not among them.
fn plans(log: &str) -> Vec<String> {
    let plans = log.split(" LOG:  duration: ").skip(1);
    let own = plans.filter(|plan| !plan.contains("AS spent_is_least"));
    own.map(str::to_owned).collect()
}

/// What was asked, without how long it took.
fn statement(plan: &str) -> Option<&str> {
    plan.split_once("Query Text: ")?.1.split("(cost=").next()
}

/// What was asked for the same page each time, and as often: replicas ask something rarely as well.
fn common(mut all: Vec<Vec<String>>) -> Vec<String> {
    let mut plans = all.pop().unwrap();
    for others in &all {
        let mut left: Vec<_> = others.iter().map(|plan| statement(plan)).collect();
        plans.retain(|plan| {
            let place = left.iter().position(|other| *other == statement(plan));
            place.map(|place| left.swap_remove(place)).is_some()
        });
    }
    plans
}

/// What is wrong with a page of this size that was made by these statements.
fn fault(bytes: usize, plans: &[String]) -> Option<String> {
    if bytes > MOST_BYTES {
        return Some(format!("has {bytes} bytes"));
    }
    if plans.is_empty() || plans.len() > MOST_STATEMENTS {
        return Some(format!("has {} statements of its own", plans.len()));
    }
    let is_read = |table: &&&str| {
        let reads = |plan: &String| plan.contains(&format!("Seq Scan on {table}"));
        plans.iter().any(reads)
    };
    if let Some(table) = LARGE.iter().find(is_read) {
        return Some(format!("reads {table} from end to end"));
    }
    // Postgres does so where it means to read much, by an index as well.
    let is_shared = plans.iter().any(|plan| plan.contains("Parallel"));
    is_shared.then(|| "has a statement that several processes work on".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_small_and_read_little_behind_many_jobs() {
    let ended = asked();
    let waiting = ended / 10;
    let stack = Stack::start().await;
    let sql = stack.sql_client().await;
    fill(&sql, 1, ended).await;
    // Half of those that wait have failed once, and no replica has begun the others.
    let (first, last) = (ended + 1, ended + waiting);
    let wait = format!(
        "INSERT INTO ac_background_jobs (id, progress, data, internal_data, created_at, updated_at)
            SELECT id, 5, '{{}}', '{{}}', now() - interval '1 hour', now() FROM generate_series({first}, {last}) AS id;
         INSERT INTO generative_ai.jobs (job_id, state, queue, attempts, package, begun_at, next_attempt_at, row_created_at,
                error_class, error_message)
            SELECT id, 'retry_wait', '{QUEUE}', 1, '{{}}', now(), now() + interval '1 hour', created_at, 'timeout', 'no answer within 30 s'
            FROM ac_background_jobs WHERE id BETWEEN {first} AND {last} AND id % 2 = 0;
         ANALYZE;
         ALTER DATABASE postgres SET session_preload_libraries = 'auto_explain';
         ALTER DATABASE postgres SET auto_explain.log_min_duration = 0"
    );
    sql.batch_execute(&wait).await.unwrap();
    fail(&stack, 10_000).await;
    let paused = command_on(&stack, &["pause"], &[]).await;
    assert_eq!(paused.status, Some(0), "{paused:?}");
    let keep = ["JOBS_RETENTION", "CALLS_RETENTION", "DEAD_RETENTION"].map(|name| (name, "9999d"));
    let replica = stack.replica(&[&[ON][..], &keep].concat()).await;
    let page = Page::of(&replica).await;
    let mut packages = redis::pipe();
    for job_id in (first..=last).filter(|job_id| job_id % 2 == 1) {
        packages.lpush(QUEUE, logo(job_id).to_string()).ignore();
    }
    let () = packages.query_async(&mut stack.redis().await).await.unwrap();

    let log_of = || std::fs::read_to_string(stack.path("postgres").join("postgres.log")).unwrap();
    // What replicas ask all the time, whoever looks.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let unasked = plans(&log_of());
    let failures = page.get("/failures").await.text();
    let group = format!("/failures/{}", groups(&failures)[0]);
    let (middle, newest) = (format!("/jobs/{}", ended / 2), format!("/jobs/{last}"));
    let far = format!("/jobs/{}", first + waiting / 2);
    let request = format!("/search?q=req_{}", ended / 2);
    let paths = [
        "/",
        "/running",
        "/running?after=1000",
        "/results",
        "/results?provider=replicate",
        "/results?collection=group/7",
        "/results?user=7",
        "/failures",
        &group,
        "/providers",
        "/callbacks",
        "/actions",
        "/search?q=7",
        &request,
        &middle,
        &newest,
        &far,
    ];
    let mut faults = Vec::new();
    println!("| page behind {ended} ended jobs and {waiting} that wait | size | statements | time |");
    for path in paths {
        let mut times = Vec::new();
        let mut bytes = 0;
        let mut all = Vec::new();
        for _ in 0..TIMES {
            if path.starts_with("/failures") {
                // Pages of the same second share what they have asked.
                tokio::time::sleep(Duration::from_millis(1_100)).await;
            }
            let before = log_of().len();
            let begun = Instant::now();
            bytes = page.get(path).await.is(200).body.len();
            times.push(begun.elapsed());
            let mut plans = plans(&log_of()[before..]);
            plans.retain(|plan| !unasked.iter().any(|other| statement(other) == statement(plan)));
            all.push(plans);
        }
        times.sort();
        let (kb, time) = (bytes / 1_000, times[TIMES / 2]);
        let plans = common(all);
        println!("| {path} | {kb} kB | {} | {time:.0?} |", plans.len());
        if let Some(fault) = fault(bytes, &plans) {
            faults.push(format!("{path} {fault}:\n{}", plans.join("\n")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
