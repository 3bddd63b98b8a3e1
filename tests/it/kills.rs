//! Replicas that are killed (SIGKILL) at any moment of their work. Nothing has to be built into a program for that, so what is shipped is
//! killed as well (`make kills`).

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::bullmq::{
    BULLMQ_QUEUE, SHORT, TAKES_OVER, VERSIONS, add, as_the_application, is_as_bullmq_leaves_it,
};
use crate::chaos::tally::rounds;
use crate::deletions::{deletion, done, drawn, is_marked};
use crate::harness::files_below;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::polled::Polled;
use crate::harness::receiver::{Receiver, SECRET};
use crate::harness::replica::{Replica, measured};
use crate::harness::stack::{Stack, icon, logo, with};

/// What comes for each replica that is killed.
const EACH: usize = 10;

/// How many are killed in each test. A hundred in `make kills`.
fn kills() -> usize {
    usize::try_from(rounds() * 5).unwrap()
}

/// Has one replica after the other get some of the jobs and die within a moment.
async fn killed_over_and_over(
    jobs: &[i32],
    push: impl AsyncFn(usize, &[i32]),
    start: impl AsyncFn() -> Replica,
) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for (kill, some) in jobs.chunks(EACH).enumerate() {
        push(kill, some).await;
        let mut victim = start().await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        victim.kill();
    }
}

/// Waits for all ends, and returns how many jobs have a reason in place of what they were for: killed three times by themselves, or in
/// the middle of a call whose end nobody knows. They are few.
async fn all_end(stack: &Stack, jobs: &[i32]) -> usize {
    let open = "SELECT count(*) FROM ac_background_jobs WHERE progress < 100 AND error IS NULL";
    for left in (0..jobs.len()).rev() {
        let what = format!("no more than {left} jobs are left");
        let is_less = async || (stack.count(open).await <= left as i64).then_some(());
        stack.until(&what, is_less).await;
    }
    stack.idle().await;
    let failed = "SELECT count(*) FROM generative_ai.jobs WHERE state = 'dead' AND error_class IN ('unknown_outcome', 'poison')";
    let failed = usize::try_from(stack.count(failed).await).unwrap();
    assert!(failed <= jobs.len() / 50, "{failed} of {}", jobs.len());
    let done = "SELECT count(*) FROM ac_background_jobs WHERE progress = 100 AND error IS NULL";
    assert_eq!(
        usize::try_from(stack.count(done).await).unwrap() + failed,
        jobs.len()
    );
    failed
}

/// Has jobs come from both versions of BullMQ, each package as `package` makes it, until all have ended; the queues of BullMQ are as it
/// leaves them. Returns how many pictures there are, and how many jobs ended with a reason.
async fn jobs_of_bullmq(
    stack: &Stack,
    package: impl Fn(i32) -> Value,
    start: impl AsyncFn() -> Replica,
) -> (usize, usize) {
    let jobs = stack.jobs(i32::try_from(kills() * EACH).unwrap()).await;
    let push = async |kill: usize, some: &[i32]| {
        let some: Vec<_> = some
            .iter()
            .map(|job_id| as_the_application(&package(*job_id)))
            .collect();
        add(stack, VERSIONS[kill % 2], &some).await;
    };
    killed_over_and_over(&jobs, push, &start).await;
    let _heir = start().await;
    let failed = all_end(stack, &jobs).await;
    for version in VERSIONS {
        is_as_bullmq_leaves_it(stack, version).await;
    }
    let images = usize::try_from(stack.count("SELECT count(*) FROM images").await).unwrap();
    assert_eq!(images + failed, jobs.len(), "{BULLMQ_QUEUE}");
    (images, failed)
}

