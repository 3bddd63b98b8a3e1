//! What a provider sends is bounded, whoever it is: one picture or ten at once, small or large, and all that are
//! ready at the same moment.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use crate::harness::hostile::{KINDS, Scans, flat_jpeg, noise};
use crate::harness::openai::{OpenAi, Reply};
use crate::harness::picture::any_picture;
use crate::harness::polled::Polled;
use crate::harness::replica::measured;
use crate::harness::s3::S3Server;
use crate::harness::stack::{Stack, icon, logo, with};

const MOST_KIB: u64 = 256 * 1024;

/// Has one kind drawn so many times at once, and returns the peak of the replica's memory and what the jobs say.
async fn peak(stack: &Stack, picture: &Bytes, times: usize) -> (u64, BTreeSet<String>) {
    let openai = OpenAi::start(Reply::Picture(picture.clone())).await;
    openai.close();
    let variables = [("MAX_ATTEMPTS", "1"), ("WORKER_CONCURRENCY", "10")];
    let replica = stack.replica_of(&openai, &variables).await;
    let mut jobs = Vec::new();
    for _ in 0..times {
        let job_id = stack.job().await;
        stack.push(&icon(job_id)).await;
        jobs.push(job_id);
    }
    openai.called(times).await;
    openai.open();
    one_after_the_other(stack, times).await;
    let mut ends = BTreeSet::new();
    for job_id in jobs {
        ends.insert(stack.ended(job_id).await.error.unwrap_or_default());
    }
    (replica.peak_memory_kib(), ends)
}

/// Waits until so many jobs have ended whose rows are there: for each as long as one may take, as large ones take turns.
async fn one_after_the_other(stack: &Stack, times: usize) {
    let open = "SELECT count(*) FROM ac_background_jobs WHERE progress < 100 AND error IS NULL";
    for left in (0..times).rev() {
        let what = format!("no more than {left} jobs are left");
        let is_less = async || (stack.count(open).await <= left as i64).then_some(());
        stack.until(&what, is_less).await;
    }
}

