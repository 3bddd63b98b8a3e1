//! Redis loses everything, a standby of Postgres that lacks the last commits takes over, and both at once.

use redis::AsyncCommands;
use serde_json::json;

use super::{OFTEN, compared};
use crate::harness::aftermath::key;
use crate::harness::command::command_on;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::stack::{QUEUE, Stack};
use crate::harness::standby::Standby;

const BACK: &str = "they are in the queue again";

async fn forget_everything(stack: &Stack) {
    let _: () = redis::cmd("FLUSHALL")
        .query_async(&mut stack.redis().await)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_has_lost_everything_is_filled_from_the_ledger() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let broken = json!({"message": "broken", "type": "server_error"});
    for _ in 0..2 {
        openai.then(Reply::Error(500, broken.clone(), vec![]));
    }
    let variables = [
        ("JOB_TIMEOUT", "2s"),
        ("RETRY_BASE_DELAY", "2s"),
        ("WORKER_CONCURRENCY", "4"),
    ];
    let mut victim = stack.replica_of(&openai, &variables).await;
    // Two wait for another attempt, four are with the provider when their replica dies.
    let jobs = stack.push_logos(6).await;
    let waiting = "SELECT count(*) FROM generative_ai.jobs WHERE state = 'retry_wait'";
    openai.close();
    stack
        .until("some jobs wait and some are drawn", async || {
            let open = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'intended'";
            let is_so = stack.count(waiting).await + stack.count(open).await == 6;
            is_so.then_some(())
        })
        .await;
    victim.kill();
    openai.open();
    forget_everything(&stack).await;
    let other = stack.replica_of(&openai, &[("JOB_TIMEOUT", "2s"), OFTEN]).await;
    other.said(BACK).await;
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_of_jobs_that_a_live_replica_has_begun_and_does_not_have() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    stack.until_key("ping", true).await;
    let job_id = stack.job().await;
    stack
        .sql(
            "INSERT INTO generative_ai.jobs (job_id, state, package, queue, worker_id)
             VALUES ($1, 'begun', '{}', $2, $3)",
            &[&job_id, &QUEUE, &replica.worker_id()],
        )
        .await;
    let doctor = command_on(&stack, &["doctor", "--offline"], &[]).await;
    let found =
        "warn  packages   1 jobs say that a live replica works on them, which has no package of theirs";
    assert!(doctor.out.contains(found), "{}", doctor.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_has_in_hand_when_redis_loses_everything_is_not_taken_from_it() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let variables = [OFTEN, ("WORKER_CONCURRENCY", "5")];
    let _replicas = [
        stack.replica_of(&openai, &variables).await,
        stack.replica_of(&openai, &variables).await,
    ];
    let jobs = stack.push_logos(5).await;
    openai.called(5).await;
    // They trust missing leases by now.
    compared(&stack).await;
    forget_everything(&stack).await;
    compared(&stack).await;
    assert_eq!(stack.redis().await.llen::<_, i64>(QUEUE).await.unwrap(), 0);
    openai.open();
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.calls().len(), 5);
    for job_id in &jobs {
        assert_eq!(stack.ledger(*job_id).await.deliveries, 1);
    }
}

/// Jobs that are recorded and settled, of which the standby that takes over knows no more than that they were begun.
async fn fails_over(stack: &mut Stack, openai: &OpenAi, dies: bool, forgets: bool) {
    let standby = Standby::of(stack).await;
    let url = standby.url(stack);
    let variables = [OFTEN, ("DATABASE_URL", url.as_str()), ("JOB_TIMEOUT", "2s")];
    openai.close();
    let mut replica = stack
        .replica_of(openai, &[&variables[..], &[("JOB_TIMEOUT", "1m")]].concat())
        .await;
    let jobs = stack.push_logos(5).await;
    openai.called(5).await;
    standby.cut_off(stack).await;
    openai.open();
    stack.all_done_once(&jobs).await;
    if dies {
        replica.kill();
    }
    let _address = standby.take_over(stack).await;
    if forgets {
        forget_everything(stack).await;
    }
    let lost = "SELECT count(*) FROM generative_ai.jobs WHERE state = 'done'";
    assert_eq!(stack.count(lost).await, 0, "the standby lacks the last commits");
    let _next = if dies {
        Some(stack.replica_of(openai, &variables).await)
    } else {
        replica.said("Postgres has lost how these jobs ended here").await;
        None
    };
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.calls().len(), 5, "what was stored is found");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_ends_a_promoted_standby_lacks_are_ended_again() {
    let mut stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    fails_over(&mut stack, &openai, false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_ends_a_promoted_standby_lacks_are_ended_again_where_their_replica_is_gone() {
    let mut stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    fails_over(&mut stack, &openai, true, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_of_postgres_and_the_loss_of_redis_at_once_lose_nothing() {
    let mut stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    fails_over(&mut stack, &openai, false, true).await;
    assert!(!stack.has_key("parked:openai").await, "{}", key("parked:openai"));
}
