//! A replica that died leaves a trace that an operator finds.

use serde_json::Value;

use crate::harness::command::command_on;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::stack::{Stack, logo, with};

async fn status(stack: &Stack) -> Value {
    let said = command_on(stack, &["status", "--json"], &[]).await;
    serde_json::from_str(&said.out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_died_is_told_with_when_and_what_became_of_its_jobs() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    // The ping outlives the lease.
    let variables = [("JOB_TIMEOUT", "4s"), ("PING_INTERVAL", "5s")];
    let mut victim = stack.replica_of(&openai, &variables).await;
    let jobs = stack.jobs(3).await;
    // A package names another job too, and one is encoded twice.
    stack
        .push(&with(logo(jobs[0]), "prompt", r#"{"jobId": 99}"#))
        .await;
    stack.push(&logo(jobs[1])).await;
    stack.push(&Value::from(logo(jobs[2]).to_string())).await;
    openai.called(3).await;
    let died = victim.worker_id();
    victim.kill();
    let told = command_on(&stack, &["status"], &[]).await;
    assert!(told.out.contains("in flight  3"), "{}", told.out);
    assert!(
        told.out.contains("3/10"),
        "what it has in hand, whatever its ping says: {}",
        told.out
    );
    let others = [
        stack.replica_of(&openai, &variables).await,
        stack.replica_of(&openai, &variables).await,
    ];
    openai.open();
    stack.all_done_once(&jobs).await;
    let gone = status(&stack).await["redis"]["gone"].clone();
    assert_eq!(
        gone.as_array().unwrap().len(),
        1,
        "once, whoever has found it: {gone}"
    );
    assert_eq!(
        (&gone[0]["workerId"], &gone[0]["packages"]),
        (&died.clone().into(), &3.into())
    );
    let mut known: Vec<i64> = gone[0]["jobIds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_i64().unwrap())
        .collect();
    known.sort_unstable();
    let expected: Vec<i64> = jobs.iter().map(|job_id| i64::from(*job_id)).collect();
    assert_eq!(known, expected);
    let told = command_on(&stack, &["status"], &[]).await;
    let line = told.out.lines().find(|line| line.starts_with("died ")).unwrap();
    let begin = format!("died       {died} (host ");
    assert!(line.starts_with(&begin), "{line}");
    assert!(
        line.contains("; its 3 packages were back in the queue "),
        "{line}"
    );
    assert!(line.ends_with("; of their jobs now 3 done"), "{line}");
    drop(others);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_in_order_leaves_no_trace() {
    let stack = Stack::start().await;
    let mut replica = stack.replica(&[]).await;
    replica.terminate();
    replica.exit().await;
    let _other = stack.replica(&[]).await;
    let jobs = stack.push_logos(1).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(status(&stack).await["redis"]["gone"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_cannot_be_kept_holds_no_package_up() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let mut victim = stack.replica_of(&openai, &[("JOB_TIMEOUT", "4s")]).await;
    let jobs = stack.push_logos(2).await;
    openai.called(2).await;
    let gone = crate::harness::aftermath::key("gone");
    let _: () = redis::AsyncCommands::set(&mut stack.redis().await, &gone, "no hash")
        .await
        .unwrap();
    victim.kill();
    openai.open();
    let _other = stack.replica_of(&openai, &[("JOB_TIMEOUT", "4s")]).await;
    stack.all_done_once(&jobs).await;
}