/// So many of one kind: ten in `make hostile`. With more than there are cores, memory is what they wait for.
fn of_a_kind() -> usize {
    if orders() > 150 { 10 } else { 4 }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_pictures_of_a_kind_at_once_stay_below_256_mib() {
    let stack = Stack::start().await;
    for (name, make) in KINDS {
        let picture = Bytes::from(make());
        let (peak, ends) = peak(&stack, &picture, of_a_kind()).await;
        measured(&format!(
            "| {name} | {} kB | {} |",
            picture.len() / 1000,
            peak / 1024
        ));
        assert!(peak < MOST_KIB, "{name}: {peak} KiB");
        let is_explained = |end: &String| end.is_empty() || end.contains("picture");
        assert!(
            ends.len() == 1 && ends.iter().all(is_explained),
            "{name}: {ends:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_pictures_of_all_kinds_at_once_stay_below_256_mib() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::Picture(any_picture())).await;
    openai.close();
    let variables = [("MAX_ATTEMPTS", "1"), ("WORKER_CONCURRENCY", "20")];
    let replica = stack.replica_of(&openai, &variables).await;
    let mut jobs = Vec::new();
    for (_, make) in KINDS.into_iter().chain(KINDS) {
        openai.then(Reply::Picture(make().into()));
        let job_id = stack.job().await;
        stack.push(&icon(job_id)).await;
        jobs.push(job_id);
    }
    openai.called(jobs.len()).await;
    openai.open();
    one_after_the_other(&stack, jobs.len()).await;
    let peak = replica.peak_memory_kib();
    measured(&format!("| all of these at once, twice | | {} |", peak / 1024));
    assert!(peak < MOST_KIB, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_to_decode_is_refused_with_a_sentence_and_the_rest_is_drawn() {
    let stack = Stack::start().await;
    for (picture, end) in [
        (
            flat_jpeg(6300, 6300, 3, Scans::One),
            "of memory to decode and at most",
        ),
        (flat_jpeg(600, 400, 3, Scans::Many(400)), "has more than"),
        (flat_jpeg(600, 400, 3, Scans::One), ""),
        (flat_jpeg(600, 400, 4, Scans::All), ""),
        (flat_jpeg(600, 400, 1, Scans::All), ""),
    ] {
        let (_, ends) = peak(&stack, &picture.into(), 1).await;
        let said = ends.first().unwrap();
        assert!(
            said.contains(end) && said.is_empty() == end.is_empty(),
            "{said:?} and not {end:?}"
        );
    }
}

/// How many are ordered at once; `make hostile` asks for more.
#[expect(
    clippy::disallowed_methods,
    reason = "it is asked of the tests, not of the worker"
)]
fn orders() -> usize {
    std::env::var("HOSTILE_ORDERS").map_or(150, |orders| orders.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_are_ready_all_at_once_wait_for_memory_and_are_all_drawn() {
    let orders = orders();
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    polled.hand_out(noise(900, 850));
    let variables = [("WORKER_CONCURRENCY", "1000"), ("IMAGE_PROVIDER", "bfl")];
    let replica = polled.replica(&stack, &variables).await;
    let jobs = stack.jobs(i32::try_from(orders).unwrap()).await;
    for job_id in &jobs {
        stack.push(&with(icon(*job_id), "imageProvider", "bfl")).await;
    }
    polled.ordered(orders).await;
    let begun = std::time::SystemTime::now();
    polled.finish();
    stack.all_done_once(&jobs).await;
    let peak = replica.peak_memory_kib();
    let seconds = begun.elapsed().unwrap().as_secs_f64();
    measured(&format!(
        "| {orders} pictures of 2.3 MB, ready at once: {:.0} a second | | {} |",
        orders as f64 / seconds,
        peak / 1024
    ));
    assert_eq!(polled.orders(), orders, "each was bought once");
    assert!(peak < MOST_KIB, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_pictures_wait_for_memory_too() {
    let orders = orders();
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    let s3 = S3Server::start("pictures").await;
    polled.hand_out(noise(900, 850));
    let endpoint = s3.endpoint();
    let own = [("WORKER_CONCURRENCY", "1000"), ("IMAGE_PROVIDER", "bfl")];
    let variables = [&s3.variables(&endpoint)[..], &own].concat();
    let replica = polled.replica(&stack, &variables).await;
    let jobs = stack.jobs(i32::try_from(orders).unwrap()).await;
    for job_id in &jobs {
        stack.push(&with(icon(*job_id), "imageProvider", "bfl")).await;
    }
    polled.ordered(orders).await;
    s3.fail_next(usize::MAX);
    polled.finish();
    replica.said("the picture cannot be stored").await;
    // As long as making all of their icons would take.
    tokio::time::sleep(Duration::from_millis(40 * orders as u64)).await;
    let waiting = "SELECT count(*) FROM ac_background_jobs WHERE progress >= 80";
    let waiting = stack.count(waiting).await;
    assert!((10..60).contains(&waiting), "{waiting} icons wait in memory");
    s3.fail_next(0);
    stack.each_done_once(&jobs).await;
    let peak = replica.peak_memory_kib();
    measured(&format!(
        "| {orders} of these while the store is away | | {} |",
        peak / 1024
    ));
    assert_eq!(polled.orders(), orders, "each was bought once");
    assert!(peak < MOST_KIB, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_are_drawn_here_take_turns() {
    let orders = orders() / 10;
    let stack = Stack::start().await;
    let replica = stack.replica(&[("WORKER_CONCURRENCY", "1000")]).await;
    let jobs = stack.jobs(i32::try_from(orders).unwrap()).await;
    for job_id in &jobs {
        stack.push(&with(logo(*job_id), "imageSize", "2048x2047")).await;
    }
    stack.all_done_once(&jobs).await;
    let peak = replica.peak_memory_kib();
    measured(&format!(
        "| {orders} pictures drawn by `builtin` | | {} |",
        peak / 1024
    ));
    assert!(peak < MOST_KIB, "{peak} KiB");
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test(flavor = "multi_thread")]
async fn pictures_use_the_same_memory_again_unless_an_operator_says_how() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    for setting in ["MALLOC_MMAP_THRESHOLD_=4194304", "MALLOC_ARENA_MAX=1"] {
        assert!(replica.has_variable(setting), "{setting}");
    }
    let left_alone = stack.replica(&[("MALLOC_MMAP_THRESHOLD_", "131072")]).await;
    assert!(left_alone.has_variable("MALLOC_MMAP_THRESHOLD_=131072"));
    assert!(!left_alone.has_variable("MALLOC_ARENA_MAX=1"));
}
