//! Pause, resume, cancel, and lists that are heard of at once: what an operator says holds on every replica.

use redis::AsyncCommands;

use crate::harness::aftermath::key;
use crate::harness::command::command_on;
use crate::harness::events::Events;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::polled::Polled;
use crate::harness::replica::Replica;
use crate::harness::stack::{BUILTIN, QUEUE, Stack, logo, with};

async fn replica_of(stack: &Stack, polled: &Polled) -> Replica {
    let variables = polled.variables();
    let mut variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    variables.push(("WORKER_CONCURRENCY", "1"));
    stack.replica(&variables).await
}

async fn cancel(stack: &Stack, job_id: i32, more: &[&str]) -> crate::harness::command::Said {
    let job_id = job_id.to_string();
    let mut arguments = vec!["cancel", &job_id, "--by", "anna"];
    arguments.extend(more);
    command_on(stack, &arguments, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_cancelled_at_the_provider_and_its_slot_is_free_at_once() {
    let stack = Stack::start().await;
    let mut events = Events::of(&stack).await;
    let polled = Polled::start().await;
    let replica = replica_of(&stack, &polled).await;
    let job_id = stack.job().await;
    let reply_to = format!("{{{QUEUE}}}:reply:cancel");
    let package = with(logo(job_id), "imageProvider", "flux");
    stack.push(&with(package, "replyTo", reply_to.as_str())).await;
    polled.looked_at().await;

    let said = cancel(&stack, job_id, &["--reason", "the wrong prompt"]).await;
    let out = format!(
        "job {job_id} is cancelled; {} stops working on it\n",
        replica.worker_id()
    );
    said.is(0, &out, "");
    stack.idle().await;
    assert_eq!(polled.cancels(), 1, "the provider was not told");
    let message = "Cancelled by anna: the wrong prompt";
    let job = stack.job_row(job_id).await;
    assert_eq!(job.error.as_deref(), Some(message));
    assert_eq!(job.data, serde_json::json!({}));
    assert_eq!(stack.ledger(job_id).await.state, "cancelled");
    let event = events.next("cancelled").await;
    assert_eq!(
        (&event["jobId"], &event["error"]),
        (&job_id.into(), &message.into())
    );
    assert_eq!(event["errorClass"], "cancelled");
    let reply: Option<String> = stack.redis().await.lpop(reply_to, None).await.unwrap();
    assert!(reply.unwrap().contains(r#""status":"cancelled""#));
    let calls = stack
        .sql("SELECT state, error_class FROM generative_ai.provider_calls", &[])
        .await;
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].get(0), calls[0].get(1)), ("failed", "cancelled"));

    // The only slot is free for the next job.
    polled.finish();
    let next = stack.job().await;
    stack.push(&with(logo(next), "imageProvider", "flux")).await;
    stack.all_done_once(&[next]).await;
    assert_eq!(polled.cancels(), 1);
    assert_eq!(stack.dead_letters().await.len(), 0, "cancelling is no failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_is_lost_is_made_up_for_by_postgres() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let _replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    // As the command does it, without telling anybody.
    let update = "UPDATE generative_ai.jobs SET state = 'cancelled', fence = fence + 1, error_message = 'Cancelled by anna.'";
    stack.sql(update, &[]).await;
    stack.idle().await;
    openai.open();
    assert_eq!(stack.ledger(jobs[0]).await.state, "cancelled");
    let calls = stack
        .sql("SELECT state, error_class FROM generative_ai.provider_calls", &[])
        .await;
    let call: (&str, &str) = (calls[0].get(0), calls[0].get(1));
    assert_eq!(call, ("unknown", "cancelled"), "it may have been billed");
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_is_cancelled_before_anything_is_spent() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let jobs = stack.jobs(3).await;
    // One waits on its list, one for its time.
    stack.push(&logo(jobs[0])).await;
    let later = chrono::Utc::now().timestamp_millis() + 3_000;
    stack.push(&with(logo(jobs[1]), "notBefore", later)).await;
    for job_id in &jobs[..2] {
        let out =
            format!("job {job_id} is cancelled; a package of it that waits is dropped when its turn comes\n");
        cancel(&stack, *job_id, &[]).await.is(0, &out, "");
        let job = stack.job_row(*job_id).await;
        assert_eq!(job.error.as_deref(), Some("Cancelled by anna."));
    }
    let again = cancel(&stack, jobs[0], &["--reason", "once more"]).await;
    let out = format!("job {} was cancelled before: Cancelled by anna.\n", jobs[0]);
    again.is(0, &out, "");

    let _replica = stack.replica_of(&openai, &[]).await;
    stack.push(&logo(jobs[2])).await;
    stack.all_done_once(&jobs[2..]).await;
    stack.idle().await;
    assert_eq!(openai.calls().len(), 1);
    assert_eq!(stack.dead_letters().await.len(), 0);
    for job_id in &jobs[..2] {
        assert_eq!(
            stack.job_row(*job_id).await.error.as_deref(),
            Some("Cancelled by anna.")
        );
    }
    // It is not begun again by a package that comes later, nor by reseeding.
    stack.push(&logo(jobs[0])).await;
    stack.idle().await;
    let reseed = command_on(&stack, &["reseed"], &[]).await;
    reseed.is(0, "put back 0 packages into generative-ai\n", "");
    assert_eq!(openai.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_cannot_be_cancelled() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let done = stack.push_logos(1).await[0];
    stack.all_done_once(&[done]).await;
    let dead = stack.job().await;
    stack.push(&with(logo(dead), "imageSize", "1x1")).await;
    let reason = stack.ended(dead).await.error.unwrap();
    stack.idle().await;

    let out = format!("job {done} has its picture already; nothing was changed\n");
    cancel(&stack, done, &[]).await.is(1, &out, "");
    let out = format!("job {dead} has failed already, nothing was changed: {reason}\n");
    cancel(&stack, dead, &[]).await.is(1, &out, "");
    let out = "there is no row 999999 in ac_background_jobs\n";
    cancel(&stack, 999_999, &[]).await.is(1, out, "");
    assert_eq!(stack.job_row(dead).await.error, Some(reason));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_comes_after_its_job_was_cancelled_makes_no_image_row() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let victim = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    victim.freeze();
    cancel(&stack, jobs[0], &[]).await;
    openai.open();
    victim.thaw();
    stack.idle().await;
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 0);
    assert_eq!(
        stack.job_row(jobs[0]).await.error.as_deref(),
        Some("Cancelled by anna.")
    );
    assert_eq!(stack.ledger(jobs[0]).await.state, "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_objects_of_a_picture_that_comes_too_late_are_known_to_the_ledger() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let known =
        "SELECT count(*) FROM generative_ai.jobs WHERE state = 'cancelled' AND cardinality(object_keys) > 0";
    // As often as the replica finds out before the picture is there.
    for round in 1..=5 {
        openai.close();
        stack.push_logos(1).await;
        openai.called(round).await;
        let cancel = "UPDATE generative_ai.jobs SET state = 'cancelled', fence = fence + 1, package = '',
            finished_at = now(), error_message = 'no' WHERE state = 'begun'";
        stack.sql(cancel, &[]).await;
        openai.open();
        stack.idle().await;
        if stack.count(known).await > 0 {
            break;
        }
    }
    assert_eq!(stack.count(known).await, 1);
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 0);
    let paid = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'succeeded'";
    assert_eq!(stack.count(paid).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_finishes_what_is_in_hand_and_takes_nothing_until_it_is_resumed() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let replicas = [
        stack.replica_of(&openai, &[]).await,
        stack.replica_of(&openai, &[]).await,
    ];
    let in_hand = stack.push_logos(2).await;
    openai.called(2).await;
    let said = command_on(&stack, &["pause", "--by", "anna"], &[]).await;
    said.is(
        0,
        "generative-ai is paused: no replica takes new work, what is in hand is finished\n",
        "",
    );
    let again = command_on(&stack, &["pause", "--by", "bert"], &[]).await;
    again.looks_like(0, "generative-ai is paused already, by anna since * UTC\n");

    let waiting = stack.push_logos(5).await;
    openai.open();
    stack.done(2).await;
    for replica in &replicas {
        let worker_id = replica.worker_id();
        stack
            .until("the ping says so", async || {
                let ping: Option<String> = stack
                    .redis()
                    .await
                    .get(key(&format!("ping:{worker_id}")))
                    .await
                    .unwrap();
                ping.filter(|ping| ping.contains(r#""state":"paused""#))
            })
            .await;
    }
    assert_eq!(stack.waiting(QUEUE).await.len(), waiting.len());
    assert_eq!(openai.calls().len(), 2);
    // Whoever starts now takes nothing either.
    let _third = stack.replica_of(&openai, &[]).await;
    assert_eq!(stack.waiting(QUEUE).await.len(), 5);

    let said = command_on(&stack, &["resume"], &[]).await;
    said.is(0, "generative-ai is resumed: replicas take new work\n", "");
    let jobs: Vec<i32> = in_hand.into_iter().chain(waiting).collect();
    stack.all_done_once(&jobs).await;
    command_on(&stack, &["resume"], &[])
        .await
        .is(0, "generative-ai is not paused\n", "");
}

/// How often clients were woken from a blocking command.
async fn wakes(stack: &Stack) -> u64 {
    stack.commands("client|unblock").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_replica_hears_of_a_package_on_any_list_without_looking() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    // So long that no wait ends by itself while this test runs.
    let _replica = stack.replica_of(&openai, &[("LEASE_TTL", "60s")]).await;
    let mut count = 0;
    for list in ["critical", "high", "low"].repeat(3) {
        let before = wakes(&stack).await;
        let job_id = stack.job().await;
        let list = format!("{{{QUEUE}}}:{list}");
        let package = logo(job_id).to_string();
        let _: i64 = stack.redis().await.lpush(list, package).await.unwrap();
        count += 1;
        stack.done(count).await;
        assert!(wakes(&stack).await > before, "it was found by looking");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_let_itself_be_listened_to_is_looked_at_instead() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let mut redis = stack.redis().await;
    for denied in ["-client|tracking", "-subscribe"] {
        redis::cmd("ACL")
            .arg(&["SETUSER", "default", denied])
            .query_async::<()>(&mut redis)
            .await
            .unwrap();
    }
    let _replica = stack.replica_of(&openai, &[]).await;
    // The look at the start has tried it.
    let before = wakes(&stack).await;
    let jobs = stack.jobs(2).await;
    for (list, job_id) in ["critical", "low"].into_iter().zip(&jobs) {
        let package = logo(*job_id).to_string();
        let list = format!("{{{QUEUE}}}:{list}");
        let _: i64 = redis.lpush(list, package).await.unwrap();
    }
    stack.all_done_once(&jobs).await;
    assert_eq!(wakes(&stack).await, before);
}

/// What was refused, and what the ledger has forgotten, has ended: the reason stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_without_the_ledger_keeps_its_end() {
    let stack = Stack::start().await;
    let (refused, forgotten) = (stack.job().await, stack.job().await);
    let replica = stack.replica(&[BUILTIN]).await;
    stack.push(&with(logo(refused), "imageSize", "large")).await;
    let reason = stack.ended(refused).await.error.unwrap();
    let done = "UPDATE ac_background_jobs SET progress = 100 WHERE id = $1";
    stack.sql(done, &[&forgotten]).await;
    stack
        .sql("DELETE FROM generative_ai.jobs WHERE job_id = $1", &[&refused])
        .await;
    drop(replica);
    let said = cancel(&stack, refused, &[]).await;
    let out = format!("job {refused} has failed already, nothing was changed: {reason}\n");
    assert_eq!((said.status, &*said.out), (Some(1), &*out));
    let said = cancel(&stack, forgotten, &[]).await;
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.out.contains("has its picture already"), "{said:?}");
    assert_eq!(stack.job_row(refused).await.error, Some(reason));
    assert_eq!(stack.job_row(forgotten).await.error, None);
    assert_eq!(stack.count("SELECT count(*) FROM generative_ai.jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_although_redis_cannot_be_told() {
    let mut stack = Stack::start().await;
    let job_id = stack.job().await;
    stack.redis.stop();
    let said = cancel(&stack, job_id, &[]).await;
    let begin = format!(
        "job {job_id} is cancelled, and replicas learn of it when they look: Redis could not be told ("
    );
    assert!(said.status == Some(0) && said.out.starts_with(&begin), "{said:?}");
    assert_eq!(
        stack.job_row(job_id).await.error.as_deref(),
        Some("Cancelled by anna.")
    );
    stack.redis.restart().unwrap();
    stack.push(&logo(job_id)).await;
    let _replica = stack.replica(&[]).await;
    stack.idle().await;
    assert_eq!(stack.ledger(job_id).await.state, "cancelled");
}
