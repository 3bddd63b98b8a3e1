//! Redis or Postgres loses what it had confirmed.

use tokio::time::Instant;

use super::tally::rounds;
use super::{JOB_TIMEOUT, OFTEN, PACKAGES, Scene};
use crate::harness::stack::{Stack, logo};
use crate::harness::standby::Standby;

#[tokio::test(flavor = "multi_thread")]
async fn row_17_redis_forgets_what_was_taken() {
    let mut scene = Scene::new("17", "Redis comes back as it was before the packages were taken").await;
    for _ in 0..rounds() {
        let jobs = scene.stack.push_logos(PACKAGES).await;
        let mut redis = scene.stack.redis().await;
        // What it has on disk from now on is what it comes back with.
        let _: () = redis::cmd("CONFIG")
            .arg(&["SET", "appendonly", "no"])
            .query_async(&mut redis)
            .await
            .unwrap();
        let mut replica = scene.stack.replica_of(&scene.openai, &[JOB_TIMEOUT]).await;
        scene
            .stack
            .done((scene.tally.images + 1).try_into().unwrap())
            .await;
        scene.stack.redis.kill();
        let killed = Instant::now();
        scene.stack.redis.restart().unwrap();
        scene.ended(&jobs).await;
        scene.tally.recovered_in(killed.elapsed());
        scene.stack.idle().await;
        replica.terminate();
        assert!(replica.exit().await.success(), "{}", replica.log());
        scene.tally.count(&scene.stack, &jobs).await;
    }
    scene.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_18_redis_forgets_everything() {
    let mut scene = Scene::new("18", "Redis loses everything").await;
    for _ in 0..rounds() {
        // They wait when it starts, so that they are begun together, and it dies before the first of them is paid for.
        let jobs = scene.stack.push_logos(PACKAGES).await;
        let victim = scene.victim("begun:1").await;
        let died = scene.died(victim).await;
        let begun: Vec<i32> = scene
            .stack
            .sql(
                "SELECT job_id FROM generative_ai.jobs WHERE state <> 'done' AND job_id = ANY($1)",
                &[&jobs],
            )
            .await
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert!(!begun.is_empty());
        let mut redis = scene.stack.redis().await;
        let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
        // What had not begun is known to its producer alone.
        let lost: Vec<i32> = jobs.iter().copied().filter(|job| !begun.contains(job)).collect();
        for job_id in lost {
            scene.stack.push(&logo(job_id)).await;
        }
        scene.others_finish(&jobs, died).await;
    }
    scene.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_19_postgres_loses_its_last_commit() {
    let mut scene = Scene::new("19", "Postgres comes back without its last commits").await;
    for round in 0..rounds() {
        let jobs = scene.stack.push_logos(1).await;
        let victim = scene.victim("stored:1").await;
        scene.died(victim).await;
        let older = format!("older-{round}");
        scene.stack.copy_postgres(&older);
        let victim = scene.victim("recorded:1").await;
        let died = scene.died(victim).await;
        scene.stack.restore_postgres(&older);
        scene.others_finish(&jobs, died).await;
    }
    scene.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_19b_a_standby_takes_over_without_the_last_commits() {
    let mut scene = Scene::new(
        "19b",
        "a standby of Postgres takes over that lacks how the jobs ended",
    )
    .await;
    for _ in 0..rounds() {
        scene.stack = Stack::start().await;
        let before = scene.openai.calls().len();
        let standby = Standby::of(&mut scene.stack).await;
        let url = standby.url(&scene.stack);
        let variables = [("DATABASE_URL", url.as_str()), OFTEN, JOB_TIMEOUT];
        scene.openai.close();
        let mut replica = scene.stack.replica_of(&scene.openai, &variables).await;
        let jobs = scene.stack.push_logos(PACKAGES).await;
        scene
            .openai
            .called(before + usize::try_from(PACKAGES).unwrap())
            .await;
        standby.cut_off(&scene.stack).await;
        scene.openai.open();
        scene.ended(&jobs).await;
        scene.stack.idle().await;
        let _address = standby.take_over(&mut scene.stack).await;
        let failed_over = Instant::now();
        scene.ended(&jobs).await;
        scene.tally.recovered_in(failed_over.elapsed());
        scene.stack.idle().await;
        replica.terminate();
        assert!(replica.exit().await.success(), "{}", replica.log());
        scene.tally.count(&scene.stack, &jobs).await;
    }
    scene.all_drawn(0);
}
