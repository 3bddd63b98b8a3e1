//! A replica that dies or freezes loses nothing and counts nothing.

use std::time::Duration;

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::aftermath::key;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::stack::{Stack, logo, with};

const GONE: &str = "a replica is gone without a word";
const LEASE_LOST: &str = "the lease had run out";
/// How long a replica waits for a call, and others for the end of it when the replica is gone.
const SOON: (&str, &str) = ("JOB_TIMEOUT", "4s");
/// Longer than a lease.
const LATER: (&str, &str) = ("JOB_TIMEOUT", "8s");

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_loses_no_package() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    // With one attempt allowed, a crash that counted as an attempt would end the jobs.
    let variables = [("MAX_ATTEMPTS", "1"), SOON];
    let mut victim = stack.replica_of(&openai, &variables).await;
    let jobs = stack.push_logos(10).await;
    openai.called(10).await;
    let others = [
        stack.replica_of(&openai, &variables).await,
        stack.replica_of(&openai, &variables).await,
    ];
    victim.kill();
    openai.open();

    stack.all_done_once(&jobs).await;
    for job_id in &jobs {
        let ledger = stack.ledger(*job_id).await;
        assert_eq!((ledger.attempts, ledger.crashes), (0, 1), "{ledger:?}");
    }
    assert_eq!(
        openai.calls().len(),
        20,
        "what died with the replica was drawn once more"
    );
    let said: usize = others.iter().map(|other| other.times_said(GONE)).sum();
    assert!(said >= 1, "somebody says that it died");
    assert_eq!(stack.traces_of(&victim.worker_id()).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_lose_no_package() {
    let stack = Stack::start().await;
    // Free: a paid call that two replicas die in is not made a third time.
    let variables = [("WORKER_CONCURRENCY", "4"), ("IMAGE_PROVIDER", "blank")];
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(stack.replica(&variables).await);
    }
    let jobs = stack.push_logos(120).await;
    for killed in 1..=6 {
        stack.done(killed * 12).await;
        replicas.remove(0).kill();
        replicas.push(stack.replica(&variables).await);
    }
    stack.all_done_once(&jobs).await;
    let attempts = "SELECT sum(attempts) FROM generative_ai.jobs";
    assert_eq!(stack.count(attempts).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_counted_as_a_crash_and_a_failure_as_an_attempt() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let variables = [("MAX_ATTEMPTS", "2"), SOON];
    let mut victim = stack.replica_of(&openai, &variables).await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    victim.kill();
    openai.open();
    // Two calls are one attempt.
    for _ in 0..2 {
        openai.then(Reply::Error(500, json!({"message": "broken"}), vec![]));
    }
    let _replica = stack.replica_of(&openai, &variables).await;

    stack.all_done_once(&jobs).await;
    let ledger = stack.ledger(jobs[0]).await;
    assert_eq!(
        (ledger.attempts, ledger.crashes, ledger.deliveries),
        (1, 1, 4),
        "{ledger:?}"
    );
    assert_eq!(openai.calls().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_late_picture_of_a_frozen_replica_is_used_and_no_other_is_bought() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let frozen = stack.replica_of(&openai, &[LATER]).await;
    let mut jobs = stack.push_logos(1).await;
    openai.called(1).await;
    frozen.freeze();
    let mut other = stack.replica_of(&openai, &[LATER]).await;
    other.said(GONE).await;
    openai.open();
    frozen.thaw();
    frozen.said(LEASE_LOST).await;
    frozen.said(&format!("job {} is done", jobs[0])).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.calls().len(), 1);
    let call = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'succeeded'";
    assert_eq!(stack.count(call).await, 1);
    // It is as good as any other again.
    other.kill();
    jobs.extend(stack.push_logos(1).await);
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_frozen_for_longer_than_its_call_adds_nothing() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let frozen = stack.replica_of(&openai, &[SOON]).await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    frozen.freeze();
    let _other = stack.replica_of(&openai, &[SOON]).await;
    openai.called(2).await;
    openai.open();
    stack.all_done_once(&jobs).await;
    let first = stack.job_row(jobs[0]).await;
    frozen.thaw();
    frozen.said(LEASE_LOST).await;
    stack.hands_empty(&frozen).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(stack.job_row(jobs[0]).await, first);
    let calls = stack
        .sql(
            "SELECT string_agg(state, ' ' ORDER BY call_no) FROM generative_ai.provider_calls",
            &[],
        )
        .await;
    assert_eq!(calls[0].get::<_, String>(0), "unknown succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_late_failure_of_a_frozen_replica_harms_nobody() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    openai.then(Reply::Error(
        400,
        json!({"message": "no", "code": "moderation_blocked", "type": "image_generation_user_error"}),
        vec![],
    ));
    let failing = stack.replica_of(&openai, &[LATER]).await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    failing.freeze();
    let owner = stack.replica_of(&openai, &[LATER]).await;
    // From here on the job is the other's, who waits for the open call.
    owner.said("taking over a job").await;
    stack
        .until("the other waits", async || {
            (stack.ledger(jobs[0]).await.state == "retry_wait").then_some(())
        })
        .await;
    openai.open();
    failing.thaw();
    failing.said(LEASE_LOST).await;
    stack.hands_empty(&failing).await;
    // Its failure is no news of the job, which is another's by now.
    assert_eq!(stack.job_row(jobs[0]).await.error, None);
    stack.all_done_once(&jobs).await;
    assert_eq!(stack.ledger(jobs[0]).await.attempts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_of_a_dead_replica_are_found_wherever_they_are() {
    let stack = Stack::start().await;
    let mut dead = stack.replica(&[]).await;
    dead.kill();
    let worker_id = dead.worker_id();
    let jobs = stack.jobs(3).await;
    let mut redis = stack.redis().await;
    let landing = key(&format!("landing:{worker_id}"));
    let processing = key(&format!("processing:{worker_id}"));
    let _: i64 = redis.lpush(landing, logo(jobs[0]).to_string()).await.unwrap();
    let _: i64 = redis
        .hset(&processing, "7.normal", logo(jobs[1]).to_string())
        .await
        .unwrap();
    let _: i64 = redis
        .hset(&processing, "8.low", logo(jobs[2]).to_string())
        .await
        .unwrap();
    let _: i64 = redis
        .zadd(key("in-flight"), format!("{worker_id}/7.normal"), 1)
        .await
        .unwrap();
    let replica = stack.replica(&[]).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(replica.times_said(GONE), 1);
    assert_eq!(stack.traces_of(&worker_id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_taken_for_dead_and_then_dies_is_found() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    // It renews its lease so seldom that it takes a package before it does.
    let mut victim = stack.replica_of(&openai, &[("LEASE_TTL", "10m"), SOON]).await;
    let worker_id = victim.worker_id();
    // What recovering it does, as after a freeze.
    let mut redis = stack.redis().await;
    let _: i64 = redis.del(key(&format!("lease:{worker_id}"))).await.unwrap();
    let _: i64 = redis.srem(key("workers"), &worker_id).await.unwrap();
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    victim.kill();
    openai.open();
    let _other = stack.replica_of(&openai, &[SOON]).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(stack.traces_of(&worker_id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_whose_adoption_was_not_heard_of_is_found_again() {
    let mut stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let jobs = stack.jobs(1).await;
    // As an adopt leaves it whose answer the outage below has cut off.
    let worker_id = replica.worker_id();
    let mut redis = stack.redis().await;
    let _: i64 = redis
        .hset(
            key(&format!("processing:{worker_id}")),
            "900.normal",
            logo(jobs[0]).to_string(),
        )
        .await
        .unwrap();
    let _: i64 = redis
        .zadd(key("in-flight"), format!("{worker_id}/900.normal"), 1)
        .await
        .unwrap();
    stack.redis.kill();
    replica.said("Redis does not answer").await;
    // Long enough for an adopt to fail. If none does, the package is found half a minute later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stack.redis.restart().unwrap();
    stack.all_done_once(&jobs).await;
    replica.said("a call whose answer was lost").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_was_stored_and_not_recorded_is_not_paid_for_again() {
    let mut stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let mut victim = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    stack.postgres.stop();
    openai.open();
    stack
        .until("the picture is stored", async || {
            (stack.stored().len() == 1).then_some(())
        })
        .await;
    victim.kill();
    stack.postgres.restart().unwrap();
    assert_eq!(
        stack.job_row(jobs[0]).await.data,
        json!({}),
        "it was not recorded"
    );

    let replica = stack.replica_of(&openai, &[]).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.calls().len(), 1);
    replica.said("an earlier attempt has stored this picture").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_recorded_and_not_settled_is_announced_and_not_drawn_again() {
    let mut stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let mut victim = stack.replica_of(&openai, &[]).await;
    let jobs = stack.jobs(1).await;
    let reply_to = key("reply:test");
    stack
        .push(&with(logo(jobs[0]), "replyTo", reply_to.as_str()))
        .await;
    openai.called(1).await;
    stack.redis.stop();
    openai.open();
    let job = stack.ended(jobs[0]).await;
    victim.kill();
    stack.redis.restart().unwrap();
    let mut redis = stack.redis().await;
    assert!(
        !redis.exists::<_, bool>(&reply_to).await.unwrap(),
        "it was not settled"
    );

    let _replica = stack.replica_of(&openai, &[]).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.calls().len(), 1);
    let replies: Vec<String> = redis.lrange(&reply_to, 0, -1).await.unwrap();
    assert_eq!(replies.len(), 1, "{replies:?}");
    let event: Value = serde_json::from_str(&replies[0]).unwrap();
    assert_eq!(
        (&event["status"], &event["imageId"]),
        (&json!("completed"), &job.data["imageId"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_row_postgres_has_lost_is_done_all_the_same() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let _replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    // What a failover does that loses the last commits.
    stack.sql("DELETE FROM generative_ai.jobs", &[]).await;
    openai.open();
    stack.all_done_once(&jobs).await;
    stack.idle().await;
    assert_eq!(
        openai.calls().len(),
        1,
        "the picture that was there was bought again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wedged_runtime_ends_its_process_and_others_take_over() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let fault = ("FAULT_POINT", "begun:1:wedge");
    let mut wedged = stack.replica_of(&openai, &[fault]).await;
    let jobs = stack.push_logos(1).await;
    let ping = format!("ping:{}", wedged.worker_id());
    stack.until_key(&ping, false).await;
    let status = wedged.exit().await;
    assert_eq!(status.code(), Some(1));
    wedged.said("the runtime runs no task any more").await;
    let _other = stack.replica_of(&openai, &[]).await;
    stack.all_done_once(&jobs).await;
}
