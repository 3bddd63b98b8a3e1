//! Whoever names a `callbackUrl` is told of the end of the job by a signed POST, at least once, whatever dies, is down or is slow meanwhile.

mod commands;
mod crashes;
mod receivers;
mod refused;

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::aftermath::key;
use crate::harness::events::Events;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::receiver::{Post, Receiver, SECRET};
use crate::harness::stack::{Stack, logo, with};

/// A package whose end is told to this path.
fn told(receiver: &Receiver, job_id: i32, path: &str) -> Value {
    with(logo(job_id), "callbackUrl", receiver.url(path))
}

/// The event within a post, as the channel has it.
fn event_of(post: &Post) -> Value {
    let mut body = post.body.clone();
    let event = body.as_object_mut().unwrap();
    let kind = event.remove("type").unwrap();
    assert_eq!(kind, format!("job.{}", event["status"].as_str().unwrap()));
    assert_eq!(event.remove("timestamp").as_ref(), event.get("at"));
    event.remove("at");
    body
}

fn without_time(mut event: Value) -> Value {
    event.as_object_mut().unwrap().remove("at");
    event
}

/// Lets the replica post what it has to, and looks that each path was told once.
async fn each_told_once(stack: &Stack, receiver: &Receiver, paths: &[&str]) {
    stack.idle().await;
    stack.outbox_has("state = 'waiting'", 0).await;
    let posts = receiver.all_posts().await;
    for path in paths {
        assert_eq!(posts[*path].len(), 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_end_of_a_job_is_it_is_posted_once_and_signed() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let refusal = json!({"message": "no", "code": "moderation_blocked"});
    let openai = OpenAi::start(Reply::Error(400, refusal, vec![])).await;
    let own = openai.variables();
    let variables: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mut events = Events::of(&stack).await;
    let _replica = stack.replica_for(&receiver, &variables).await;
    let jobs = stack.jobs(4).await;

    stack
        .push(&with(
            told(&receiver, jobs[0], "/done?token=heron"),
            "imageProvider",
            "builtin",
        ))
        .await;
    let completed = events.next("completed").await;
    stack.push(&told(&receiver, jobs[1], "/failed")).await;
    let failed = events.next("failed").await;
    // Before anything of it is read.
    stack.command(&["pause"], &[]).await;
    stack.push(&told(&receiver, jobs[2], "/cancelled")).await;
    stack
        .command(&["cancel", &jobs[2].to_string(), "--by", "anna"], &[])
        .await;
    let cancelled = events.next("cancelled").await;
    stack.command(&["resume"], &[]).await;
    stack
        .push(&with(
            told(&receiver, jobs[3], "/rejected"),
            "imageType",
            json!([1]),
        ))
        .await;
    let rejected = events.next("failed").await;

    let mut ids = Vec::new();
    for (path, event, job_id) in [
        ("/done", completed, jobs[0]),
        ("/failed", failed, jobs[1]),
        ("/cancelled", cancelled, jobs[2]),
        ("/rejected", rejected, jobs[3]),
    ] {
        let post = receiver.told(&stack, path, 1).await.remove(0);
        assert_eq!(event_of(&post), without_time(event), "{path}");
        assert_eq!(post.body["jobId"], job_id);
        assert_eq!(post.headers["content-type"], "application/json");
        assert!(post.is_signed_with(SECRET), "{path}");
        assert!(
            !post.is_signed_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSX"),
            "{path}"
        );
        ids.push(post.id);
    }
    each_told_once(
        &stack,
        &receiver,
        &["/done", "/failed", "/cancelled", "/rejected"],
    )
    .await;
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "an id for each end");
    assert!(ids.iter().all(|id| id.starts_with("msg_")), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_secret_is_changed_receivers_of_both_believe_what_is_posted() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let next = "whsec_bmV4dCBzZWNyZXQgb2YgZW5vdWdoIGJ5dGVz";
    let both = format!("{next},{SECRET}");
    let _replica = stack.replica_for(&receiver, &[("CALLBACK_SECRET", &both)]).await;
    let job_id = stack.job().await;
    stack.push(&told(&receiver, job_id, "/a")).await;
    let post = receiver.told(&stack, "/a", 1).await.remove(0);
    assert!(post.is_signed_with(next) && post.is_signed_with(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_package_of_a_job_has_its_own_url_told_whenever_it_comes() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let own = openai.variables();
    let variables: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    let _replica = stack.replica_for(&receiver, &variables).await;
    let job_id = stack.job().await;
    stack.push(&told(&receiver, job_id, "/first")).await;
    openai.called(1).await;
    let reply = key("reply:b");
    for package in [
        told(&receiver, job_id, "/second"),
        with(told(&receiver, job_id, "/third"), "replyTo", reply),
        told(&receiver, job_id, "/second"),
    ] {
        stack.push(&package).await;
    }
    stack
        .until("three URLs wait for the end", async || {
            let query = "SELECT coalesce(sum(cardinality(callback_urls)), 0)::bigint FROM generative_ai.jobs";
            // The one that says nothing new is settled too, or it would ask again after the end.
            let in_hand: u64 = stack.redis().await.zcard(key("in-flight")).await.unwrap();
            (stack.count(query).await == 3 && in_hand == 1).then_some(())
        })
        .await;
    assert_eq!(
        stack.count("SELECT count(*) FROM generative_ai.callbacks").await,
        0
    );
    openai.open();
    for path in ["/first", "/second", "/third"] {
        assert_eq!(
            receiver.told(&stack, path, 1).await[0].body["status"],
            "completed"
        );
    }
    each_told_once(&stack, &receiver, &["/first", "/second", "/third"]).await;

    // It has ended: its own URL is told, and nobody else's again.
    stack.push(&told(&receiver, job_id, "/late")).await;
    assert_eq!(
        receiver.told(&stack, "/late", 1).await[0].body["status"],
        "completed"
    );
    each_told_once(&stack, &receiver, &["/first", "/second", "/third", "/late"]).await;
    // Whoever asks again is told again, of the same end.
    stack.push(&told(&receiver, job_id, "/late")).await;
    let posts = receiver.told(&stack, "/late", 2).await;
    assert_eq!(posts[0].id, posts[1].id);
    // Also where the ledger has forgotten the job.
    stack.idle().await;
    stack.sql("DELETE FROM generative_ai.jobs", &[]).await;
    stack.push(&told(&receiver, job_id, "/later")).await;
    let post = receiver.told(&stack, "/later", 1).await.remove(0);
    let image_id = &stack.job_row(job_id).await.data["imageId"];
    assert_eq!(
        (&post.body["status"], &post.body["imageId"]),
        (&json!("completed"), image_id)
    );
    assert_eq!(openai.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_failed_and_was_started_again_is_told_of_in_that_order() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let refusal = json!({"message": "no", "code": "moderation_blocked"});
    let openai = OpenAi::start(small_picture()).await;
    for _ in 0..2 {
        openai.then(Reply::Error(400, refusal.clone(), vec![]));
    }
    let own = openai.variables();
    let variables: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    let _replica = stack.replica_for(&receiver, &variables).await;
    let job_id = stack.job().await;
    stack.push(&told(&receiver, job_id, "/both")).await;
    receiver.told(&stack, "/both", 1).await;
    let retry = ["dead", "retry", "--yes", &job_id.to_string()].map(str::to_owned);
    let retry: Vec<&str> = retry.iter().map(String::as_str).collect();

    // The second failure finds nobody there, and the receiver never learns of it: the picture comes first.
    receiver.always("/both", wiremock::ResponseTemplate::new(503));
    stack.command(&retry, &[]).await;
    receiver.told(&stack, "/both", 2).await;
    stack.outbox_has("state = 'waiting' AND tries = 1", 1).await;
    let later =
        "UPDATE generative_ai.callbacks SET due_at = now() + interval '1 hour' WHERE state = 'waiting'";
    stack.sql(later, &[]).await;
    receiver.always("/both", wiremock::ResponseTemplate::new(200));
    stack.command(&retry, &[]).await;
    let posts = receiver.told(&stack, "/both", 3).await;
    let told: Vec<&Value> = posts.iter().map(|post| &post.body["status"]).collect();
    assert_eq!(told, ["failed", "failed", "completed"]);
    assert!(posts[0].id != posts[1].id && posts[1].id != posts[2].id);
    stack
        .outbox_has("state = 'superseded' AND outcome = 'dead'", 1)
        .await;
    stack.outbox_has("state = 'delivered'", 2).await;
    stack.outbox_has("state = 'waiting'", 0).await;
}
