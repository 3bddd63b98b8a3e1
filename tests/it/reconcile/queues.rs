//! Two queues on one database never touch each other's jobs.

use redis::AsyncCommands;

use super::{OFTEN, adrift, compared};
use crate::harness::command::command_on;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::stack::{BUILTIN, QUEUE, Stack, logo, with};

const OTHER: (&str, &str) = ("QUEUE_NAME", "other");

#[tokio::test(flavor = "multi_thread")]
async fn the_live_jobs_of_another_queue_are_neither_put_back_nor_taken_over() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let _replica = stack.replica_of(&openai, &[OFTEN]).await;
    let jobs = stack.push_logos(3).await;
    openai.called(3).await;
    let said = command_on(&stack, &["reseed"], &[OTHER]).await;
    said.is(0, "put back 0 packages into other\n", "");
    let _other = stack.replica_of(&openai, &[OFTEN, OTHER]).await;
    // A producer has pushed one to both.
    let mut redis = stack.redis().await;
    let _: i64 = redis.lpush("other", logo(jobs[0]).to_string()).await.unwrap();
    stack
        .until("the package waits for the other queue", async || {
            let delayed: i64 = redis.zcard("{other}:delayed").await.unwrap();
            (delayed == 1).then_some(())
        })
        .await;
    compared(&stack).await;
    openai.open();
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.calls().len(), 3);
    for job_id in &jobs {
        assert_eq!(stack.ledger(*job_id).await.deliveries, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_queue_puts_back_its_own_jobs_and_those_of_none() {
    let stack = Stack::start().await;
    let jobs = stack.jobs(3).await;
    for (job_id, queue) in jobs.iter().zip([Some(QUEUE), Some("other"), None]) {
        adrift(&stack, &[*job_id], queue).await;
    }
    let doctor = command_on(&stack, &["doctor", "--offline"], &[]).await;
    let found = "2 unfinished jobs have no package in Redis";
    assert!(doctor.out.contains(found), "{}", doctor.out);
    let status = command_on(&stack, &["status"], &[OTHER]).await;
    assert!(status.out.contains("waiting 2, "), "{}", status.out);
    command_on(&stack, &["reseed"], &[OTHER])
        .await
        .is(0, "put back 2 packages into other\n", "");
    command_on(&stack, &["reseed"], &[])
        .await
        .is(0, "put back 2 packages into generative-ai\n", "");
    // The one of none stands in both, and is drawn once.
    let _replicas = [stack.replica(&[]).await, stack.replica(&[OTHER]).await];
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_packages_are_retried_by_their_own_queue() {
    let stack = Stack::start().await;
    let _replicas = [
        stack.replica(&[BUILTIN]).await,
        stack.replica(&[OTHER, BUILTIN]).await,
    ];
    let jobs = stack.jobs(2).await;
    let mut redis = stack.redis().await;
    for (job_id, list) in jobs.iter().zip([QUEUE, "other"]) {
        let package = with(logo(*job_id), "imageSize", "1x1").to_string();
        let _: i64 = redis.lpush(list, package).await.unwrap();
        stack.ended(*job_id).await;
    }
    stack.idle().await;
    for (job_id, variables) in jobs.iter().zip([&[][..], &[OTHER]]) {
        let listed = command_on(&stack, &["dead", "list", "--json"], variables).await;
        let listed: Vec<serde_json::Value> = serde_json::from_str(&listed.out).unwrap();
        let listed: Vec<&serde_json::Value> = listed.iter().map(|package| &package["jobId"]).collect();
        assert_eq!(listed, [job_id]);
        let status = command_on(&stack, &["status"], variables).await;
        assert!(status.out.contains("dead       1\n"), "{}", status.out);
    }
    let said = command_on(&stack, &["dead", "retry", "--dry-run"], &[OTHER]).await;
    assert!(said.out.starts_with("would retry 1 package\n"), "{}", said.out);
}
