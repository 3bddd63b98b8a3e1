//! What has become of a job comes first: what is there is never kept waiting, and nobody is told what is not so.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use redis::AsyncCommands;
use serde_json::json;

use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::polled::Polled;
use crate::harness::proxy::Proxy;
use crate::harness::stack::{Stack, icon, logo, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_keeps_from_buying_and_from_nothing_else() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    let mut victim = polled.replica(&stack, &[]).await;
    let job_id = stack.job().await;
    let deadline = (Utc::now() + Duration::from_secs(3)).to_rfc3339_opts(SecondsFormat::Millis, true);
    let package = with(with(logo(job_id), "imageProvider", "flux"), "deadline", deadline);
    stack.push(&package).await;
    polled.looked_at().await;
    victim.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    polled.finish();
    let _other = polled.replica(&stack, &[]).await;
    stack.all_done_once(&[job_id]).await;
    assert_eq!(polled.orders(), 1);
    assert_eq!(stack.job_row(job_id).await.error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_stored_is_used_after_the_deadline() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let mut victim = stack.replica_of(&openai, &[("FAULT_POINT", "stored:1")]).await;
    let job_id = stack.job().await;
    let deadline = (Utc::now() + Duration::from_secs(3)).to_rfc3339_opts(SecondsFormat::Millis, true);
    stack.push(&with(icon(job_id), "deadline", deadline)).await;
    victim.exit().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let _other = stack.replica_of(&openai, &[]).await;
    stack.all_done_once(&[job_id]).await;
    assert_eq!(openai.bills(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_calls_without_an_id_and_gives_back_all_others_at_once() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let polled = Polled::start().await;
    let variables = [("WORKER_CONCURRENCY", "6"), ("JOB_TIMEOUT", "60s")];
    let mut replica = polled.replica_beside(&stack, &openai, &variables).await;
    let (sync, with_id) = (stack.jobs(3).await, stack.jobs(3).await);
    stack.push_to("openai", &sync).await;
    stack.push_to("flux", &with_id).await;
    openai.called(3).await;
    polled.polled(3).await;
    replica.terminate();
    replica.said("finishing what is in hand").await;
    stack
        .until("what has an id is not worked on any more", async || {
            let in_flight: usize = stack
                .redis()
                .await
                .zcard("{generative-ai}:in-flight")
                .await
                .unwrap();
            let polls = polled.polls();
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            (in_flight >= 3 && polls == polled.polls()).then_some(())
        })
        .await;
    openai.open();
    assert_eq!(replica.exit().await.code(), Some(0));
    for job_id in &sync {
        assert_eq!(stack.job_row(*job_id).await.progress, Some(100));
    }
    polled.finish();
    let _next = polled.replica(&stack, &[]).await;
    stack.all_done_once(&[sync, with_id].concat()).await;
    assert_eq!((openai.bills(), polled.orders()), (3, 3), "one bill for each job");
    let counted = "SELECT sum(attempts + crashes) FROM generative_ai.jobs";
    assert_eq!(stack.count(counted).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_its_provider_holds_up_neither_an_order_nor_a_job_that_is_done() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    let mut replica = polled.replica(&stack, &[("JOB_TIMEOUT", "1s")]).await;
    let (done, open) = (stack.job().await, stack.job().await);
    stack.push_to("flux", &[open]).await;
    replica.said("goes on in").await;
    polled.refuse_orders(40);
    let refused = stack.job().await;
    stack.push_to("flux", &[refused]).await;
    replica.said("asks for a pause").await;
    polled.finish();
    assert_eq!(
        stack.ended(open).await.progress,
        Some(100),
        "while the pause holds"
    );
    // A package of a job that is done is answered at once.
    let mut redis = stack.redis().await;
    stack.push_to("builtin", &[done]).await;
    stack.ended(done).await;
    let again = with(
        with(logo(done), "imageProvider", "flux"),
        "replyTo",
        "{generative-ai}:reply:again",
    );
    stack.push(&again).await;
    let reply: Option<(String, String)> = redis.blpop("{generative-ai}:reply:again", 15.0).await.unwrap();
    assert!(reply.unwrap().1.contains(r#""status":"completed""#));
    replica.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_may_come_before_its_row() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[("JOB_ROW_WAIT", "20s")]).await;
    let client = stack.sql_client().await;
    client.batch_execute("BEGIN").await.unwrap();
    let insert = "INSERT INTO ac_background_jobs (progress, data, created_at, updated_at) VALUES (5, '{}', now(), now()) RETURNING id";
    let job_id: i32 = client.query_one(insert, &[]).await.unwrap().get(0);
    stack.push(&logo(job_id)).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(stack.dead_letters().await.len(), 0);
    client.batch_execute("COMMIT").await.unwrap();
    stack.all_done_once(&[job_id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_never_comes_is_looked_for_as_long_as_was_said() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[("JOB_ROW_WAIT", "2s")]).await;
    for round in 1..=2 {
        stack.push(&logo(4711)).await;
        stack
            .until("it is refused", async || {
                (stack.dead_letters().await.len() == round).then_some(())
            })
            .await;
        assert_eq!(
            stack.dead_letters().await[0]["reason"],
            "jobId: there is no row 4711 in ac_background_jobs"
        );
    }
    stack.hands_empty(&replica).await;
    assert!(
        !stack.has_key("missing-row:4711").await,
        "the next one is looked for anew"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_job_under_an_old_number_gets_a_picture_of_its_own() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    let old = stack.ended(job_id).await;
    for round in 2..=3 {
        stack
            .sql("TRUNCATE ac_background_jobs, images RESTART IDENTITY", &[])
            .await;
        let again = stack.job().await;
        assert_eq!(again, job_id, "the number is given out again");
        stack.push(&logo(again)).await;
        let new = stack.ended(again).await;
        assert_eq!((new.progress, &new.error), (Some(100), &None));
        assert_ne!(new.data["imageUrl"], old.data["imageUrl"], "a picture of its own");
        assert_eq!(openai.bills(), round);
        assert_eq!(stack.count("SELECT count(*) FROM images").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_has_overwritten_is_put_right_when_its_package_comes_again() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let replica = stack.replica_of(&openai, &[]).await;
    let (done, dead) = (stack.job().await, stack.job().await);
    stack.push(&logo(done)).await;
    let first = stack.ended(done).await;
    let refused =
        json!({"message": "no", "code": "moderation_blocked", "type": "image_generation_user_error"});
    openai.then(Reply::Error(400, refused, vec![]));
    stack.push(&logo(dead)).await;
    let failed = stack.ended(dead).await;
    stack
        .sql(
            r#"UPDATE ac_background_jobs SET progress = 5, error = NULL, data = '{"kept": 1}'"#,
            &[],
        )
        .await;
    for job_id in [done, dead] {
        stack.push(&logo(job_id)).await;
    }
    let right = stack.ended(done).await;
    assert_eq!((right.progress, &right.error), (Some(100), &None));
    assert_eq!(right.data["imageUrl"], first.data["imageUrl"]);
    assert_eq!(right.data["imageId"], first.data["imageId"]);
    assert_eq!(
        right.data["kept"], 1,
        "what else stands there is the application's"
    );
    assert_eq!(stack.ended(dead).await.error, failed.error);
    stack.hands_empty(&replica).await;
    assert_eq!(openai.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_this_version_does_not_know_waits_and_nothing_spins() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let (unknown, ownerless) = (stack.job().await, stack.job().await);
    stack
        .sql(
            "ALTER TABLE generative_ai.jobs DROP CONSTRAINT jobs_state_check",
            &[],
        )
        .await;
    let insert = "INSERT INTO generative_ai.jobs (job_id, state, package) VALUES ($1, $2, '')";
    stack.sql(insert, &[&unknown, &"archived"]).await;
    stack.sql(insert, &[&ownerless, &"begun"]).await;
    for job_id in [unknown, ownerless] {
        stack.push(&logo(job_id)).await;
    }
    replica.said("which this version does not know").await;
    assert_eq!(
        stack.ended(ownerless).await.progress,
        Some(100),
        "it has no owner that could end it"
    );
    stack.hands_empty(&replica).await;
    let waiting: usize = stack
        .redis()
        .await
        .zcard("{generative-ai}:delayed")
        .await
        .unwrap();
    assert_eq!(waiting, 1);
    assert_eq!(replica.times_said("which this version does not know"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_intent_was_written_down_too_late_is_not_made_and_counts_for_nothing() {
    for policy in ["fail", "retry"] {
        let stack = Stack::start().await;
        let openai = OpenAi::start(small_picture()).await;
        let variables = [("JOB_TIMEOUT", "1s"), ("UNKNOWN_OUTCOME", policy)];
        let _replica = stack.replica_of(&openai, &variables).await;
        let locked = stack.sql_client().await;
        locked
            .batch_execute("BEGIN; LOCK TABLE generative_ai.provider_calls IN EXCLUSIVE MODE")
            .await
            .unwrap();
        let job_id = stack.job().await;
        stack.push(&logo(job_id)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(
            openai.calls().is_empty(),
            "nothing is sent before it is written down"
        );
        locked.batch_execute("COMMIT").await.unwrap();
        stack.all_done_once(&[job_id]).await;
        assert_eq!(openai.bills(), 1, "{policy}");
        let unknown = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'unknown'";
        assert_eq!(
            stack.count(unknown).await,
            0,
            "{policy}: a call that was never sent is never unknown"
        );
        assert_eq!(stack.ledger(job_id).await.attempts, 0, "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_whose_answer_is_lost_is_found_again() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let proxy = Proxy::to(stack.postgres.port()).await;
    let url = stack.postgres.url("postgres").replace(
        &format!(":{}", stack.postgres.port()),
        &format!(":{}", proxy.port),
    );
    let variables = [("DATABASE_URL", url.as_str()), ("UNKNOWN_OUTCOME", "fail")];
    let _replica = stack.replica_of(&openai, &variables).await;
    let locked = stack.sql_client().await;
    locked
        .batch_execute("BEGIN; LOCK TABLE generative_ai.provider_calls IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    stack
        .until("the intent waits for the lock", async || {
            (stack.count(waits).await > 0).then_some(())
        })
        .await;
    // The statement runs, and its answer gets lost.
    proxy.half_open();
    locked.batch_execute("COMMIT").await.unwrap();
    stack.all_done_once(&[job_id]).await;
    assert_eq!(openai.bills(), 1);
    let calls = "SELECT count(*) FROM generative_ai.provider_calls";
    assert_eq!(
        stack.count(calls).await,
        1,
        "the very call that was written down is made"
    );
    assert_eq!(stack.ledger(job_id).await.attempts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_package_is_not_drawn_for_another_job_that_has_its_number_by_now() {
    let stack = Stack::start().await;
    let refused =
        json!({"message": "no", "code": "moderation_blocked", "type": "image_generation_user_error"});
    let openai = OpenAi::start(small_picture()).await;
    openai.then(Reply::Error(400, refused, vec![]));
    let _replica = stack.replica_of(&openai, &[]).await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    stack.ended(job_id).await;
    stack
        .sql("TRUNCATE ac_background_jobs RESTART IDENTITY", &[])
        .await;
    assert_eq!(stack.job().await, job_id);
    let retried = stack.command(&["dead", "retry", "--yes"], &[]).await;
    let printed = String::from_utf8(retried.stdout).unwrap();
    assert!(
        printed.contains("skipped 1 package: its row is gone, and another job has its number"),
        "{printed}"
    );
    stack.idle().await;
    assert_eq!(openai.calls().len(), 1);
    assert_eq!(stack.job_row(job_id).await.progress, Some(5));
    let reseeded = stack.command(&["reseed"], &[]).await;
    assert!(
        String::from_utf8(reseeded.stdout)
            .unwrap()
            .starts_with("put back 0 packages")
    );
}

fn asks_for_a_day() -> Reply {
    let broken = json!({"message": "broken", "type": "server_error"});
    Reply::Error(503, broken, vec![("retry-after", "86400")])
}

async fn resume(stack: &Stack, openai: &OpenAi) {
    let own = openai.variables();
    let own: Vec<(&str, &str)> = own
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let resumed = stack.command(&["providers", "resume", "openai"], &own).await;
    assert!(resumed.status.success(), "{resumed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_a_broken_provider_asks_for_ends_when_it_is_resumed() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.then(asks_for_a_day());
    let replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(3).await;
    replica
        .said("openai asks for a pause; its packages wait 600 s")
        .await;
    resume(&stack, &openai).await;
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_resumed_while_an_attempt_ends_is_not_waited_for() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.then(asks_for_a_day());
    openai.close();
    let replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    let mut sql = stack.sql_client().await;
    let transaction = sql.transaction().await.unwrap();
    let lock = "SELECT FROM generative_ai.jobs FOR UPDATE";
    transaction.execute(lock, &[]).await.unwrap();
    openai.open();
    replica
        .said("openai asks for a pause; its packages wait 600 s")
        .await;
    resume(&stack, &openai).await;
    transaction.rollback().await.unwrap();
    stack.all_done_once(&jobs).await;
}
