//! `jobs release`: one job waits no longer, and what others wait for stays as it is.

use crate::harness::command::command_on;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::page::Page;
use crate::harness::replica::Replica;
use crate::harness::stack::{Stack, logo};

/// Longer than a test may take: whoever waits for it waits in vain.
const NEVER: (&str, &str) = ("JOB_TIMEOUT", "10m");

async fn is_in(stack: &Stack, job_id: i32, state: &str) {
    stack
        .until(&format!("job {job_id} is {state}"), async || {
            // It may not have been begun yet.
            let query = format!(
                "SELECT count(*) FROM generative_ai.jobs WHERE job_id = {job_id} AND state = '{state}'"
            );
            (stack.count(&query).await == 1).then_some(())
        })
        .await;
}

/// Has the next call fail for a moment's reason, and the one that it is sent again with.
fn fail_once(openai: &OpenAi) {
    let no = serde_json::json!({"message": "no"});
    for _ in 0..2 {
        openai.then(Reply::Error(500, no.clone(), vec![]));
    }
}

/// What `jobs show` begins with.
async fn headline(stack: &Stack, job_id: i32) -> String {
    let shown = command_on(stack, &["jobs", "show", &job_id.to_string()], &[]).await;
    shown.out.lines().next().unwrap().to_owned()
}

/// The package of a job waits until another one has ended.
async fn is_parked_for_its_type(stack: &Stack, job_id: i32) {
    stack
        .until(&format!("the package of job {job_id} is parked"), async || {
            let parked = "its package waits until another collection-image may begin (WORK_TYPE_LIMITS)";
            headline(stack, job_id).await.contains(parked).then_some(())
        })
        .await;
}

