//! Failures are retried where that can help, and say the truth where it cannot.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::aftermath::key;
use crate::harness::events::Events;
use crate::harness::openai::{OpenAi, Reply};
use crate::harness::replica::Replica;
use crate::harness::stack::{Stack, logo, with};

/// A replica that has its pictures drawn by `openai`.
async fn replica_of(stack: &Stack, openai: &OpenAi, more: &[(&str, &str)]) -> Replica {
    let variables = openai.variables();
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain(more.iter().copied())
        .collect();
    stack.replica(&variables).await
}

fn too_many(headers: Vec<(&'static str, &'static str)>) -> Reply {
    let error = json!({"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"});
    Reply::Error(429, error, headers)
}

fn broken() -> Reply {
    let error = json!({"message": "The server had an error", "type": "server_error", "code": null});
    Reply::Error(500, error, vec![])
}

async fn delayed(stack: &Stack) -> i64 {
    let mut redis = stack.redis().await;
    redis.zcard("{generative-ai}:delayed").await.unwrap()
}

/// A time of the job's row in the ledger, as Unix ms.
async fn ledger_ms(stack: &Stack, column: &str, job_id: i32) -> i64 {
    let query = format!(
        "SELECT floor(extract(epoch FROM {column}) * 1000)::bigint FROM generative_ai.jobs WHERE job_id = {job_id}"
    );
    stack.count(&query).await
}

