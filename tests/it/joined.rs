//! A package of a job that is being worked on waits for nothing and holds up nobody; whoever it names is told when
//! the job ends.

use std::time::Duration;

use redis::AsyncCommands;
use serde_json::Value;

use crate::harness::aftermath::key;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::stack::{QUEUE, Stack, logo, with};

fn reply_list(number: usize) -> String {
    key(&format!("reply:{number}"))
}

async fn reply(stack: &Stack, number: usize) -> Value {
    let (_, reply): (String, String) = stack.redis().await.blpop(reply_list(number), 60.0).await.unwrap();
    serde_json::from_str(&reply).unwrap()
}

/// Packages of one job, each of which names a list of its own.
async fn push_same(stack: &Stack, job_id: i32, count: usize) {
    let package = |number| with(logo(job_id), "replyTo", reply_list(number)).to_string();
    let packages: Vec<String> = (0..count).map(package).collect();
    let _: i64 = stack.redis().await.lpush(QUEUE, packages).await.unwrap();
}

/// Waits until one package is in hand and none anywhere else.
async fn only_one_is_left(stack: &Stack) {
    stack
        .until("one package is left", async || {
            let mut redis = stack.redis().await;
            let waiting: u64 = redis.llen(QUEUE).await.unwrap();
            let (delayed, in_flight): (u64, u64) = redis::pipe()
                .zcard(key("delayed"))
                .zcard(key("in-flight"))
                .query_async(&mut redis)
                .await
                .unwrap();
            (waiting + delayed == 0 && in_flight == 1).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_packages_of_a_slow_job_hold_up_nobody_and_all_are_told_of_its_end() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let _replica = stack.replica_of(&openai, &[]).await;
    let slow = stack.job().await;
    push_same(&stack, slow, 100).await;
    let others = stack.jobs(50).await;
    for job_id in &others {
        stack.push(&with(logo(*job_id), "imageProvider", "blank")).await;
    }
    openai.called(1).await;
    stack.done(50).await;
    only_one_is_left(&stack).await;
    assert_eq!(stack.job_row(slow).await.data.get("imageId"), None);

    openai.open();
    for number in 0..100 {
        let event = reply(&stack, number).await;
        assert_eq!(
            (&event["jobId"], &event["status"]),
            (&slow.into(), &"completed".into())
        );
        assert!(event["imageUrl"].is_string(), "{event}");
    }
    let mut all = others;
    all.push(slow);
    stack.all_done_once(&all).await;
    assert_eq!(openai.calls().len(), 1);
    let left = "SELECT count(*) FROM generative_ai.jobs WHERE replies_due_at IS NOT NULL";
    stack
        .until("nobody is left to be told", async || {
            (stack.count(left).await == 0).then_some(())
        })
        .await;
    assert_eq!(stack.ledger(slow).await.deliveries, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_joined_a_job_is_told_although_its_replica_dies() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let variables = [("JOB_TIMEOUT", "3s")];
    let mut victim = stack.replica_of(&openai, &variables).await;
    let job_id = stack.job().await;
    push_same(&stack, job_id, 1).await;
    openai.called(1).await;
    let _other = stack.replica_of(&openai, &variables).await;
    let package = |number| with(logo(job_id), "replyTo", reply_list(number));
    for number in 1..9 {
        stack.push(&package(number)).await;
    }
    only_one_is_left(&stack).await;
    victim.kill();
    openai.open();
    for number in 0..9 {
        let event = reply(&stack, number).await;
        assert_eq!(
            (&event["jobId"], &event["status"]),
            (&job_id.into(), &"completed".into())
        );
    }
    stack.all_done_once(&[job_id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_joined_a_job_hears_that_it_has_failed_or_was_cancelled() {
    let stack = Stack::start().await;
    let refusal = serde_json::json!({"message": "no", "code": "moderation_blocked"});
    let openai = OpenAi::start(Reply::Error(400, refusal, vec![])).await;
    openai.close();
    let _replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.jobs(2).await;
    for (number, job_id) in jobs.iter().enumerate() {
        stack.push(&logo(*job_id)).await;
        openai.called(number + 1).await;
        let package = with(logo(*job_id), "replyTo", reply_list(number));
        stack.push(&package).await;
    }
    let joined = "SELECT count(*) FROM generative_ai.jobs WHERE replies_due_at IS NOT NULL";
    stack
        .until("both are joined", async || {
            (stack.count(joined).await == 2).then_some(())
        })
        .await;
    stack.command(&["cancel", &jobs[1].to_string()], &[]).await;
    let cancelled = reply(&stack, 1).await;
    assert_eq!(
        (&cancelled["status"], &cancelled["jobId"]),
        (&"cancelled".into(), &jobs[1].into())
    );
    openai.open();
    let failed = reply(&stack, 0).await;
    assert_eq!(
        (&failed["status"], &failed["errorClass"]),
        (&"failed".into(), &"moderation".into())
    );
    tokio::time::timeout(Duration::from_secs(60), stack.idle())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_row_can_hold_wait_for_the_end_and_are_told_of_it_too() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let _replica = stack.replica_of(&openai, &[]).await;
    let slow = stack.job().await;
    push_same(&stack, slow, 260).await;
    openai.called(1).await;
    stack
        .until("all have joined or wait", async || {
            let delayed: u64 = stack.redis().await.zcard(key("delayed")).await.unwrap();
            (delayed == 59).then_some(())
        })
        .await;
    let joined = "SELECT cardinality(joined_replies)::bigint FROM generative_ai.jobs";
    assert_eq!(stack.count(joined).await, 200);
    openai.open();
    for number in 0..260 {
        let event = reply(&stack, number).await;
        assert_eq!(event["status"], "completed");
    }
    stack.idle().await;
    stack.all_done_once(&[slow]).await;
    assert_eq!(openai.calls().len(), 1);
}
