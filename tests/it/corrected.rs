//! A job that has failed starts again with a package that asks for something else, and never with the same one.

use serde_json::{Value, json};

use crate::harness::aftermath::key;
use crate::harness::command::command_on;
use crate::harness::events::Events;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::stack::{Job, Stack, logo, with};

fn refused() -> Reply {
    let body = json!({"message": "Incorrect API key provided", "code": "invalid_api_key"});
    Reply::Error(401, body, vec![])
}

/// A job that has failed of a key that was refused.
async fn failed(stack: &Stack, openai: &OpenAi) -> (i32, String) {
    openai.then(refused());
    let job_id = stack.push_logos(1).await[0];
    let reason = stack.ended(job_id).await.error.unwrap();
    stack.idle().await;
    (job_id, reason)
}

async fn done(stack: &Stack, job_id: i32) -> Job {
    stack
        .until(&format!("job {job_id} is done"), async || {
            let job = stack.job_row(job_id).await;
            (job.progress == Some(100)).then_some(job)
        })
        .await
}

async fn reply(stack: &Stack, list: &str) -> Value {
    let text: String = stack
        .until(&format!("{list} has an event"), async || {
            redis::AsyncCommands::lpop(&mut stack.redis().await, list, None)
                .await
                .unwrap()
        })
        .await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_package_starts_the_job_again_whatever_it_had_failed_of() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let (job_id, _) = failed(&stack, &openai).await;
    stack.push(&with(logo(job_id), "imageProvider", "blank")).await;
    let job = done(&stack, job_id).await;
    assert_eq!(job.error, None);
    assert_eq!(openai.calls().len(), 1, "the other provider has drawn it");
    stack.idle().await;
    assert_eq!(stack.dead_letters().await.len(), 0, "its dead package is history");
    // Whatever comes now, its picture stays.
    stack.push(&with(logo(job_id), "prompt", "something else")).await;
    stack.idle().await;
    assert_eq!(stack.job_row(job_id).await, job);
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_package_gets_the_same_answer_however_often_it_comes() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let (job_id, reason) = failed(&stack, &openai).await;
    let list = key("reply:again");
    // Who is told, what traces it and what nobody reads change nothing about what is asked for; nor does how it is written.
    let same = with(logo(job_id), "replyTo", &*list);
    let same = with(with(same, "traceparent", "00-x"), "pushedAt", 17);
    for package in [same.clone(), with(same, "jobId", job_id.to_string())] {
        stack.push(&package).await;
        let event = reply(&stack, &list).await;
        assert_eq!(
            (&event["status"], &event["error"]),
            (&"failed".into(), &reason.clone().into())
        );
    }
    stack.idle().await;
    assert_eq!(openai.calls().len(), 1, "nothing was asked for again");
    // A second package fails as well; the first one is no news by then.
    openai.then(refused());
    stack.push(&with(logo(job_id), "imageQuality", "low")).await;
    openai.called(2).await;
    stack.idle().await;
    stack.push(&logo(job_id)).await;
    stack.idle().await;
    assert_eq!(openai.calls().len(), 2);
    assert_eq!(stack.dead_letters().await.len(), 1);
    // What was purged is answered as well.
    let purged = command_on(&stack, &["dead", "purge", "--all", "--yes"], &[]).await;
    assert_eq!(purged.status, Some(0), "{purged:?}");
    stack
        .push(&with(
            with(logo(job_id), "replyTo", &*list),
            "imageQuality",
            "high",
        ))
        .await;
    assert_eq!(reply(&stack, &list).await["error"], reason);
    assert_eq!(openai.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_to_look_at_first_does_not_start_by_itself() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let (job_id, reason) = failed(&stack, &openai).await;
    for class in ["unknown_outcome", "poison"] {
        let classed = "UPDATE generative_ai.dead_packages SET error_class = $1";
        stack.sql(classed, &[&class]).await;
        stack.push(&with(logo(job_id), "imageProvider", "blank")).await;
        stack.idle().await;
        assert_eq!(stack.job_row(job_id).await.error, Some(reason.clone()), "{class}");
    }
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_is_told_of_once_and_stays_cancelled() {
    let stack = Stack::start().await;
    let mut events = Events::of(&stack).await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let _replica = stack.replica_of(&openai, &[]).await;
    let list = key("reply:cancelled");
    let job_id = stack.job().await;
    stack.push(&with(logo(job_id), "replyTo", &*list)).await;
    openai.called(1).await;
    let said = command_on(&stack, &["cancel", &job_id.to_string(), "--by", "anna"], &[]).await;
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(reply(&stack, &list).await["status"], "cancelled");
    // A corrected one comes too late, and is told so.
    stack
        .push(&with(with(logo(job_id), "replyTo", &*list), "prompt", "another"))
        .await;
    assert_eq!(reply(&stack, &list).await["status"], "cancelled");
    stack.idle().await;
    openai.open();
    let next = stack.push_logos(1).await[0];
    stack.all_done_once(&[next]).await;
    let mut cancelled = 0;
    loop {
        let event = events.any().await;
        cancelled += usize::from(event["status"] == "cancelled");
        if event["status"] == "completed" && event["jobId"] == next {
            break;
        }
    }
    assert_eq!(cancelled, 1, "the channel hears of it once");
}
