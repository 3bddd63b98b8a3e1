//! What waits, waits for a cause: it is looked at when that has come, and not by the clock.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use redis::AsyncCommands;

use crate::harness::aftermath::key;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::receiver::Receiver;
use crate::harness::stack::{QUEUE, Stack, logo, with};

/// So long Redis is watched.
const WATCHED: Duration = Duration::from_secs(3);
/// More than a replica needs for its ticks in that time, and far less than a script for each package.
const FEW: u64 = 60;
const JOBS: i32 = 150;

async fn forget_commands(stack: &Stack) {
    let _: () = redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .query_async(&mut stack.redis().await)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_that_wait_for_their_minute_cost_redis_next_to_nothing() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let limits = [("IMAGE_PROVIDER_LIMITS", "openai:5/min")];
    let _replicas = [
        stack.replica_of(&openai, &limits).await,
        stack.replica_of(&openai, &limits).await,
    ];
    forget_commands(&stack).await;
    stack.push_logos(600).await;
    stack
        .until("all others are parked", async || {
            let parked: u64 = stack.redis().await.llen(key("parked:openai")).await.unwrap();
            (parked == 595).then_some(())
        })
        .await;
    // Each is claimed and parked once, and a claim brings several.
    let scripts = stack.commands("evalsha").await;
    assert!(scripts < 3 * 600, "{scripts}");
    stack.done(5).await;
    forget_commands(&stack).await;
    tokio::time::sleep(WATCHED).await;
    let scripts = stack.commands("evalsha").await;
    assert!(scripts < FEW, "{scripts}");
    assert_eq!(openai.calls().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_that_wait_for_a_time_are_looked_at_when_it_has_come() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[]).await;
    let jobs = stack.jobs(JOBS).await;
    let push = async |not_before: chrono::DateTime<Utc>, jobs: &[i32]| {
        let package = |job_id: &i32| {
            let package = with(logo(*job_id), "imageProvider", "blank");
            with(package, "notBefore", not_before.to_rfc3339()).to_string()
        };
        let packages: Vec<String> = jobs.iter().map(package).collect();
        let _: i64 = stack.redis().await.lpush(QUEUE, packages).await.unwrap();
    };
    let delayed = async || -> i64 { stack.redis().await.zcard(key("delayed")).await.unwrap() };
    push(Utc::now() + TimeDelta::hours(1), &jobs).await;
    stack
        .until("all are delayed", async || {
            (delayed().await == i64::from(JOBS)).then_some(())
        })
        .await;
    forget_commands(&stack).await;
    tokio::time::sleep(WATCHED).await;
    let scripts = stack.commands("evalsha").await;
    assert!(scripts < FEW, "{scripts}");

    // The same jobs, whose time has come for Redis; a package that is brought back does not wait again, whatever its
    // replica's clock says.
    let mut redis = stack.redis().await;
    let members: Vec<Vec<u8>> = redis.zrange(key("delayed"), 0, -1).await.unwrap();
    let mut pipeline = redis::pipe();
    pipeline.atomic().del(key("delayed"));
    let past = (Utc::now() - TimeDelta::seconds(1)).to_rfc3339();
    for member in &members {
        let member = String::from_utf8(member.clone()).unwrap();
        let (name, package) = member.split_once(':').unwrap();
        let package = with(serde_json::from_str(package).unwrap(), "notBefore", past.clone());
        pipeline.zadd(key("delayed"), format!("{name}:{package}"), 1);
    }
    let () = pipeline.query_async(&mut redis).await.unwrap();
    forget_commands(&stack).await;
    stack.all_done_once(&jobs).await;
    let scripts = stack.commands("evalsha").await;
    assert!(scripts < u64::from(5 * JOBS.unsigned_abs()), "{scripts}");
}

/// Whoever is to be told of the end of a job hears of it when it has ended, and not when it would have been begun.
#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_it_waits_for_its_time_is_told_of_at_once() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let _replica = stack.replica_for(&receiver, &[]).await;
    let jobs = stack.jobs(2).await;
    let in_an_hour = (Utc::now() + TimeDelta::hours(1)).to_rfc3339();
    let package = |job_id: i32, path: &str| {
        let package = with(logo(job_id), "notBefore", in_an_hour.clone());
        with(package, "callbackUrl", receiver.url(path))
    };
    let soon = (Utc::now() + TimeDelta::seconds(8)).to_rfc3339();
    stack
        .push(&with(package(jobs[0], "/expired"), "deadline", soon))
        .await;
    stack.push(&package(jobs[1], "/cancelled")).await;
    stack
        .until("both wait for their time", async || {
            let delayed: i64 = stack.redis().await.zcard(key("delayed")).await.unwrap();
            (delayed == 2).then_some(())
        })
        .await;
    let cancelled = stack.command(&["cancel", &jobs[1].to_string()], &[]).await;
    assert!(cancelled.status.success());
    let post = receiver.told(&stack, "/cancelled", 1).await.remove(0);
    assert_eq!(post.body["type"], "job.cancelled");
    let post = receiver.told(&stack, "/expired", 1).await.remove(0);
    assert_eq!(post.body["errorClass"], "expired", "{}", post.body);
}
