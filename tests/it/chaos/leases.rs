//! How soon the dead are found, and that the living are not taken for dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Scene;
use super::tally::{asked, rounds};
use crate::harness::stack::{logo, with};

/// `make chaos` uses what operators get by default; otherwise it is as short as in other tests.
fn lease() -> [(&'static str, &'static str); 2] {
    if asked("CHAOS_ROUNDS").is_some() {
        [("LEASE_TTL", "15s"), ("PING_INTERVAL", "5s")]
    } else {
        [("LEASE_TTL", "2s"), ("PING_INTERVAL", "500ms")]
    }
}

async fn push(scene: &Scene, count: i32) -> Vec<i32> {
    let jobs = scene.stack.jobs(count).await;
    for job_id in &jobs {
        let package = with(logo(*job_id), "imageProvider", "blank");
        scene.stack.push(&with(package, "imageSize", "1024x1024")).await;
    }
    jobs
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_replica_had_in_hand_is_done_soon_after_its_lease() {
    let fault = format!(
        "kill -9 of one of three under load, nothing paid, LEASE_TTL {}",
        lease()[0].1
    );
    let mut scene = Scene::new("lease", &fault).await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(scene.stack.replica(&lease()).await);
    }
    for _ in 0..rounds() {
        let before = i64::try_from(scene.tally.images).unwrap();
        let jobs = push(&scene, 60).await;
        scene.stack.done(before + 5).await;
        replicas.remove(0).kill();
        let killed = Instant::now();
        replicas.push(scene.stack.replica(&lease()).await);
        scene.ended(&jobs).await;
        scene.tally.recovered_in(killed.elapsed());
        scene.stack.idle().await;
        scene.tally.count(&scene.stack, &jobs).await;
    }
    scene.all_free();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_taken_for_dead_while_all_cores_are_busy() {
    let time = Duration::from_secs(asked("CHAOS_BUSY_SECONDS").unwrap_or(5));
    let fault = format!("nothing, with all cores busy for {} s", time.as_secs());
    let mut scene = Scene::new("busy", &fault).await;
    let defaults = [("LEASE_TTL", "15s"), ("PING_INTERVAL", "5s")];
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(scene.stack.replica(&defaults).await);
    }
    let ends = Arc::new(AtomicBool::new(false));
    let cores = std::thread::available_parallelism().unwrap().get();
    let busy: Vec<_> = (0..2 * cores)
        .map(|_| {
            let ends = ends.clone();
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let begun = Instant::now();
    let mut jobs = Vec::new();
    while begun.elapsed() < time {
        jobs.extend(push(&scene, 6).await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    ends.store(true, Ordering::Relaxed);
    for thread in busy {
        thread.join().unwrap();
    }
    scene.ended(&jobs).await;
    scene.stack.idle().await;
    scene.tally.count(&scene.stack, &jobs).await;
    for replica in &replicas {
        for line in ["gone without a word", "the lease had run out", "runs no task"] {
            assert_eq!(replica.times_said(line), 0, "{}", replica.log());
        }
    }
    scene.all_free();
}
