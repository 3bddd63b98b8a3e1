//! Connections that are cut, stall, crawl or go silent lose nothing, whichever of them it is.

use std::time::Duration;

use tokio::time::Instant;

use super::Scene;
use super::tally::rounds;
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::replica::Replica;

/// The ways of one replica to Redis, Postgres and the image service.
struct Ways {
    redis: Proxy,
    postgres: Proxy,
    openai: Proxy,
}

impl Ways {
    async fn of(scene: &Scene) -> Self {
        Self {
            redis: Proxy::to(scene.stack.redis.port()).await,
            postgres: Proxy::to(scene.stack.postgres.port()).await,
            openai: Proxy::to(scene.openai.port()).await,
        }
    }

    /// A replica that reaches everything over these ways.
    async fn replica(&self, scene: &Scene) -> Replica {
        let over = |url: String, from: u16, to: u16| url.replace(&format!(":{from}"), &format!(":{to}"));
        let (stack, openai) = (&scene.stack, &scene.openai);
        let redis = over(stack.redis.url(), stack.redis.port(), self.redis.port);
        let postgres = over(
            stack.postgres.url("postgres"),
            stack.postgres.port(),
            self.postgres.port,
        );
        let base = format!("http://127.0.0.1:{}/v1", self.openai.port);
        let variables = [
            ("REDIS_URL", redis.as_str()),
            ("DATABASE_URL", postgres.as_str()),
            ("OPENAI_BASE_URL", base.as_str()),
            ("JOB_TIMEOUT", "4s"),
            ("WORKER_CONCURRENCY", "3"),
        ];
        stack.replica_of(openai, &variables).await
    }

    fn all(&self) -> [&Proxy; 3] {
        [&self.redis, &self.postgres, &self.openai]
    }
}

/// Lets the weather be bad on one way after the other, on one replica after the other, under load.
async fn weathers(row: &str, fault: &str, turn: impl AsyncFn(&Proxy)) {
    let mut scene = Scene::new(row, fault).await;
    for _ in 0..rounds() {
        let ways = [Ways::of(&scene).await, Ways::of(&scene).await];
        let mut replicas = [ways[0].replica(&scene).await, ways[1].replica(&scene).await];
        let begun = Instant::now();
        let mut jobs = Vec::new();
        for way in 0..3 {
            for ways in &ways {
                jobs.extend(scene.stack.push_logos(8).await);
                tokio::time::sleep(Duration::from_millis(100)).await;
                turn(ways.all()[way]).await;
            }
        }
        scene.ended(&jobs).await;
        scene.tally.recovered_in(begun.elapsed());
        scene.stack.idle().await;
        for replica in &mut replicas {
            replica.terminate();
            assert!(replica.exit().await.success(), "{}", replica.log());
        }
        scene.tally.count(&scene.stack, &jobs).await;
    }
    scene.tally.bills = scene.openai.bills();
    scene.tally.due = scene.tally.packages;
    scene.tally.keep();
    assert_eq!(scene.tally.lost(), 0, "{:?}", scene.tally);
    // An answer that never arrives is one that nobody knows the outcome of.
    let unknown = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'unknown'";
    let unknown = usize::try_from(scene.stack.count(unknown).await).unwrap();
    assert!(
        scene.tally.double_bills() <= unknown,
        "{unknown} unknown: {:?}",
        scene.tally
    );
    let failed =
        "SELECT count(*) FROM generative_ai.jobs WHERE state = 'dead' AND error_class = 'unknown_outcome'";
    let failed = usize::try_from(scene.stack.count(failed).await).unwrap();
    assert_eq!(
        scene.tally.images + failed,
        scene.tally.packages,
        "{:?}",
        scene.tally
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_lose_nothing() {
    weathers("net-1", "each connection is cut for a second", async |proxy| {
        proxy.set(Weather::Cut);
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.set(Weather::Fair);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_stall_lose_nothing() {
    weathers(
        "net-2",
        "each connection stalls for three seconds",
        async |proxy| {
            proxy.set(Weather::Stall);
            tokio::time::sleep(Duration::from_secs(3)).await;
            proxy.set(Weather::Fair);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_crawl_lose_nothing() {
    weathers(
        "net-3",
        "each connection is slow for two seconds",
        async |proxy| {
            proxy.set(Weather::Slow(Duration::from_millis(120)));
            tokio::time::sleep(Duration::from_secs(2)).await;
            proxy.set(Weather::Fair);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_go_silent_lose_nothing() {
    weathers("net-4", "each connection goes silent for ever", async |proxy| {
        proxy.half_open();
        tokio::time::sleep(Duration::from_millis(500)).await;
    })
    .await;
}