fn in_time(wait: Duration) -> (DateTime<Utc>, String) {
    let time = Utc::now() + wait;
    (time, time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_stumbles_is_asked_again_until_it_draws() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::picture()).await;
    // Two calls belong to the first attempt, the third draws in the second one.
    for _ in 0..2 {
        openai.then(broken());
    }
    let mut events = Events::of(&stack).await;
    let _replica = replica_of(&stack, &openai, &[]).await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;

    let event = events.next("retrying").await;
    let waiting = stack.job_row(job_id).await;
    assert_eq!(
        (&event["jobId"], &event["attempt"], &event["errorClass"]),
        (&json!(job_id), &json!(1), &json!("overloaded"))
    );
    assert!(event["error"].as_str().unwrap().contains("is overloaded"));
    assert_eq!(waiting.error, None, "a person is told of an end only");
    let event = events.next("started").await;
    assert_eq!(event["attempt"], 2);
    let job = stack.ended(job_id).await;
    assert_eq!((job.progress, &job.error), (Some(100), &None));
    assert_eq!(openai.calls().len(), 3);
    let attempts = stack
        .count("SELECT attempts::bigint FROM generative_ai.jobs")
        .await;
    assert_eq!(attempts, 1, "the failed ones are counted");
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 1);
    stack.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_survives_the_death_of_every_replica() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::picture()).await;
    for _ in 0..4 {
        openai.then(broken());
    }
    let slow = [("RETRY_BASE_DELAY", "3s"), ("RETRY_MAX_DELAY", "3s")];
    let mut replicas = [
        replica_of(&stack, &openai, &slow).await,
        replica_of(&stack, &openai, &slow).await,
    ];
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    stack
        .until("it waits for another attempt", async || {
            (delayed(&stack).await == 1).then_some(())
        })
        .await;
    for replica in &mut replicas {
        replica.kill();
    }
    let attempts = stack.ledger(job_id).await.attempts;
    let _next = replica_of(&stack, &openai, &[]).await;
    stack.all_done_once(&[job_id]).await;
    let ledger = stack.ledger(job_id).await;
    assert!(
        attempts >= 1 && ledger.attempts >= attempts,
        "what had failed is still counted"
    );
    assert_eq!(ledger.crashes, 0, "nobody had it in hand");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_a_provider_asks_for_is_kept_and_holds_up_nobody_else() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::picture()).await;
    openai.then(too_many(vec![("retry-after", "5")]));
    let mut events = Events::of(&stack).await;
    let _replica = replica_of(&stack, &openai, &[("WORKER_CONCURRENCY", "1")]).await;
    let (waits, passes) = (stack.job().await, stack.job().await);
    stack.push(&logo(waits)).await;
    assert_eq!(events.next("retrying").await["errorClass"], "rate_limited");
    let told = ledger_ms(&stack, "begun_at", waits).await + 5_000;
    let before = stack.job_row(waits).await;
    assert!(matches!(before.progress, Some(10..100)), "{before:?}");
    assert_eq!((&before.error, &before.data), (&None, &json!({})));

    // Nor does pushing it again bring the next attempt forward.
    stack.push(&logo(waits)).await;
    stack.push(&with(logo(passes), "imageProvider", "blank")).await;
    assert_eq!(stack.ended(passes).await.progress, Some(100));
    stack
        .until("both copies are parked", async || {
            let parked: i64 = stack.redis().await.llen(key("parked:openai")).await.unwrap();
            (parked == 2).then_some(())
        })
        .await;
    assert_eq!(stack.job_row(waits).await, before);

    assert_eq!(stack.ended(waits).await.progress, Some(100));
    assert!(ledger_ms(&stack, "begun_at", waits).await >= told);
    stack.idle().await;
    assert_eq!(openai.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_attempt_the_job_says_why_it_failed() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(broken()).await;
    let mut events = Events::of(&stack).await;
    let _replica = replica_of(&stack, &openai, &[("MAX_ATTEMPTS", "3")]).await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    for attempt in 1..3 {
        assert_eq!(events.next("retrying").await["attempt"], attempt);
    }
    let event = events.next("failed").await;
    let job = stack.job_row(job_id).await;
    let error = "openai could not be reached or is overloaded (request req_test). Start the job again in some minutes.";
    assert_eq!(job.error.as_deref(), Some(error));
    assert!(matches!(job.progress, Some(10..100)), "{job:?}");
    assert_eq!(
        (&event["error"], &event["errorClass"]),
        (&json!(error), &json!("overloaded"))
    );
    stack.idle().await;
    assert!(openai.calls().len() >= 3);
    let letters = stack.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (&letters[0]["jobId"], &letters[0]["attempts"]),
        (&json!(job_id), &json!(3))
    );
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_repetition_can_mend_is_asked_once_and_explained() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::picture()).await;
    let _replica = replica_of(&stack, &openai, &[]).await;
    let cases: [(u16, Value, &str, &str); 5] = [
        (
            400,
            json!({"code": "moderation_blocked", "type": "image_generation_user_error", "message": "Your request was rejected by the safety system."}),
            "moderation",
            "openai refused this prompt under its content policy (request req_test). Change the prompt and start the job again.",
        ),
        (
            401,
            json!({"code": "invalid_api_key", "type": "invalid_request_error", "message": "Incorrect API key provided: sk-test-4f1c9a7e2b."}),
            "auth",
            "openai did not accept this service's credentials (request req_test). Tell an operator; the prompt is not the cause.",
        ),
        (
            429,
            json!({"code": "insufficient_quota", "type": "insufficient_quota", "message": "You exceeded your current quota."}),
            "quota",
            "This service's account at openai has no credit left or has reached its spending limit (request req_test). An operator has to change that first.",
        ),
        (
            404,
            json!({"code": "model_not_found", "type": "invalid_request_error", "message": "The model does not exist."}),
            "model_gone",
            "openai no longer offers the model that was asked for (request req_test). Choose another model and start the job again.",
        ),
        (
            400,
            json!({"code": "invalid_value", "param": "size", "type": "invalid_request_error", "message": "Invalid size."}),
            "invalid_request",
            "openai does not accept this request (request req_test). Change the model, size, quality or prompt and start the job again.",
        ),
    ];
    for (number, (status, reply, class, sentence)) in cases.into_iter().enumerate() {
        openai.then(Reply::Error(status, reply, vec![("retry-after", "1")]));
        let job_id = stack.job().await;
        stack.push(&logo(job_id)).await;
        let job = stack.ended(job_id).await;
        assert_eq!(job.error.as_deref(), Some(sentence));
        stack.idle().await;
        let letters = stack.dead_letters().await;
        assert_eq!(
            (&letters[0]["errorClass"], &letters[0]["attempts"]),
            (&json!(class), &json!(1))
        );
        assert_eq!(openai.calls().len(), number + 1, "{class}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_never_answers_is_asked_twice_as_each_call_may_be_billed() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::picture()).await;
    openai.close();
    let _replica = replica_of(&stack, &openai, &[("JOB_TIMEOUT", "1s")]).await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    let job = stack.ended(job_id).await;
    assert_eq!(
        job.error.as_deref(),
        Some(
            "openai was asked for the picture and gave no answer. Nobody knows whether it made one, so it is not asked \
             again by itself. Start the job again in some minutes."
        )
    );
    stack.idle().await;
    assert_eq!(openai.calls().len(), 2);
    let letter = stack.dead_letters().await.remove(0);
    assert_eq!(
        (&letter["errorClass"], &letter["attempts"]),
        (&json!("unknown_outcome"), &json!(2))
    );
    // The slot is free again.
    openai.open();
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    assert_eq!(stack.ended(job_id).await.progress, Some(100));
}

const EXPIRED: &str =
    "The deadline of this job passed before its picture could be begun. Start the job again.";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_deadline_has_passed_expires_without_a_call() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::picture()).await;
    let mut events = Events::of(&stack).await;
    let _replica = replica_of(&stack, &openai, &[]).await;
    let job_id = stack.job().await;
    stack
        .push(&with(logo(job_id), "deadline", "2026-01-01T00:00:00Z"))
        .await;
    assert_eq!(stack.ended(job_id).await.error.as_deref(), Some(EXPIRED));
    assert_eq!(events.next("failed").await["errorClass"], "expired");
    stack.idle().await;
    assert!(openai.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_between_two_attempts_ends_the_job() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::picture()).await;
    openai.then(too_many(vec![("retry-after", "4")]));
    let _replica = replica_of(&stack, &openai, &[]).await;
    let job_id = stack.job().await;
    let (_, deadline) = in_time(Duration::from_secs(3));
    stack.push(&with(logo(job_id), "deadline", deadline)).await;
    assert_eq!(stack.ended(job_id).await.error.as_deref(), Some(EXPIRED));
    stack.idle().await;
    assert_eq!(openai.calls().len(), 1);
    assert_eq!(stack.dead_letters().await[0]["errorClass"], "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_not_begun_before_its_time() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::picture()).await;
    let mut events = Events::of(&stack).await;
    let _replica = replica_of(&stack, &openai, &[]).await;
    let job_id = stack.job().await;
    let (time, not_before) = in_time(Duration::from_secs(3));
    stack.push(&with(logo(job_id), "notBefore", not_before)).await;
    stack
        .until("the package waits for its time", async || {
            (delayed(&stack).await == 1).then_some(())
        })
        .await;
    let job = stack.job_row(job_id).await;
    assert_eq!((job.progress, job.error), (Some(5), None));
    let started = events.next("started").await;
    assert_eq!(
        (&started["jobId"], &started["attempt"]),
        (&json!(job_id), &json!(1))
    );
    assert_eq!(stack.ended(job_id).await.progress, Some(100));
    assert!(ledger_ms(&stack, "begun_at", job_id).await >= time.timestamp_millis());
    assert_eq!(openai.calls().len(), 1);
}
