//! A load during which replicas are killed all the time, and both servers more than once.

use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use redis::AsyncCommands;
use tokio::time::Instant;

use super::tally::asked;
use super::{JOB_TIMEOUT, Scene};
use crate::harness::replica::Replica;
use crate::harness::stack::{QUEUE, logo, with};

/// Packages of the load. `make chaos` asks for many.
fn packages() -> i32 {
    asked("CHAOS_STORM").map_or(600, |count| i32::try_from(count).unwrap())
}

/// Longer than the largest load takes.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// Every so many packages are for a provider that costs money.
const PAID: i32 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_kills_loses_no_package() {
    let count = packages();
    let fault = format!("{count} packages, a replica killed each second, Redis and Postgres killed twice");
    let mut scene = Scene::new("storm", &fault).await;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let jobs = push(&scene, count).await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(start(&scene));
    }
    let begun = Instant::now();
    let mut outages = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ended = "SELECT count(*) FROM ac_background_jobs WHERE progress = 100 OR error IS NOT NULL";
        let ended = i32::try_from(scene.stack.count(ended).await).unwrap();
        if ended == count {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{ended} of {count} jobs have ended");
        // The four outages come at a fifth, two fifths, … of the load, whether or not it is through by then.
        if ended * 5 > count * (outages + 1) && outages < 4 {
            outages += 1;
            if outages % 2 == 1 {
                scene.stack.redis.kill();
                tokio::time::sleep(Duration::from_millis(500)).await;
                scene.stack.redis.restart().unwrap();
            } else {
                scene.stack.postgres.kill();
                tokio::time::sleep(Duration::from_millis(500)).await;
                scene.stack.postgres.restart().unwrap();
            }
        }
        let unlucky = random.random_range(0..replicas.len());
        replicas.swap_remove(unlucky).kill();
        replicas.push(start(&scene));
    }
    scene.tally.recovered_in(begun.elapsed());
    scene.stack.idle().await;
    scene.tally.count(&scene.stack, &jobs).await;
    scene.tally.bills = scene.openai.bills();
    scene.tally.due = jobs.iter().filter(|job| **job % PAID == 0).count();
    scene.tally.keep();
    assert_eq!(scene.tally.lost(), 0, "{:?}", scene.tally);
    // Killed in the middle of a paid call twice, or three times in all, a job ends with a reason instead.
    let failed = "SELECT count(*) FROM generative_ai.jobs WHERE state = 'dead' AND error_class IN ('unknown_outcome', 'poison')";
    let failed = usize::try_from(scene.stack.count(failed).await).unwrap();
    assert_eq!(
        scene.tally.images + failed,
        scene.tally.packages,
        "{:?}",
        scene.tally
    );
    let unknown = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'unknown'";
    let unknown = usize::try_from(scene.stack.count(unknown).await).unwrap();
    assert!(scene.tally.double_bills() <= unknown, "{:?}", scene.tally);
}

fn start(scene: &Scene) -> Replica {
    let own = scene.openai.variables();
    let mut variables: Vec<(&str, &str)> = own
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    variables.push(JOB_TIMEOUT);
    scene.stack.starting_replica(&variables)
}

async fn push(scene: &Scene, count: i32) -> Vec<i32> {
    let jobs = scene.stack.jobs(count).await;
    let packages: Vec<String> = jobs
        .iter()
        .map(|job_id| match job_id % PAID {
            0 => logo(*job_id),
            _ => with(logo(*job_id), "imageProvider", "blank"),
        })
        .map(|package| package.to_string())
        .collect();
    for some in packages.chunks(1000) {
        let _: i64 = scene.stack.redis().await.lpush(QUEUE, some).await.unwrap();
    }
    jobs
}
