//! What operators ask for although something is in the way, and what they are told of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::command::{Said, command_on};
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::stack::{Stack, logo};

/// Runs a command while the application has a job's row locked, and lets go of it when the command says for whom it waits.
async fn with_a_locked_row(stack: &Stack, job_id: i32, arguments: &[&str]) -> Said {
    let mut application = stack.sql_client().await;
    let name = "SET application_name = 'the application'";
    application.batch_execute(name).await.unwrap();
    let locks = application.transaction().await.unwrap();
    let lock = "SELECT FROM ac_background_jobs WHERE id = $1 FOR UPDATE";
    locks.execute(lock, &[&job_id]).await.unwrap();
    let command = command_on(stack, arguments, &[]);
    let unlock = async {
        // The statement has failed once and is tried again.
        tokio::time::sleep(Duration::from_secs(3)).await;
        locks.rollback().await.unwrap();
    };
    tokio::join!(command, unlock).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_waits_for_a_row_that_is_locked_and_says_by_whom() {
    let stack = Stack::start().await;
    let job_id = stack.job().await;
    let said = with_a_locked_row(&stack, job_id, &["cancel", &job_id.to_string(), "--by", "anna"]).await;
    assert_eq!(said.status, Some(0), "{said:?}");
    let all = format!("{}{}", said.out, said.err);
    assert!(
        all.contains("waiting for rows that are locked by process "),
        "{all}"
    );
    assert!(all.contains("(the application, user postgres)"), "{all}");
    let error = stack.job_row(job_id).await.error;
    assert_eq!(error.as_deref(), Some("Cancelled by anna."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_the_dead_waits_for_a_row_that_is_locked() {
    let stack = Stack::start().await;
    let job_id = stack.job().await;
    stack
        .push(&crate::harness::stack::with(logo(job_id), "prompt", 7))
        .await;
    let _replica = stack.replica(&[]).await;
    stack.ended(job_id).await;
    let said = with_a_locked_row(&stack, job_id, &["dead", "retry", "--yes"]).await;
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.out.contains("retried 1 package into generative-ai"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_whose_caller_is_dead_leaves_no_call_open() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let mut victim = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    victim.kill();
    let lease = format!("lease:{}", victim.worker_id());
    stack.until_key(&lease, false).await;
    let out = format!(
        "job {0} is cancelled; a package of it that waits is dropped when its turn comes. Call 1 to openai has no owner any more: it ends as \
         unknown, as it may have been billed\n",
        jobs[0]
    );
    let said = command_on(&stack, &["cancel", &jobs[0].to_string()], &[]).await;
    said.is(0, &out, "");
    let calls = "SELECT state, error_class, error_details FROM generative_ai.provider_calls";
    let calls = stack.sql(calls, &[]).await;
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].get(0), calls[0].get(1)), ("unknown", "cancelled"));
    let details: &str = calls[0].get(2);
    assert!(details.contains("only the provider knows"), "{details}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_tells_calls_that_were_refused_apart_from_those_that_bought_something() {
    let stack = Stack::start().await;
    let calls = "INSERT INTO generative_ai.provider_calls
            (job_id, call_no, state, provider, model, worker_id, fence, sent_at, deadline_at, cost_usd)
        VALUES (1, 1, 'failed', 'openai', 'm', 'w', 1, now(), now(), NULL), (1, 2, 'failed', 'openai', 'm', 'w', 1, now(), now(), 0.5),
            (1, 3, 'succeeded', 'openai', 'm', 'w', 1, now(), now(), 0.25), (2, 1, 'unknown', 'openai', 'm', 'w', 1, now(), now(), NULL)";
    stack.sql(calls, &[]).await;
    // What could not be used is charged to budgets, and may be on the provider's bill.
    let unusable = "INSERT INTO generative_ai.provider_calls
            (job_id, call_no, state, error_class, provider, model, worker_id, fence, sent_at, deadline_at)
        VALUES (3, 1, 'failed', 'bad_image', 'openai', 'm', 'w', 1, now(), now()), (3, 2, 'failed', 'bad_output', 'openai', 'm', 'w', 1, now(), now())";
    stack.sql(unusable, &[]).await;
    let said = command_on(&stack, &["status"], &[]).await;
    let table = "spent within 24 h  calls  refused  pictures  unknown   cost
openai                 6        1         1        3  $0.75
";
    assert!(said.out.ends_with(table), "{}", said.out);
    let said = command_on(&stack, &["status", "--json"], &[]).await;
    let status: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(status["postgres"]["spending24h"][0]["refused"], 1);
    let costs = command_on(&stack, &["cost", "--json"], &[]).await;
    let costs: Value = serde_json::from_str(&costs.out).unwrap();
    assert_eq!(costs[0]["unknown"], 3, "{costs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_counts_what_reseed_puts_back() {
    let stack = Stack::start().await;
    let jobs = stack.jobs(7).await;
    // All of them nowhere in Redis: due, overdue and to come.
    let lost = "INSERT INTO generative_ai.jobs (job_id, state, queue, package, next_attempt_at)
        SELECT id, CASE WHEN place < 3 THEN 'waiting' ELSE 'retry_wait' END, 'generative-ai', '{}',
            CASE WHEN place >= 3 THEN now() + (place - 5) * interval '1 hour' END
        FROM unnest($1::integer[]) WITH ORDINALITY AS job(id, place)";
    stack.sql(lost, &[&jobs]).await;
    let said = command_on(&stack, &["doctor", "--offline"], &[]).await;
    let found = "7 unfinished jobs have no package in Redis, which has lost them";
    assert!(said.out.contains(found), "{}", said.out);
    command_on(&stack, &["reseed", "--dry-run"], &[]).await.is(
        0,
        "would put back 7 packages into generative-ai\n",
        "",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_exist_is_refused_before_a_job_is_made() {
    let stack = Stack::start().await;
    let said = command_on(
        &stack,
        &["enqueue", "--prompt", "a boat", "--provider", "bogus"],
        &[],
    )
    .await;
    assert_eq!(said.status, Some(64), "{said:?}");
    for name in ["bogus", "openai", "builtin"] {
        assert!(said.err.contains(name), "{}", said.err);
    }
    assert_eq!(stack.count("SELECT count(*) FROM ac_background_jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_is_told_wherever_one_looks_with_since_when_and_the_next_try() {
    let stack = Stack::start().await;
    let refused = json!({"message": "Incorrect API key provided", "code": "invalid_api_key"});
    let openai = OpenAi::start(Reply::Error(401, refused, vec![])).await;
    let replica = stack.replica_of(&openai, &[]).await;
    let _jobs = stack.push_logos(12).await;
    replica
        .said("openai has refused this service's account 5 times in a row")
        .await;
    let own = openai.variables();
    let variables: Vec<(&str, &str)> = own
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let mut sinces = Vec::new();
    for _ in 0..2 {
        for command in [&["status"][..], &["providers"], &["doctor", "--offline"]] {
            let said = command_on(&stack, command, &variables).await;
            let line = said.out.lines().find(|line| line.contains("not called since "));
            let line = line.unwrap_or_else(|| panic!("{command:?} does not tell: {}", said.out));
            assert!(line.contains("openai"), "{line}");
            let (_, rest) = line.split_once("not called since ").unwrap();
            let (since, rest) = rest.split_once(" UTC, as it refused this account ").unwrap();
            assert!(
                rest.contains("; one call tries it in ") || rest.contains("call tries it"),
                "{line}"
            );
            sinces.push(since.to_owned());
            let (_, last) = line
                .split_once(". The last call: ")
                .unwrap_or_else(|| panic!("{line}"));
            assert!(
                last.contains("401") && last.contains("Incorrect API key"),
                "{line}"
            );
            assert!(!line.contains("ready"), "{line}");
        }
        // A probe that fails shuts it again; it has been shut since the first time all the same.
        let key = crate::harness::aftermath::key("provider:openai");
        let until = async || -> Option<String> {
            redis::AsyncCommands::hget(&mut stack.redis().await, &key, "length")
                .await
                .unwrap()
        };
        stack
            .until("a probe has failed", async || {
                (until().await.as_deref() == Some("20000")).then_some(())
            })
            .await;
    }
    sinces.dedup();
    assert_eq!(sinces.len(), 1, "{sinces:?}");
}
