//! A replica that dies, or a Redis that loses everything, between the end of a job and its being told.

use std::collections::BTreeSet;

use crate::harness::openai::{OpenAi, Reply};
use crate::harness::receiver::Receiver;
use crate::harness::stack::Stack;

use super::told;

/// Each time with new replicas.
const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_right_after_the_commit_leaves_nobody_untold() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let refusal = serde_json::json!({"message": "no", "code": "moderation_blocked"});
    let openai = OpenAi::start(Reply::Error(400, refusal, vec![])).await;
    let own = openai.variables();
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        for (fault, provider, status) in [
            ("recorded:1", "builtin", "completed"),
            ("dead-committed:1", "openai", "failed"),
        ] {
            let mut variables: Vec<(&str, &str)> =
                own.iter().map(|(name, value)| (&**name, &**value)).collect();
            variables.extend([
                ("FAULT_POINT", fault),
                ("WORKER_CONCURRENCY", "1"),
                ("IMAGE_PROVIDER", provider),
            ]);
            let mut victim = stack.replica_for(&receiver, &variables).await;
            let job_id = stack.job().await;
            let path = format!("/{round}-{status}");
            stack.push(&told(&receiver, job_id, &path)).await;
            victim.exit().await;
            all.push((path, status));
        }
    }
    let variables: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    let _heir = stack.replica_for(&receiver, &variables).await;
    for (path, status) in &all {
        receiver.told(&stack, path, 1).await;
        stack.idle().await;
        stack.outbox_has("state = 'waiting'", 0).await;
        let posts = receiver.posts(path).await;
        let ids: BTreeSet<&str> = posts.iter().map(|post| &*post.id).collect();
        assert_eq!(
            ids.len(),
            1,
            "{path} was told of one end, however often: {}",
            posts.len()
        );
        assert!(posts.iter().all(|post| post.body["status"] == *status), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_posted_by_a_replica_that_died_of_it_is_posted_again_under_the_same_id() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let mut victim = stack.replica_for(&receiver, &[("FAULT_POINT", "posted:1")]).await;
    let job_id = stack.job().await;
    stack.push(&told(&receiver, job_id, "/a")).await;
    victim.exit().await;
    let _heir = stack.replica_for(&receiver, &[]).await;
    // Nobody else has it before its lease ends.
    let posts = receiver.told(&stack, "/a", 2).await;
    assert_eq!((&posts[0].id, &posts[0].body), (&posts[1].id, &posts[1].body));
    stack.outbox_has("state = 'delivered' AND tries = 1", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_told_although_redis_has_lost_the_package() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let mut victim = stack
        .replica_for(&receiver, &[("FAULT_POINT", "recorded:1")])
        .await;
    let job_id = stack.job().await;
    stack.push(&told(&receiver, job_id, "/a")).await;
    victim.exit().await;
    let _: () = redis::cmd("FLUSHALL")
        .query_async(&mut stack.redis().await)
        .await
        .unwrap();
    let _heir = stack.replica_for(&receiver, &[]).await;
    let posts = receiver.told(&stack, "/a", 1).await;
    assert_eq!(
        (&posts[0].body["jobId"], &posts[0].body["status"]),
        (&job_id.into(), &"completed".into())
    );
    stack.outbox_has("state = 'delivered'", 1).await;
    assert_eq!(receiver.posts("/a").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_post_each_end_once() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(stack.replica_for(&receiver, &[]).await);
    }
    let jobs = stack.jobs(100).await;
    for job_id in &jobs {
        stack.push(&told(&receiver, *job_id, &format!("/{job_id}"))).await;
    }
    for job_id in &jobs {
        receiver.told(&stack, &format!("/{job_id}"), 1).await;
    }
    stack.outbox_has("state = 'delivered' AND tries = 1", 100).await;
    for job_id in &jobs {
        assert_eq!(receiver.posts(&format!("/{job_id}")).await.len(), 1);
    }
}