fn note(who: &str, images: usize, failed: usize, bills: usize, more: &str) {
    measured(&format!(
        "{} jobs of BullMQ drawn by {who}, {} kills: {images} pictures, {failed} ended with a reason, {bills} bills{more}",
        images + failed,
        kills()
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_bullmq_are_all_done_and_each_is_paid_for_once_where_orders_can_be_found_again() {
    let (stack, polled) = (Stack::start().await, Polled::start().await);
    // Most kills come while an order is being made.
    polled.hold_orders(Duration::from_millis(30));
    polled.finish();
    let start = async || polled.replica(&stack, &[TAKES_OVER, SHORT]).await;
    let package = |job_id| with(logo(job_id), "imageProvider", "flux");
    let (images, failed) = jobs_of_bullmq(&stack, package, start).await;
    let orders = polled.orders();
    note("replicate", images, failed, orders, "");
    // One that was killed three times by itself may have been ordered before.
    assert!((images..=images + failed).contains(&orders), "{orders}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_bullmq_are_all_done_and_only_calls_that_died_may_be_paid_for_again() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let start = async || stack.replica_of(&openai, &[TAKES_OVER, SHORT]).await;
    let (images, failed) = jobs_of_bullmq(&stack, logo, start).await;
    // What died in the middle of a call without an id is all that may be drawn again.
    let unknown = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'unknown'";
    let unknown = usize::try_from(stack.count(unknown).await).unwrap();
    let bills = openai.bills();
    note(
        "openai",
        images,
        failed,
        bills,
        &format!(", {unknown} calls of unknown outcome"),
    );
    assert!(bills <= images + failed + unknown, "{bills} and {unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_is_told_at_least_once_and_always_under_the_same_id() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let jobs = stack.jobs(i32::try_from(kills() * EACH).unwrap()).await;
    let push = async |_: usize, some: &[i32]| {
        for job_id in some {
            let package = with(logo(*job_id), "imageProvider", "blank");
            let package = with(package, "callbackUrl", receiver.url(&format!("/{job_id}")));
            stack.push(&package).await;
        }
    };
    let start = async || stack.replica_for(&receiver, &[]).await;
    killed_over_and_over(&jobs, push, start).await;
    let _heir = start().await;
    all_end(&stack, &jobs).await;
    stack.outbox_has("state = 'waiting'", 0).await;
    stack
        .outbox_has("state = 'delivered'", i64::try_from(jobs.len()).unwrap())
        .await;
    let posts = receiver.all_posts().await;
    for job_id in jobs {
        let told = posts.get(&format!("/{job_id}")).expect("each is told");
        for post in told {
            assert!(post.is_signed_with(SECRET));
            assert_eq!((&post.id, &post.body), (&told[0].id, &told[0].body));
        }
        assert_eq!(told[0].body["jobId"], job_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_are_finished_and_leave_nothing() {
    let stack = Stack::start().await;
    let blank = |job_id| with(icon(job_id), "imageProvider", "blank");
    let mut pictures = Vec::new();
    {
        let _painter = stack.replica(&[]).await;
        for _ in 0..kills() * EACH {
            pictures.push(drawn(&stack, blank).await);
        }
        stack.idle().await;
    }
    let jobs = stack.jobs(i32::try_from(pictures.len()).unwrap()).await;
    let push = async |kill: usize, some: &[i32]| {
        for (job_id, picture) in some.iter().zip(&pictures[kill * EACH..]) {
            stack
                .push(&deletion(*job_id, Some(picture.image_id), Some(&picture.url)))
                .await;
        }
    };
    let start = async || stack.replica(&[]).await;
    killed_over_and_over(&jobs, push, start).await;
    let _heir = start().await;
    let mut left = 0;
    for job_id in &jobs {
        left += usize::from(stack.ended(*job_id).await.error.is_some());
    }
    stack.idle().await;
    assert!(
        left <= jobs.len() / 10,
        "{left} were killed three times by themselves"
    );
    for (job_id, picture) in jobs.iter().zip(&pictures) {
        let job = stack.job_row(*job_id).await;
        if job.error.is_none() {
            assert_eq!(job, done(picture, "deleted"));
            assert!(is_marked(&stack, picture.image_id).await);
        }
    }
    assert!(files_below(stack.pictures.path()).len() <= left);
}
