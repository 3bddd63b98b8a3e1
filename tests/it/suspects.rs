//! A package that replicas die of becomes poison, and what was merely in the same replica does not.

use redis::AsyncCommands;
use serde_json::Value;

use crate::harness::aftermath::key;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::replica::Replica;
use crate::harness::stack::{QUEUE, Stack, logo, with};

const POISON: &str =
    "Three replicas stopped while working on this job. Change the prompt, or ask an operator about it.";
/// What a package has in it that a replica dies of.
const DEADLY: &str = "nightshade";
const DIES_READING: (&str, &str) = ("FAULT_POINT", "to-be-read:package=nightshade");
const DIES_DRAWING: (&str, &str) = ("FAULT_POINT", "to-be-drawn:package=nightshade");

/// A replica whose pictures cost nothing, so that there is no open call to wait for when it is gone.
async fn free_replica(stack: &Stack, openai: &OpenAi) -> Replica {
    let url = format!("http://127.0.0.1:{}/v1", openai.port());
    let variables = [
        ("IMAGE_PROVIDER", "openaiCompatible"),
        ("OPENAI_COMPATIBLE_BASE_URL", url.as_str()),
        ("OPENAI_COMPATIBLE_MODEL", "sdxl"),
        ("OPENAI_COMPATIBLE_IS_FREE", "true"),
        ("WORKER_CONCURRENCY", "10"),
    ];
    stack.replica(&variables).await
}

/// Pushes the packages of nine jobs and, in their middle, one that replicas die of.
async fn push_ten(stack: &Stack) -> (Vec<i32>, i32) {
    let mut jobs = stack.jobs(10).await;
    let packages: Vec<String> = jobs
        .iter()
        .enumerate()
        .map(|(i, job_id)| if i == 4 { deadly(*job_id) } else { logo(*job_id) }.to_string())
        .collect();
    let _: i64 = stack.redis().await.lpush(QUEUE, packages).await.unwrap();
    let guilty = jobs.remove(4);
    (jobs, guilty)
}

fn deadly(job_id: i32) -> Value {
    with(logo(job_id), "prompt", DEADLY)
}

/// Starts one replica after the other, each of which is to die, until so many have.
async fn die(stack: &Stack, fault: (&str, &str), times: usize) {
    for _ in 0..times {
        let mut victim = stack.replica(&[fault, ("WORKER_CONCURRENCY", "10")]).await;
        assert!(!victim.exit().await.success());
    }
}

/// Starts one replica after the other until one is still there when all of ten packages have ended. Returns how many have died.
async fn die_until_poison(stack: &Stack, fault: (&str, &str)) -> usize {
    for deaths in 0..10 {
        let mut victim = stack.replica(&[fault, ("WORKER_CONCURRENCY", "10")]).await;
        tokio::select! {
            _ = victim.exit() => {}
            () = stack.idle() => return deaths,
        }
    }
    panic!("they die for ever");
}

async fn done(stack: &Stack, jobs: &[i32]) {
    for job_id in jobs {
        let job = stack.ended(*job_id).await;
        assert_eq!((job.progress, job.error), (Some(100), None), "job {job_id}");
    }
}

async fn no_suspects_left(stack: &Stack) {
    stack.idle().await;
    for what in ["suspects", "parked:suspects"] {
        stack.until_key(what, false).await;
    }
    let notes: Vec<String> = stack.redis().await.keys(key("suspect:*")).await.unwrap();
    assert_eq!(notes, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_packages_outlive_three_replicas_that_are_killed_with_them() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let jobs = stack.push_logos(10).await;
    // After the second kill one is drawn at a time: the one that is to be blamed if the replica dies again.
    for calls in [10, 20, 21] {
        let mut victim = free_replica(&stack, &openai).await;
        openai.called(calls).await;
        if calls > 20 {
            stack
                .until("the others are parked", async || {
                    let parked: u64 = stack.redis().await.llen(key("parked:suspects")).await.unwrap();
                    (parked == 9).then_some(())
                })
                .await;
        }
        victim.kill();
    }
    openai.open();
    let _replica = free_replica(&stack, &openai).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.calls().len(), 31);
    no_suspects_left(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_three_replicas_die_of_is_poison() {
    let stack = Stack::start().await;
    let job_id = stack.job().await;
    stack.push(&deadly(job_id)).await;
    die(&stack, DIES_DRAWING, 3).await;
    // Each may fall over it again: it is not drawn any more.
    let _replica = stack.replica(&[DIES_DRAWING]).await;
    let others = stack.push_logos(5).await;
    let job = stack.ended(job_id).await;
    assert_eq!(job.error.as_deref(), Some(POISON));
    done(&stack, &others).await;
    no_suspects_left(&stack).await;
    assert_eq!(stack.dead_letters().await[0]["errorClass"], "poison");
    let ledger = stack.ledger(job_id).await;
    assert_eq!((ledger.crashes, ledger.state.as_str()), (3, "dead"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_packages_only_the_one_dies_that_replicas_die_of() {
    let stack = Stack::start().await;
    let (innocent, guilty) = push_ten(&stack).await;
    // Two with the others, unless those were done by then, and three with the guilty one alone.
    let deaths = die_until_poison(&stack, DIES_DRAWING).await;
    assert!((4..=5).contains(&deaths), "{deaths}");
    assert_eq!(stack.ended(guilty).await.error.as_deref(), Some(POISON));
    done(&stack, &innocent).await;
    no_suspects_left(&stack).await;
    let dead = stack.dead_letters().await;
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (&dead[0]["errorClass"], &dead[0]["jobId"]),
        (&"poison".into(), &guilty.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_replicas_die_of_when_they_read_it_is_kept_unread() {
    let stack = Stack::start().await;
    let (innocent, guilty) = push_ten(&stack).await;
    // The same, and one that reads it so that its job learns that it is poison.
    let deaths = die_until_poison(&stack, DIES_READING).await;
    assert!((5..=6).contains(&deaths), "{deaths}");
    done(&stack, &innocent).await;
    no_suspects_left(&stack).await;
    let dead = stack.dead_letters().await;
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (&dead[0]["errorClass"], &dead[0]["reason"]),
        (&"poison".into(), &POISON.into())
    );
    assert_eq!(dead[0]["payload"], deadly(guilty).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_stopped_count_nothing() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let jobs = stack.push_logos(1).await;
    for _ in 1..=4 {
        let called = openai.calls().len();
        let mut stopped = free_replica(&stack, &openai).await;
        openai.called(called + 1).await;
        // What costs nothing is given back at once.
        stopped.terminate();
        assert!(stopped.exit().await.success());
        assert!(!stack.has_key("suspects").await);
    }
    openai.open();
    let _replica = free_replica(&stack, &openai).await;
    stack.all_done_once(&jobs).await;
}
