//! What changes in Redis while a replica runs: the words say what is so, once, and nothing is lost.

use redis::AsyncCommands;

use super::clerk;
use crate::harness::command::command_on;
use crate::harness::operator::Operator;
use crate::harness::stack::{QUEUE, Stack, logo};

const HIGH: &str = "{generative-ai}:high";

/// Waits until `/readyz` says that Redis refuses this.
async fn refuses(stack: &Stack, operator: &Operator, words: &str) {
    stack
        .until(&format!("/readyz says {words}"), async || {
            let (status, body) = operator.get("/readyz").await;
            let says = body.contains(r#""refusing":["redis: "#) && body.contains(words);
            (status == 503 && says && !body.contains(r#"["redis""#)).then_some(())
        })
        .await;
}

async fn is_ready(stack: &Stack, operator: &Operator) {
    let body = r#"{"isReady":true,"state":"running","notAnswering":[]}"#;
    operator.is_ready(stack, 200, body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_becomes_something_else_is_named_and_the_others_go_on() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let operator = Operator::of(&replica).await;
    let mut redis = stack.redis().await;
    for (wrong, other) in [(HIGH, QUEUE), (QUEUE, HIGH)] {
        let waiting = stack.job().await;
        redis::cmd("ACL")
            .arg(&["LOG", "RESET"])
            .query_async::<()>(&mut redis)
            .await
            .unwrap();
        // What waits there is put aside with its package, and comes back as it was.
        redis::pipe()
            .atomic()
            .set("{generative-ai}:paused", "test")
            .lpush(wrong, logo(waiting).to_string())
            .rename(wrong, "{generative-ai}-aside")
            .set(wrong, "somebody else's")
            .del("{generative-ai}:paused")
            .exec_async(&mut redis)
            .await
            .unwrap();
        let goes_on = stack.job().await;
        let _: i64 = redis.lpush(other, logo(goes_on).to_string()).await.unwrap();
        let words = format!("the key {wrong} is a string, not a list; rename or remove it");
        replica.said(&words).await;
        let job = stack.ended(goes_on).await;
        assert_eq!(job.progress, Some(100), "{job:?}");
        refuses(&stack, &operator, &words).await;
        let status = command_on(&stack, &["status"], &[]).await;
        assert!(status.out.contains(&words), "{}", status.out);
        assert_eq!(status.status, Some(78), "{}", status.out);

        let _: () = redis.rename("{generative-ai}-aside", wrong).await.unwrap();
        stack.each_done_once(&[waiting, goes_on]).await;
        is_ready(&stack, &operator).await;
        stack
            .until("it says that it is over", async || {
                (replica.times_said(&words) > 1).then_some(())
            })
            .await;
        assert_eq!(replica.times_said(&words), 2, "{}", replica.log());
    }
    assert_eq!(replica.times_said("does not answer"), 0, "{}", replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_is_one_line_and_what_was_in_hand_is_there_afterwards() {
    let stack = Stack::start().await;
    let url = clerk(&stack, &[]).await;
    let replica = stack.replica(&[("REDIS_URL", &url)]).await;
    let operator = Operator::of(&replica).await;
    is_ready(&stack, &operator).await;
    for (rule, words) in [
        ("-client", "'client|"),
        ("-zrem", "'zrem'"),
        ("-evalsha", "'evalsha'"),
    ] {
        clerk(&stack, &[rule]).await;
        // Connections that are open keep the account, and are cut all the same where a pool or a network does it.
        let mut redis = stack.redis().await;
        redis::cmd("CLIENT")
            .arg(&["KILL", "USER", "clerk"])
            .query_async::<i64>(&mut redis)
            .await
            .unwrap();
        let jobs = stack.push_logos(3).await;
        refuses(&stack, &operator, words).await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let lines = replica.times_said("Redis answers and refuses something");
        assert!((1..=4).contains(&lines), "{}", replica.log());
        clerk(&stack, &[]).await;
        stack.each_done_once(&jobs).await;
        is_ready(&stack, &operator).await;
    }
    assert_eq!(replica.times_said("does not answer"), 0, "{}", replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_shuts_out_and_is_called_so() {
    let stack = Stack::start().await;
    let url = clerk(&stack, &[]).await;
    let replica = stack.replica(&[("REDIS_URL", &url)]).await;
    let operator = Operator::of(&replica).await;
    is_ready(&stack, &operator).await;
    let mut redis = stack.redis().await;
    redis::pipe()
        .cmd("ACL")
        .arg(&["SETUSER", "clerk", "resetpass", ">another-77"])
        .cmd("CLIENT")
        .arg(&["KILL", "USER", "clerk"])
        .exec_async(&mut redis)
        .await
        .unwrap();
    replica.said("it refuses this user or this password").await;
    refuses(&stack, &operator, "it refuses this user or this password").await;
    let jobs = stack.push_logos(3).await;
    clerk(&stack, &[]).await;
    stack.each_done_once(&jobs).await;
    is_ready(&stack, &operator).await;
    assert_eq!(replica.times_said("does not answer"), 0, "{}", replica.log());
    assert!(!replica.log().contains("clerk-5be1"));
}
