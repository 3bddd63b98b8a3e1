//! What operators see of ends that nobody was told of, and do about them.

use serde_json::Value;
use wiremock::ResponseTemplate;

use super::told;
use crate::harness::command::{Said, command_on};
use crate::harness::operator::Operator;
use crate::harness::receiver::Receiver;
use crate::harness::stack::Stack;

async fn callbacks(stack: &Stack, arguments: &[&str]) -> Said {
    command_on(stack, &[&["callbacks"], arguments].concat(), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_what_was_not_told_have_it_told_and_forget_it() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    receiver.always("/gone", ResponseTemplate::new(410));
    receiver.always("/down/heron-4471-heron-4471", ResponseTemplate::new(503));
    let replica = stack.replica_for(&receiver, &[]).await;
    let operator = Operator::of(&replica).await;
    let fresh = operator.scrape().await;
    for outcome in ["delivered", "retried", "failed", "superseded"] {
        let series = format!("generative_ai_callbacks_total{{outcome=\"{outcome}\"}}");
        assert_eq!(fresh.get(&series), Some(0.0), "{series}");
    }
    callbacks(&stack, &["list"])
        .await
        .is(0, "no callback waits, and none was given up\n", "");
    let jobs = stack.jobs(3).await;
    stack.push(&told(&receiver, jobs[0], "/gone")).await;
    stack.outbox_has("state = 'failed'", 1).await;
    stack
        .push(&told(
            &receiver,
            jobs[1],
            "/down/heron-4471-heron-4471?key=heron-4471",
        ))
        .await;
    stack.push(&told(&receiver, jobs[2], "/good")).await;
    stack.outbox_has("state = 'waiting' AND tries = 1", 1).await;
    let later = "UPDATE generative_ai.callbacks SET due_at = now() + interval '90 minutes' WHERE state = 'waiting' AND tries > 0";
    stack.sql(later, &[]).await;
    stack.outbox_has("state = 'delivered'", 1).await;

    let host = receiver.url("");
    callbacks(&stack, &["list"]).await.looks_like(
        0,
        &format!(
            "id * job * end * tries  next * to * last answer\n\
             *  {}  completed  * 1  in *  {host}/down/***?***  answered 503\n\
             *  {}  completed  * 1  failed  {host}/gone * answered 410: nobody wants to be told there any more",
            jobs[1], jobs[0]
        ),
    );
    let json = callbacks(&stack, &["list", "--failed", "--json"]).await;
    let listed: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(
        (&listed[0]["jobId"], &listed[0]["state"], &listed[0]["lastStatus"]),
        (&jobs[0].into(), &"failed".into(), &410.into())
    );
    let id = listed[0]["id"].as_str().unwrap().to_owned();

    let status = command_on(&stack, &["status"], &[]).await;
    assert!(
        status.out.contains("callbacks  1 to be told, the oldest for "),
        "{}",
        status.out
    );
    assert!(status.out.contains("; 1 given up\n"), "{}", status.out);
    let doctor = command_on(&stack, &["doctor", "--offline"], &[]).await;
    assert!(
        doctor.out.contains("warn  packages   1 callback was given up"),
        "{}",
        doctor.out
    );
    let show = command_on(&stack, &["jobs", "show", &jobs[0].to_string()], &[]).await;
    let given_up = format!("callback {id} (completed): given up after 1 try: answered 410");
    assert!(show.out.contains(&given_up), "{}", show.out);
    let show = command_on(&stack, &["jobs", "show", &jobs[2].to_string()], &[]).await;
    assert!(show.out.contains("(completed): told at "), "{}", show.out);
    operator
        .shows(&stack, "generative_ai_callbacks_waiting", 1.0)
        .await;
    operator
        .shows(&stack, "generative_ai_callbacks_failed", 1.0)
        .await;
    let scrape = operator.scrape().await;
    for (outcome, count) in [("delivered", 1.0), ("retried", 1.0), ("failed", 1.0)] {
        let series = format!("generative_ai_callbacks_total{{outcome=\"{outcome}\"}}");
        assert_eq!(scrape.get(&series), Some(count), "{series}");
    }
    assert!(scrape.get("generative_ai_callbacks_oldest_age_seconds") > Some(0.0));

    receiver.always("/gone", ResponseTemplate::new(200));
    callbacks(&stack, &["retry", &id[..13], "--by", "anna"]).await.is(
        0,
        "1 callback is tried again at once, where replicas run\n",
        "",
    );
    stack.outbox_has("state = 'delivered'", 2).await;
    callbacks(&stack, &["drop", &jobs[1].to_string(), "--by", "anna"])
        .await
        .is(0, "1 callback is forgotten; nobody is told\n", "");
    stack.outbox_has("state = 'waiting'", 0).await;
    callbacks(&stack, &["retry", "--all", "--by", "anna"]).await.is(
        0,
        "no callback that waits or was given up matches\n",
        "",
    );
    callbacks(&stack, &["drop", "abcd1234"]).await.is(
        1,
        "no callback that waits or was given up matches\n",
        "",
    );
    assert_eq!(callbacks(&stack, &["retry"]).await.status, Some(64));
    assert_eq!(callbacks(&stack, &["drop"]).await.status, Some(64));

    let rows = stack
        .sql(
            "SELECT action, subject, count FROM generative_ai.operator_actions ORDER BY id",
            &[],
        )
        .await;
    let done: Vec<(String, String, Option<i64>)> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let row = |action: &str, subject: String, count| (action.to_owned(), subject, Some(count));
    assert_eq!(
        done,
        [
            row("callbacks retry", format!("callbacks: {}", &id[..13]), 1),
            row("callbacks drop", format!("callbacks: job {}", jobs[1]), 1),
            row(
                "callbacks retry",
                "all callbacks that were given up".to_owned(),
                0
            ),
            row("callbacks drop", "callbacks: abcd1234".to_owned(), 0),
        ]
    );
    for text in [&replica.log(), &status.out, &doctor.out, &json.out] {
        assert!(!text.contains("heron-4471"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_or_given_up_is_forgotten_in_time_and_with_its_job() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    receiver.always("/gone", ResponseTemplate::new(410));
    receiver.always("/down", ResponseTemplate::new(503));
    let replica = stack.replica_for(&receiver, &[]).await;
    let jobs = stack.jobs(3).await;
    for (job_id, path) in jobs.iter().zip(["/good", "/gone", "/down"]) {
        stack.push(&told(&receiver, *job_id, path)).await;
    }
    stack
        .outbox_has("state = 'delivered' OR state = 'failed' OR tries = 1", 3)
        .await;
    stack.idle().await;
    drop(replica);
    let retention = [("DEAD_RETENTION", "12h"), ("JOBS_RETENTION", "off")];
    let tidy = command_on(&stack, &["tidy"], &retention).await;
    assert!(tidy.out.contains("removed 0 callbacks"), "{}", tidy.out);
    let a_day_ago = "UPDATE generative_ai.callbacks SET settled_at = settled_at - interval '1 day',
        ended_at = ended_at - interval '1 day'";
    stack.sql(a_day_ago, &[]).await;
    let tidy = command_on(&stack, &["tidy"], &retention).await;
    let said = "removed 2 callbacks that were delivered or given up (DEAD_RETENTION)";
    assert!(tidy.out.contains(said), "{}", tidy.out);
    stack.outbox_has("true", 1).await;

    let erased = command_on(&stack, &["jobs", "erase", &jobs[2].to_string()], &[]).await;
    let said = format!(
        "where the end of job {} was or was to be posted is forgotten",
        jobs[2]
    );
    assert!(erased.out.contains(&said), "{}", erased.out);
    stack.outbox_has("true", 0).await;
    let kept = "SELECT count(*) FROM generative_ai.jobs WHERE callback_urls::text LIKE '%/down%'";
    assert_eq!(stack.count(kept).await, 0);
}
