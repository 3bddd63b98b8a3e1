//! The story of a job, as an operator reads it.

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::aftermath::key;
use crate::harness::command::{Said, command_on};
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::stack::{Stack, logo, with};

async fn show(stack: &Stack, job_id: i32) -> Said {
    command_on(stack, &["jobs", "show", &job_id.to_string()], &[]).await
}

async fn summary(stack: &Stack, job_id: i32) -> String {
    let said = command_on(stack, &["jobs", "show", &job_id.to_string(), "--json"], &[]).await;
    assert_eq!((said.status, &*said.err), (Some(0), ""));
    let story: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(story["jobId"], job_id);
    story["summary"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_job_has_its_failed_life_every_call_and_the_picture() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let unpaid = json!({"message": "no credit", "type": "insufficient_quota", "code": "insufficient_quota"});
    openai.then(Reply::Error(429, unpaid, vec![]));
    let _replica = stack.replica_of(&openai, &[]).await;
    let job_id = stack.job().await;
    stack.push(&with(logo(job_id), "prompt", "heron-4471")).await;
    let reason = stack.ended(job_id).await.error.unwrap();
    stack.idle().await;
    show(&stack, job_id).await.looks_like(
        0,
        &format!(
            "job 1 failed for good in attempt 1: {reason}
  row       progress *, error {reason}, imageId none
  made      * UTC, changed * UTC
  state     dead; failed attempts 1, deliveries 1, crashes 0
  begun     * UTC
  ended     * UTC
  class     quota
  details   openai: POST /v1/images/generations: 429 *
  cost      $0.0000 for 1 call
call 1: openai gpt-image-2: failed after *: quota
  sent      * UTC by replica-1-*
  ended     * UTC
  request   req_test
  details   POST /v1/images/generations: 429 *
dead package *: attempt 1: quota
  dead at   * UTC by replica-1-*
  reason    {reason}
  details   openai: POST /v1/images/generations: 429 *
"
        ),
    );

    let retried = command_on(&stack, &["dead", "retry", "1", "--yes"], &[]).await;
    assert_eq!(retried.status, Some(0), "{}", retried.err);
    stack
        .until("the job is done", async || {
            (stack.job_row(job_id).await.progress == Some(100)).then_some(())
        })
        .await;
    let image = stack.job_row(job_id).await.data["imageId"].as_i64().unwrap();
    let said = show(&stack, job_id).await;
    said.looks_like(
        0,
        &format!(
            "job 1 is done: image {image}
  row       progress 100, error null, imageId {image}
  made      * UTC, changed * UTC
  state     done; failed attempts 0, deliveries 2, crashes 0
  begun     * UTC
  ended     * UTC
  drawn by  openai gpt-image-2, request req_test
  picture   file://*.png
  object    ypGenAi/group/7/*.png
  mark      *
  image row {image}, of nobody
  cost      $0.0* for 2 calls
call 1: openai gpt-image-2: failed after *: quota
  sent      * UTC by replica-1-*
  ended     * UTC
  request   req_test
  details   POST /v1/images/generations: 429 *
call 2: openai gpt-image-2: succeeded after *
  sent      * UTC by replica-1-*
  ended     * UTC
  request   req_test
  cost      $0.0* (computed)
dead package *: attempt 1: quota
  dead at   * UTC by replica-1-*
  reason    *
  details   openai: POST /v1/images/generations: 429 *
  retried   * UTC
"
        ),
    );
    assert!(!said.out.contains("heron"), "{}", said.out);

    let said = command_on(&stack, &["jobs", "show", "1", "--json"], &[]).await;
    let story: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(story["summary"], format!("job 1 is done: image {image}"));
    assert_eq!(
        (&story["ledger"]["state"], &story["ownerHasLease"]),
        (&json!("done"), &Value::Null)
    );
    assert_eq!(story["calls"].as_array().unwrap().len(), 2);
    assert_eq!(story["calls"][1]["costUsd"], story["totalCostUsd"]);
    assert_eq!(story["dead"][0]["errorClass"], "quota");
    assert!(story["dead"][0]["retriedAt"].is_string());
    assert!(!said.out.contains("heron"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_begins_with_how_it_stands_now() {
    let stack = Stack::start().await;
    show(&stack, 7).await.is(
        1,
        "",
        "generative-ai-worker: there is no job 7: neither ac_background_jobs nor the ledger has a row of it\n",
    );
    let jobs = stack.jobs(7).await;
    show(&stack, jobs[0]).await.looks_like(
        0,
        "no replica has begun job 1: its package waits, or was never pushed
  row       progress 5, error null, imageId none
  made      * UTC, changed * UTC
  cost      nothing was bought
",
    );
    for (job_id, state, attempts, sentence) in [
        (jobs[1], "waiting", 0, "job 2 waits for a replica"),
        (
            jobs[2],
            "retry_wait",
            2,
            "attempt 2 of job 3 failed, next in 1 h: No answer.",
        ),
        (
            jobs[3],
            "retry_wait",
            0,
            "job 4 is looked at again, next in 1 h: No answer.",
        ),
        (
            jobs[4],
            "held",
            1,
            "job 5 is held: decide whether another picture may be bought, then run generative-ai-worker jobs release 5",
        ),
    ] {
        stack
            .sql(
                "INSERT INTO generative_ai.jobs (job_id, state, package, attempts, next_attempt_at, error_class, error_message)
                 VALUES ($1, $2, '{}', $3, now() + interval '90 minutes', 'network', 'No answer. Start the job again in some minutes.')",
                &[&job_id, &state, &attempts],
            )
            .await;
        assert_eq!(summary(&stack, job_id).await, sentence);
    }
    stack
        .sql(
            "INSERT INTO generative_ai.jobs (job_id, state, package, attempts, worker_id)
             VALUES ($1, 'begun', '{}', 1, 'replica-9-ab')",
            &[&jobs[5]],
        )
        .await;
    stack
        .sql(
            "INSERT INTO generative_ai.provider_calls (job_id, call_no, state, provider, model, worker_id, fence, deadline_at, handle)
             VALUES ($1, 1, 'accepted', 'bfl', 'flux-2-pro', 'replica-9-ab', 1, now() + interval '1 minute', 'task-1')",
            &[&jobs[5]],
        )
        .await;
    let pattern = |lease: &str| {
        format!(
            "job 6 is being worked on, in attempt 2
  row       progress 5, error null, imageId none
  made      * UTC, changed * UTC
  state     begun; failed attempts 1, deliveries 1, crashes 0
  begun     * UTC
  owner     replica-9-ab, {lease}
  cost      $0.0000 for 1 call, and what 1 of them may still be billed
call 1: bfl flux-2-pro: accepted, open for *
  sent      * UTC by replica-9-ab
  deadline  * UTC
  handle    task-1
"
        )
    };
    show(&stack, jobs[5]).await.looks_like(
        0,
        &pattern("without a lease: another replica will take the job over"),
    );
    let _: () = redis::AsyncCommands::set(&mut stack.redis().await, key("lease:replica-9-ab"), "x")
        .await
        .unwrap();
    show(&stack, jobs[5]).await.looks_like(0, &pattern("alive"));
    let away = [("REDIS_URL", "redis://127.0.0.1:1")];
    let mut said = command_on(&stack, &["jobs", "show", "6"], &away).await;
    assert!(
        said.err.starts_with("generative-ai-worker: Redis: "),
        "{}",
        said.err
    );
    said.err.clear();
    said.looks_like(69, &pattern("whether it is alive cannot be told"));

    // A package that was refused is all that there is of a job.
    stack
        .sql(
            "INSERT INTO generative_ai.dead_packages (id, job_id, payload, reason, error_class, attempts, worker_id)
             VALUES (gen_random_uuid(), 99, '{', 'jobId: there is no row 99', 'invalid_package', 0, 'replica-9-ab')",
            &[],
        )
        .await;
    show(&stack, 99).await.looks_like(
        0,
        "job 99 has no row in ac_background_jobs; only refused packages name it
  cost      nothing was bought
dead package *: refused before any attempt: invalid_package
  dead at   * UTC by replica-9-ab
  reason    jobId: there is no row 99
",
    );
}

/// Whoever asks why nothing comes of a job that nobody has begun is told where its package is.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_never_begun_has_a_package_somewhere() {
    let stack = Stack::start().await;
    let jobs = stack.jobs(7).await;
    for job_id in &jobs[..3] {
        stack.push(&logo(*job_id)).await;
    }
    let begun =
        |sentence: &str, job_id: i32| format!("no replica has begun job {job_id}: its package {sentence}");
    assert_eq!(
        summary(&stack, jobs[0]).await,
        begun("is among the next of the list normal", jobs[0])
    );
    assert_eq!(
        summary(&stack, jobs[2]).await,
        begun("waits on the list normal, behind 2 others", jobs[2])
    );
    let mut redis = stack.redis().await;
    let deliver = |job_id: i32| format!("w/1.normal:{}", logo(job_id));
    let _: i64 = redis
        .zadd(key("delayed"), deliver(jobs[3]), 1_893_456_000_000_i64)
        .await
        .unwrap();
    assert_eq!(
        summary(&stack, jobs[3]).await,
        begun("waits until 2030-01-01 00:00:00 UTC", jobs[3])
    );
    for (place, sentence, job_id) in [
        (
            "parked:stability",
            "waits until stability has room for another call",
            jobs[4],
        ),
        (
            "parked:type/delete-image",
            "waits until another delete-image may begin (WORK_TYPE_LIMITS)",
            jobs[5],
        ),
        (
            "parked:budget/openai/day",
            "waits for money of the budget openai/day",
            jobs[6],
        ),
    ] {
        let _: i64 = redis.lpush(key(place), deliver(job_id)).await.unwrap();
        let _: i64 = redis.zadd(key("budgets"), "openai/day", 1).await.unwrap();
        assert_eq!(summary(&stack, job_id).await, begun(sentence, job_id));
    }
    let shut = [("until", "1"), ("why", "failing"), ("faults", "8")];
    let () = redis
        .hset_multiple(key("provider:stability"), &shut)
        .await
        .unwrap();
    let parked = summary(&stack, jobs[4]).await;
    assert!(parked.contains("waits for stability: "), "{parked}");
    let said = command_on(&stack, &["jobs", "show", &jobs[2].to_string(), "--json"], &[]).await;
    let story: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        story["package"],
        json!({"where": "waiting", "list": "normal", "before": 2})
    );
}
