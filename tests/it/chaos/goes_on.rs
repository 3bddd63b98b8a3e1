//! Faults in the middle of a call at which nothing, or next to nothing, dies: what has been ordered is fetched, not ordered again.

use std::time::Duration;

use chrono::SecondsFormat;
use tokio::time::Instant;

use super::JOB_TIMEOUT;
use super::tally::{Tally, asked, rounds};
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::polled::{NAMES, Polled};
use crate::harness::stack::{Stack, logo, with};

/// Packages of a round for each kind of provider.
const EACH: i32 = 3;
/// How long a fault lasts.
const LASTS: Duration = Duration::from_secs(2);

fn polled_one(round: u64) -> &'static str {
    NAMES[usize::try_from(round).unwrap() % NAMES.len()]
}

async fn push(stack: &Stack, provider: &str, count: i32) -> Vec<i32> {
    let jobs = stack.jobs(count).await;
    for job_id in &jobs {
        stack.push(&with(logo(*job_id), "imageProvider", provider)).await;
    }
    jobs
}

/// Waits for all ends, and adds a round to the counts.
async fn finish(stack: &Stack, tally: &mut Tally, jobs: &[i32], since: Instant) {
    for job_id in jobs {
        assert_eq!(stack.ended(*job_id).await.progress, Some(100));
    }
    tally.recovered_in(since.elapsed());
    stack.idle().await;
    tally.count(stack, jobs).await;
}

