//! What an outage of a provider has kept waiting is taken as soon as there is room, and not when a time is over.

use redis::AsyncCommands;
use serde_json::json;

use crate::harness::aftermath::key;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::stack::Stack;

/// Calls that are under way when the provider breaks; of these, four fail before anybody knows that it is broken.
const UNDER_WAY: usize = 12;
const FIRST_FAULTS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_fail_of_a_broken_provider_go_on_when_it_is_mended_and_not_by_the_clock() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let variables = [
        ("WORKER_CONCURRENCY", "12"),
        // Whoever waits for it waits in vain.
        ("RETRY_BASE_DELAY", "10m"),
        ("RETRY_MAX_DELAY", "10m"),
    ];
    // What is answered is decided when a call comes.
    let broken = Reply::Error(503, json!({"message": "broken", "type": "server_error"}), vec![]);
    for _ in 0..10 * UNDER_WAY {
        openai.then(broken.clone());
    }
    let replica = stack.replica_of(&openai, &variables).await;
    let jobs = stack.push_logos(i32::try_from(UNDER_WAY).unwrap()).await;
    openai.called(UNDER_WAY).await;
    openai.open();
    replica.said("openai has failed 5 times in a row").await;
    let mut redis = stack.redis().await;
    stack
        .until("all wait", async || {
            let delayed: usize = redis.zcard(key("delayed")).await.unwrap();
            let parked: usize = redis.llen(key("parked:openai")).await.unwrap();
            (delayed + parked == jobs.len()).then_some(())
        })
        .await;
    let delayed: usize = redis.zcard(key("delayed")).await.unwrap();
    assert!(delayed <= FIRST_FAULTS, "{delayed} wait for a time");
    openai.then_as_ever();
    let rest = i64::try_from(UNDER_WAY - FIRST_FAULTS).unwrap();
    stack.done(rest).await;
    let attempts = "SELECT count(*) FROM generative_ai.jobs WHERE state = 'done' AND attempts = 1";
    assert!(
        stack.count(attempts).await >= rest,
        "each failed attempt is counted all the same"
    );
}