/// A job whose call to a provider without ids is open, its replica dead, and another replica that waits for the call.
async fn abandoned(stack: &Stack, openai: &OpenAi, variables: &[(&str, &str)]) -> (i32, String, Replica) {
    openai.close();
    let mut victim = stack.replica_of(openai, variables).await;
    let job_id = stack.push_logos(1).await[0];
    openai.called(1).await;
    victim.kill();
    openai.open();
    let other = stack.replica_of(openai, variables).await;
    is_in(stack, job_id, "retry_wait").await;
    (job_id, victim.worker_id(), other)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_for_the_call_of_a_dead_replica_is_ended_by_hand() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let (job_id, _, _other) = abandoned(&stack, &openai, &[NEVER]).await;
    let shown = command_on(&stack, &["jobs", "show", &job_id.to_string()], &[]).await;
    let cure = format!("generative-ai-worker jobs release {job_id} ends the wait");
    assert!(shown.out.contains(&cure), "{}", shown.out);
    let said = command_on(&stack, &["jobs", "release", &job_id.to_string()], &[]).await;
    let out = format!(
        "job {job_id} is released: nobody waits any longer for call 1 to openai, and UNKNOWN_OUTCOME says whether another picture \
         may be bought; its package is at the head of the queue\n"
    );
    said.is(0, &out, "");
    stack.all_done_once(&[job_id]).await;
    assert_eq!(
        openai.calls().len(),
        2,
        "once more, as UNKNOWN_OUTCOME=retry says"
    );
    let states = "SELECT string_agg(state, ',' ORDER BY call_no) FROM generative_ai.provider_calls";
    let states: String = stack.sql(states, &[]).await[0].get(0);
    assert_eq!(states, "unknown,succeeded");
    let again = command_on(&stack, &["jobs", "release", &job_id.to_string()], &[]).await;
    again.is(1, &format!("job {job_id} is done; nothing was changed\n"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_buys_nothing_that_the_policy_forbids() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let variables = [NEVER, ("UNKNOWN_OUTCOME", "hold")];
    let (job_id, _, _other) = abandoned(&stack, &openai, &variables).await;
    let release = ["jobs", "release", &job_id.to_string(), "--by", "anna"];
    assert_eq!(command_on(&stack, &release, &[]).await.status, Some(0));
    is_in(&stack, job_id, "held").await;
    assert_eq!(
        openai.calls().len(),
        1,
        "nobody has said that another may be bought"
    );
    // Now somebody does.
    let said = command_on(&stack, &release, &[]).await;
    let out = format!(
        "job {job_id} is released: another picture may be bought for it; its package is at the head of the queue\n"
    );
    said.is(0, &out, "");
    stack.all_done_once(&[job_id]).await;
    assert_eq!(openai.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_job_that_is_named_is_released() {
    let stack = Stack::start().await;
    let jobs = stack.jobs(3).await;
    for job_id in &jobs {
        let held = "INSERT INTO generative_ai.jobs (job_id, state, queue, package) VALUES ($1, 'held', 'generative-ai', $2)";
        stack.sql(held, &[job_id, &logo(*job_id).to_string()]).await;
    }
    let _replica = stack.replica(&[]).await;
    let said = command_on(&stack, &["jobs", "release", &jobs[1].to_string()], &[]).await;
    assert_eq!(said.status, Some(0), "{said:?}");
    stack.all_done_once(&jobs[1..2]).await;
    for other in [jobs[0], jobs[2]] {
        assert_eq!(stack.ledger(other).await.state, "held");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_alive_is_waited_for() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let replica = stack.replica_of(&openai, &[NEVER]).await;
    let job_id = stack.push_logos(1).await[0];
    openai.called(1).await;
    let worker_id = replica.worker_id();
    let release = ["jobs", "release", &job_id.to_string()];
    let out = format!("job {job_id} is being worked on by {worker_id}; nothing was changed\n");
    command_on(&stack, &release, &[]).await.is(1, &out, "");
    // Its job is another's by now, and it still waits for its call.
    let waits = "UPDATE generative_ai.jobs SET state = 'retry_wait', worker_id = NULL, next_attempt_at = now() + interval '1 hour'";
    stack.sql(waits, &[]).await;
    let out = format!(
        "call 1 to openai for job {job_id} is open, and {worker_id}, which has made it, is alive and may still get its picture; \
         nothing was changed\n"
    );
    command_on(&stack, &release, &[]).await.is(1, &out, "");
    let out = "there is no job 4711: neither ac_background_jobs nor the ledger has a row of it\n";
    command_on(&stack, &["jobs", "release", "4711"], &[])
        .await
        .is(1, out, "");
    openai.open();
    stack.all_done_once(&[job_id]).await;
    assert_eq!(openai.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_waits_long_is_made_at_once() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    fail_once(&openai);
    let variables = [("RETRY_BASE_DELAY", "10m"), ("RETRY_MAX_DELAY", "10m")];
    let _replica = stack.replica_of(&openai, &variables).await;
    let job_id = stack.push_logos(1).await[0];
    is_in(&stack, job_id, "retry_wait").await;
    let delayed = crate::harness::aftermath::key("delayed");
    stack
        .until("its package waits for its time", async || {
            let count: u64 = redis::AsyncCommands::zcard(&mut stack.redis().await, &delayed)
                .await
                .unwrap();
            (count == 1).then_some(())
        })
        .await;
    let said = command_on(&stack, &["jobs", "release", &job_id.to_string()], &[]).await;
    let out = format!(
        "job {job_id} is released: its next attempt is made at once; its package is at the head of the queue\n"
    );
    said.is(0, &out, "");
    stack.all_done_once(&[job_id]).await;
}

/// What it waits for with others is nothing that one job can be let go of.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_many_share_is_not_ended_for_one() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let variables = [("BUDGETS", "openai:0.06/day"), ("DASHBOARD_ADDR", "127.0.0.1:0")];
    let replica = stack.replica_of(&openai, &variables).await;
    let page = Page::of(&replica).await;
    let jobs = stack.push_logos(2).await;
    let waits = "SELECT job_id FROM generative_ai.jobs WHERE state = 'retry_wait'";
    let waiting: i32 = stack
        .until("one has used up what there is", async || {
            let waiting = stack.sql(waits, &[]).await;
            waiting.first().map(|row| row.get(0))
        })
        .await;
    let parked = "waits for money of the budget openai/day";
    let shown = stack
        .until("its package is parked", async || {
            let shown = command_on(&stack, &["jobs", "show", &waiting.to_string()], &[]).await;
            shown.out.contains(parked).then_some(shown.out)
        })
        .await;
    assert!(!shown.contains("jobs release"), "{shown}");
    let said = command_on(&stack, &["jobs", "release", &waiting.to_string()], &[]).await;
    let out = format!(
        "job {waiting} waits with others: its package {parked}; it goes on with the next day or month, or with more in BUDGETS; \
         nothing was changed\n"
    );
    said.is(1, &out, "");
    assert_eq!(stack.ledger(waiting).await.state, "retry_wait");
    let story = page.get(&format!("/jobs/{waiting}")).await;
    story.is(200).has(parked);
    assert!(!story.text().contains("End its wait"), "{}", story.text());
    page.get("/running").await.has("for its budget");
    assert_eq!(openai.calls().len(), jobs.len() - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_made_at_once_waits_for_room_as_others_do() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    fail_once(&openai);
    let variables = [
        ("RETRY_BASE_DELAY", "10m"),
        ("RETRY_MAX_DELAY", "10m"),
        ("WORK_TYPE_LIMITS", "collection-image:1"),
    ];
    let _replica = stack.replica_of(&openai, &variables).await;
    let failed = stack.push_logos(1).await[0];
    is_in(&stack, failed, "retry_wait").await;
    openai.close();
    let other = stack.push_logos(1).await[0];
    openai.called(3).await;
    let said = command_on(&stack, &["jobs", "release", &failed.to_string()], &[]).await;
    assert_eq!(said.status, Some(0), "{said:?}");
    is_parked_for_its_type(&stack, failed).await;
    assert_eq!(openai.calls().len(), 3);
    openai.open();
    stack.all_done_once(&[failed, other]).await;
    assert_eq!(openai.most_open(), 1);
}

/// Whatever has left a job unfinished: an operator has released it, its replica was stopped, or has died before it has bought anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_begun_anew_waits_for_room_as_others_do() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let variables = [("WORK_TYPE_LIMITS", "collection-image:1")];
    let _replica = stack.replica_of(&openai, &variables).await;
    let mut jobs = stack.push_logos(1).await;
    openai.called(1).await;
    for state in ["held", "waiting", "begun"] {
        let job_id = stack.jobs(1).await[0];
        let left = "INSERT INTO generative_ai.jobs (job_id, state, queue, worker_id, package) VALUES ($1, $2, 'generative-ai', 'gone', $3)";
        let package = logo(job_id);
        stack.sql(left, &[&job_id, &state, &package.to_string()]).await;
        match state {
            "held" => {
                let said = command_on(&stack, &["jobs", "release", &job_id.to_string()], &[]).await;
                assert_eq!(said.status, Some(0), "{said:?}");
                is_parked_for_its_type(&stack, job_id).await;
            }
            _ => stack.push(&package).await,
        }
        jobs.push(job_id);
    }
    let parked = crate::harness::aftermath::key("parked:type/collection-image");
    stack
        .until("all others wait", async || {
            let count: usize = redis::AsyncCommands::llen(&mut stack.redis().await, &parked)
                .await
                .unwrap();
            (count == jobs.len() - 1).then_some(())
        })
        .await;
    openai.open();
    stack.all_done_once(&jobs).await;
    assert_eq!((openai.calls().len(), openai.most_open()), (jobs.len(), 1));
}

/// Who has failed and is called all the same is not what is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_room_says_so_although_its_provider_has_failed() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    fail_once(&openai);
    let variables = [
        ("IMAGE_PROVIDER_LIMITS", "openai:1"),
        ("RETRY_BASE_DELAY", "10m"),
        ("RETRY_MAX_DELAY", "10m"),
    ];
    let _replica = stack.replica_of(&openai, &variables).await;
    let failed = stack.push_logos(1).await[0];
    is_in(&stack, failed, "retry_wait").await;
    openai.close();
    let called = stack.push_logos(1).await[0];
    openai.called(3).await;
    let waiting = stack.push_logos(1).await[0];
    let room = "its package waits until openai has room for another call";
    stack
        .until("it waits for room", async || {
            headline(&stack, waiting).await.contains(room).then_some(())
        })
        .await;
    openai.open();
    for job_id in [called, waiting] {
        assert_eq!(stack.ended(job_id).await.error, None);
    }
}
