//! Limits of a provider hold over all replicas, and room that becomes free is used.

use std::time::Duration;

use redis::AsyncCommands;
use serde_json::json;

use crate::harness::aftermath::key;
use crate::harness::command::command_on;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::polled::Polled;
use crate::harness::stack::{Stack, logo, with};

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_together_open_no_more_calls_than_are_allowed() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.delay(Duration::from_millis(150));
    let limits = [("IMAGE_PROVIDER_LIMITS", "openai:5")];
    let _replicas = [
        stack.replica_of(&openai, &limits).await,
        stack.replica_of(&openai, &limits).await,
        stack.replica_of(&openai, &limits).await,
    ];
    let jobs = stack.push_logos(60).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.most_open(), 5, "all the room is used, and no more");
    // Every package was begun once, when there was room for it.
    let deliveries = "SELECT sum(deliveries) FROM generative_ai.jobs";
    assert_eq!(stack.count(deliveries).await, 60);
    let parked: u64 = stack.redis().await.llen(key("parked:openai")).await.unwrap();
    assert_eq!(parked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn room_of_a_killed_replica_is_used_by_others() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let variables = [("IMAGE_PROVIDER_LIMITS", "openai:2"), ("JOB_TIMEOUT", "3s")];
    let mut victim = stack.replica_of(&openai, &variables).await;
    let jobs = stack.push_logos(4).await;
    openai.called(2).await;
    victim.kill();
    openai.open();
    let _other = stack.replica_of(&openai, &variables).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.calls().len(), 6, "two were under way when they were lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_that_are_not_begun_keep_no_room() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack
        .replica_of(&openai, &[("IMAGE_PROVIDER_LIMITS", "openai:1")])
        .await;
    let first = stack.push_logos(1).await;
    stack.all_done_once(&first).await;
    // Its job is done, so it is settled without a call.
    for _ in 0..3 {
        stack.push(&logo(first[0])).await;
    }
    stack.idle().await;
    let second = stack.push_logos(1).await;
    stack.all_done_once(&[first[0], second[0]]).await;
    assert_eq!(openai.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_parked_for_a_limit_that_is_gone_are_found() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let timeout = ("JOB_TIMEOUT", "2s");
    let mut limited = stack
        .replica_of(&openai, &[("IMAGE_PROVIDER_LIMITS", "openai:1"), timeout])
        .await;
    let jobs = stack.push_logos(3).await;
    stack
        .until("two are parked", async || {
            let parked: u64 = stack.redis().await.llen(key("parked:openai")).await.unwrap();
            (parked == 2).then_some(())
        })
        .await;
    limited.kill();
    openai.open();
    let _unlimited = stack.replica_of(&openai, &[timeout]).await;
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_calls_are_made_within_a_minute_than_are_allowed() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack
        .replica_of(&openai, &[("IMAGE_PROVIDER_LIMITS", "openai:3/min")])
        .await;
    let _jobs = stack.push_logos(5).await;
    stack.done(3).await;
    parked(&stack, 2).await;
    assert_eq!(openai.calls().len(), 3);
    assert_eq!(
        stack.count("SELECT count(*) FROM generative_ai.jobs").await,
        3,
        "what waits is not begun"
    );
    let mut redis = stack.redis().await;
    let made: Vec<(String, f64)> = redis
        .zrange_withscores(key("recent-calls:openai"), 0, -1)
        .await
        .unwrap();
    // As if the minute of the first two had turned.
    for (call, at_ms) in &made[..2] {
        let _: i64 = redis
            .zadd(key("recent-calls:openai"), call, at_ms - 60_000.0)
            .await
            .unwrap();
    }
    stack.done(5).await;
    assert_eq!(openai.calls().len(), 5);
}

async fn parked(stack: &Stack, expected: usize) {
    stack
        .until("the others wait", async || {
            let parked: usize = stack.redis().await.llen(key("parked:openai")).await.unwrap();
            let of_flux: usize = stack.redis().await.llen(key("parked:flux")).await.unwrap();
            (parked + of_flux == expected).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_only_waited_for_is_not_counted_again() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    let own = polled.variables();
    let mut variables: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    variables.extend([
        ("IMAGE_PROVIDER_LIMITS", "flux:2/min"),
        ("IMAGE_PROVIDER", "flux"),
    ]);
    let mut victim = stack.replica(&variables).await;
    let first = stack.push_logos(1).await;
    polled.looked_at().await;
    victim.kill();
    let other = stack.replica(&variables).await;
    other.said("asking again for a picture that is being made").await;
    let second = stack.push_logos(1).await;
    polled.ordered(2).await;
    let _third = stack.push_logos(1).await;
    parked(&stack, 1).await;
    polled.finish();
    for job_id in [first[0], second[0]] {
        assert_eq!(stack.ended(job_id).await.progress, Some(100));
    }
    assert_eq!(polled.orders(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_makes_no_call_is_not_counted() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack
        .replica_of(&openai, &[("IMAGE_PROVIDER_LIMITS", "openai:2/min")])
        .await;
    let first = stack.push_logos(1).await;
    stack.all_done_once(&first).await;
    for _ in 0..3 {
        // Its job is done.
        stack.push(&logo(first[0])).await;
        stack.idle().await;
    }
    let second = stack.push_logos(1).await;
    stack.all_done_once(&[first[0], second[0]]).await;
    let _third = stack.push_logos(1).await;
    parked(&stack, 1).await;
    assert_eq!(openai.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_sent_again_is_counted_twice() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let error = json!({"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"});
    openai.then(Reply::Error(429, error, vec![("retry-after-ms", "10")]));
    let limits = ("IMAGE_PROVIDER_LIMITS", "openai:2/min");
    let _replica = stack.replica_of(&openai, &[limits]).await;
    let first = stack.push_logos(1).await;
    stack.all_done_once(&first).await;
    assert_eq!(openai.calls().len(), 2);
    let _second = stack.push_logos(1).await;
    parked(&stack, 1).await;
    assert_eq!(openai.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_replica_keeps_to_its_own_limit_and_others_take_what_is_left() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let variables = [("IMAGE_PROVIDER_LIMITS", "openai:2/replica")];
    let _first = stack.replica_of(&openai, &variables).await;
    let jobs = stack.push_logos(10).await;
    openai.called(2).await;
    // The first has more slots, yet leaves the rest where another replica can take it.
    stack
        .until("the rest is parked", async || {
            let parked: i64 = stack.redis().await.llen(key("parked:openai")).await.unwrap();
            (parked == 8).then_some(())
        })
        .await;
    let _second = stack.replica_of(&openai, &variables).await;
    openai.called(4).await;
    assert_eq!(openai.most_open(), 4);
    openai.open();
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.most_open(), 4, "a replica had more than two calls open");
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_of_a_type_are_limited_whoever_draws_them() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let variables = [
        ("WORK_TYPE_LIMITS", "collection-image:3"),
        ("IMAGE_PROVIDER_LIMITS", "openai:5"),
    ];
    let _replicas = [
        stack.replica_of(&openai, &variables).await,
        stack.replica_of(&openai, &variables).await,
    ];
    let jobs = stack.push_logos(10).await;
    openai.called(3).await;
    // What waits for it is counted where people look.
    stack
        .until("status has the packages that wait", async || {
            let said = command_on(&stack, &["status"], &[]).await;
            let line = said
                .out
                .lines()
                .find(|line| line.contains("type/collection-image"));
            line.is_some_and(|line| line.contains("begun 3, parked 7"))
                .then_some(())
        })
        .await;
    openai.open();
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.most_open(), 3);
    stack.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_wait_for_a_minute_hold_up_nobody_else_and_are_not_polled() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack
        .replica_of(&openai, &[("IMAGE_PROVIDER_LIMITS", "openai:5/min")])
        .await;
    let _waiting = stack.push_logos(500).await;
    parked(&stack, 495).await;
    let others = stack.jobs(20).await;
    for job_id in &others {
        stack.push(&with(logo(*job_id), "imageProvider", "blank")).await;
    }
    for job_id in &others {
        assert_eq!(stack.ended(*job_id).await.progress, Some(100), "others go on");
    }
    stack.done(25).await;
    let mut redis = stack.redis().await;
    let _: () = redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .query_async(&mut redis)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let scripts = stack.commands("evalsha").await;
    assert!(
        scripts <= 30,
        "{scripts} scripts within 5 s while nothing can be woken"
    );
    assert_eq!(openai.calls().len(), 5);
    parked(&stack, 495).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_woken_in_its_order() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let _replica = stack
        .replica_of(&openai, &[("IMAGE_PROVIDER_LIMITS", "openai:1")])
        .await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    let mut expected = jobs;
    for count in 1..=6 {
        expected.extend(stack.push_logos(1).await);
        parked(&stack, count).await;
    }
    openai.open();
    stack.all_done_once(&expected).await;
    let prompts: Vec<String> = openai
        .calls()
        .iter()
        .map(|call| call.body["prompt"].as_str().unwrap().to_owned())
        .collect();
    for (prompt, job_id) in prompts.iter().zip(&expected) {
        let number = format!("number {job_id}");
        assert!(prompt.contains(&number), "{prompts:?}");
    }
}