fn paid_once(mut tally: Tally, bills: usize) {
    tally.due = tally.packages;
    tally.bills = bills;
    tally.keep();
    assert_eq!(
        (tally.ended, tally.images),
        (tally.packages, tally.packages),
        "{tally:?}"
    );
    assert_eq!(
        (tally.bills, tally.double_bills()),
        (tally.packages, 0),
        "{tally:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_20_a_key_is_refused_while_pictures_are_made() {
    let stack = Stack::start().await;
    let mut tally = Tally::of(
        "20",
        "nobody dies: the key is refused while orders are open, for a while",
    );
    let mut bills = 0;
    for round in 0..rounds() {
        let polled = Polled::start().await;
        let _replica = polled.replica(&stack, &[JOB_TIMEOUT]).await;
        let jobs = push(&stack, polled_one(round), EACH).await;
        polled.ordered(jobs.len()).await;
        polled.refuse_keys(true);
        let refused = Instant::now();
        tokio::time::sleep(LASTS).await;
        polled.refuse_keys(false);
        polled.finish();
        finish(&stack, &mut tally, &jobs, refused).await;
        bills += polled.orders();
    }
    paid_once(tally, bills);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_21_stopped_in_mid_call() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let mut tally = Tally::of(
        "21",
        "it is stopped (SIGTERM) while providers with and without ids draw",
    );
    let mut orders = 0;
    for round in 0..rounds() {
        let polled = Polled::start().await;
        openai.close();
        let before = openai.calls().len();
        let mut stopped = polled.replica_beside(&stack, &openai, &[]).await;
        let mut jobs = push(&stack, "openai", EACH).await;
        jobs.extend(push(&stack, polled_one(round), EACH).await);
        openai.called(before + usize::try_from(EACH).unwrap()).await;
        polled.polled(1).await;
        polled.ordered(usize::try_from(EACH).unwrap()).await;
        stopped.terminate();
        stopped.said("finishing what is in hand").await;
        openai.open();
        assert!(stopped.exit().await.success(), "{}", stopped.log());
        let gone = Instant::now();
        polled.finish();
        let _next = polled.replica_beside(&stack, &openai, &[]).await;
        finish(&stack, &mut tally, &jobs, gone).await;
        orders += polled.orders();
    }
    paid_once(tally, openai.bills() + orders);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_the_deadline_passes_in_mid_call() {
    let stack = Stack::start().await;
    let mut tally = Tally::of(
        "22",
        "dies while a provider with ids draws; the deadline passes meanwhile",
    );
    let mut bills = 0;
    for round in 0..rounds() {
        let polled = Polled::start().await;
        let mut victim = polled.replica(&stack, &[JOB_TIMEOUT]).await;
        let jobs = stack.jobs(EACH).await;
        let deadline = chrono::Utc::now() + LASTS;
        let written = deadline.to_rfc3339_opts(SecondsFormat::Millis, true);
        for job_id in &jobs {
            let package = with(logo(*job_id), "imageProvider", polled_one(round));
            stack.push(&with(package, "deadline", written.as_str())).await;
        }
        polled.ordered(jobs.len()).await;
        polled.polled(jobs.len()).await;
        victim.kill();
        let died = Instant::now();
        tokio::time::sleep(LASTS).await;
        polled.finish();
        let _other = polled.replica(&stack, &[JOB_TIMEOUT]).await;
        finish(&stack, &mut tally, &jobs, died).await;
        bills += polled.orders();
    }
    paid_once(tally, bills);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_23_postgres_is_demoted_in_mid_call() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let mut tally = Tally::of(
        "23",
        "nobody dies: Postgres takes no writes for a while, in mid-call",
    );
    let mut orders = 0;
    for round in 0..rounds() {
        let polled = Polled::start().await;
        openai.close();
        let before = openai.calls().len();
        let _replica = polled.replica_beside(&stack, &openai, &[]).await;
        let mut jobs = push(&stack, "openai", EACH).await;
        jobs.extend(push(&stack, polled_one(round), EACH).await);
        openai.called(before + usize::try_from(EACH).unwrap()).await;
        polled.ordered(usize::try_from(EACH).unwrap()).await;
        let admin = stack.sql_client().await;
        let read_only = async |is_read_only: &str| {
            let set = format!("ALTER SYSTEM SET default_transaction_read_only = {is_read_only}");
            admin.execute(set.as_str(), &[]).await.unwrap();
            admin.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
        };
        read_only("on").await;
        let demoted = Instant::now();
        openai.open();
        polled.finish();
        tokio::time::sleep(LASTS).await;
        read_only("off").await;
        finish(&stack, &mut tally, &jobs, demoted).await;
        orders += polled.orders();
    }
    paid_once(tally, openai.bills() + orders);
}

/// Like a roll-out: three replicas are replaced one after the other while packages come in.
#[tokio::test(flavor = "multi_thread")]
async fn row_24_replicas_are_replaced_one_by_one() {
    const REPLICAS: usize = 3;
    let call = Duration::from_secs(asked("CHAOS_CALL_SECONDS").unwrap_or(4));
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.delay(call);
    let polled = Polled::start().await;
    let fault = format!(
        "three replicas are replaced one by one under load, with calls of {} s",
        call.as_secs()
    );
    let mut tally = Tally::of("24", &fault);
    let variables = [("WORKER_CONCURRENCY", "4"), ("JOB_TIMEOUT", "2m")];
    let mut old = Vec::new();
    for _ in 0..REPLICAS {
        old.push(polled.replica_beside(&stack, &openai, &variables).await);
    }
    let (mut new, mut jobs) = (Vec::new(), Vec::new());
    for replica in &mut old {
        for provider in ["openai", "flux", "fal"] {
            jobs.extend(push(&stack, provider, 5).await);
        }
        tokio::time::sleep(call / 3).await;
        replica.terminate();
        new.push(polled.replica_beside(&stack, &openai, &variables).await);
        assert!(replica.exit().await.success(), "{}", replica.log());
    }
    let replaced = Instant::now();
    polled.finish();
    finish(&stack, &mut tally, &jobs, replaced).await;
    let counted = "SELECT sum(attempts + crashes) FROM generative_ai.jobs";
    assert_eq!(stack.count(counted).await, 0);
    paid_once(tally, openai.bills() + polled.orders());
}
