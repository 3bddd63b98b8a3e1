//! A replica dies at every step that a package takes: none is lost, and none is paid for twice.
//!
//! Each test is a row of the table in `docs/guarantees.md`. The replica that is to die is alone until it has died;
//! then two others find what it has left.

mod goes_on;
mod leases;
mod losses;
mod network;
mod polled;
mod storm;
pub(crate) mod tally;

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use redis::AsyncCommands;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::aftermath::key;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::replica::Replica;
use crate::harness::stack::{Stack, logo, with};
use tally::{Tally, rounds};

/// Packages of a round.
const PACKAGES: i32 = 6;
/// How long a call may take, and so how long others wait for a call of a replica that is gone.
const JOB_TIMEOUT: (&str, &str) = ("JOB_TIMEOUT", "2s");
/// The queue is compared with the ledger all the time, which is to double nothing, whatever the row.
const OFTEN: (&str, &str) = ("RECONCILE_INTERVAL", "1s");
/// The signal of a process that aborts.
const SIGABRT: i32 = 6;

/// Servers, an image service that counts what it is asked for, and the counts of one row.
struct Scene {
    stack: Stack,
    openai: OpenAi,
    tally: Tally,
}

impl Scene {
    async fn new(row: &str, fault: &str) -> Self {
        let openai = OpenAi::start(small_picture()).await;
        openai.delay(Duration::from_millis(50));
        Self {
            stack: Stack::start().await,
            openai,
            tally: Tally::of(row, fault),
        }
    }

    async fn victim(&self, fault_point: &str) -> Replica {
        self.stack
            .replica_of(&self.openai, &[("FAULT_POINT", fault_point), JOB_TIMEOUT])
            .await
    }

    /// Waits until the victim has died at its fault point.
    async fn died(&self, mut victim: Replica) -> Instant {
        assert_eq!(
            victim.exit().await.signal(),
            Some(SIGABRT),
            "it dies where it was told to"
        );
        Instant::now()
    }

    /// Two others find what was left, and stop when nothing is left to do.
    async fn others_finish(&mut self, jobs: &[i32], since: Instant) {
        let mut others = [
            self.stack.replica_of(&self.openai, &[JOB_TIMEOUT, OFTEN]).await,
            self.stack.replica_of(&self.openai, &[JOB_TIMEOUT, OFTEN]).await,
        ];
        self.ended(jobs).await;
        self.tally.recovered_in(since.elapsed());
        self.stack.idle().await;
        for other in &others {
            other.terminate();
        }
        for other in &mut others {
            assert!(other.exit().await.success(), "{}", other.log());
        }
        self.tally.count(&self.stack, jobs).await;
    }

    async fn ended(&self, jobs: &[i32]) {
        let open =
            "SELECT count(*) FROM ac_background_jobs WHERE id = ANY($1) AND progress < 100 AND error IS NULL";
        self.stack
            .until("all jobs have ended", async || {
                let open: i64 = self.stack.sql(open, &[&jobs]).await[0].get(0);
                (open == 0).then_some(())
            })
            .await;
    }

    /// The counts of a row in which every job gets its picture, and pays for it `due` times.
    fn all_drawn(mut self, paid_twice: usize) {
        self.tally.due = self.tally.packages;
        self.tally.bills = self.openai.bills();
        self.tally.keep();
        let Tally {
            packages,
            ended,
            images,
            ..
        } = self.tally;
        assert_eq!((ended, images), (packages, packages), "{:?}", self.tally);
        assert_eq!(self.tally.double_bills(), paid_twice, "{:?}", self.tally);
    }
}

impl Scene {
    /// The counts of a row in which every job gets its picture for nothing.
    fn all_free(self) {
        self.tally.keep();
        let Tally {
            packages,
            ended,
            images,
            ..
        } = self.tally;
        assert_eq!((ended, images), (packages, packages), "{:?}", self.tally);
    }
}

/// Plants one fault after the other, with so many packages in the hands of the replica that dies.
async fn dies_at(row: &str, point: &str, packages: i32) -> Scene {
    let mut scene = Scene::new(row, &format!("dies right after `{point}`")).await;
    for _ in 0..rounds() {
        let victim = scene.victim(&format!("{point}:1")).await;
        scene.stack.awaited().await;
        let jobs = scene.stack.push_logos(packages).await;
        let died = scene.died(victim).await;
        scene.others_finish(&jobs, died).await;
    }
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn row_01_a_reply_that_is_lost_loses_no_package() {
    let mut scene = Scene::new("01", "the reply to BLMOVE is lost, the replica lives").await;
    let replica = scene.stack.replica_of(&scene.openai, &[JOB_TIMEOUT]).await;
    let landing = key(&format!("landing:{}", replica.worker_id()));
    for _ in 0..rounds() {
        let jobs = scene.stack.jobs(PACKAGES).await;
        let mut redis = scene.stack.redis().await;
        for job_id in &jobs {
            let _: i64 = redis.lpush(&landing, logo(*job_id).to_string()).await.unwrap();
        }
        let lost = Instant::now();
        scene.ended(&jobs).await;
        scene.tally.recovered_in(lost.elapsed());
        scene.stack.idle().await;
        scene.tally.count(&scene.stack, &jobs).await;
    }
    scene.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_02_landed() {
    dies_at("02", "landed", PACKAGES).await.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_03_adopted() {
    dies_at("03", "adopted", PACKAGES).await.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_04_begun() {
    dies_at("04", "begun", 1).await.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_05_intended() {
    dies_at("05", "intended", 1).await.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_08_a_sync_provider_is_working() {
    let mut scene = Scene::new("08", "dies while a provider that has no ids draws").await;
    for _ in 0..rounds() {
        let before = scene.openai.calls().len();
        scene.openai.close();
        let mut victim = scene.victim("").await;
        let jobs = scene.stack.push_logos(PACKAGES).await;
        scene
            .openai
            .called(before + usize::try_from(PACKAGES).unwrap())
            .await;
        victim.kill();
        let died = Instant::now();
        scene.openai.open();
        scene.others_finish(&jobs, died).await;
    }
    // The one window that is left: each was bought again, once, and the ledger says so.
    let unknown = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'unknown'";
    let packages = scene.tally.packages;
    assert_eq!(
        usize::try_from(scene.stack.count(unknown).await).unwrap(),
        packages
    );
    scene.all_drawn(packages);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_09_drawn() {
    // The same window as row 8: the picture was in the memory that is gone.
    let scene = dies_at("09", "drawn", 1).await;
    let packages = scene.tally.packages;
    scene.all_drawn(packages);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_10_stored() {
    dies_at("10", "stored", 1).await.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_11_recorded() {
    dies_at("11", "recorded", 1).await.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_12_settled() {
    dies_at("12", "settled", 1).await.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_13_retry_committed() {
    let mut scene = Scene::new("13", "dies right after `retry-committed`").await;
    for round in 0..rounds() {
        for _ in 0..PACKAGES {
            let busy = json!({"message": "slow down"});
            scene.openai.then(Reply::Error(429, busy, vec![]));
        }
        let victim = scene.victim(&format!("retry-committed:{}", 1 + round % 6)).await;
        let jobs = scene.stack.push_logos(PACKAGES).await;
        let died = scene.died(victim).await;
        scene.openai.then_as_ever();
        scene.others_finish(&jobs, died).await;
    }
    scene.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_14_dead_committed() {
    let refused =
        json!({"message": "no", "code": "moderation_blocked", "type": "image_generation_user_error"});
    let openai = OpenAi::start(Reply::Error(400, refused, vec![])).await;
    let mut scene = Scene {
        stack: Stack::start().await,
        openai,
        tally: Tally::of("14", "dies right after `dead-committed`"),
    };
    for round in 0..rounds() {
        let victim = scene.victim(&format!("dead-committed:{}", 1 + round % 6)).await;
        let jobs = scene.stack.push_logos(PACKAGES).await;
        let died = scene.died(victim).await;
        scene.others_finish(&jobs, died).await;
    }
    scene.tally.keep();
    let Tally {
        packages,
        ended,
        images,
        ..
    } = scene.tally;
    assert_eq!((ended, images), (packages, 0));
    let kept = "SELECT count(DISTINCT job_id) FROM generative_ai.dead_packages";
    assert_eq!(usize::try_from(scene.stack.count(kept).await).unwrap(), packages);
    assert_eq!(scene.stack.dead_letters().await.len(), packages);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_15_recovering() {
    /// More than two calls of the script move.
    const HELD: i32 = 450;
    let mut scene = Scene::new("15", "dies half-way through recovering another").await;
    for round in 0..rounds() {
        let jobs = scene.stack.jobs(HELD).await;
        let mut redis = scene.stack.redis().await;
        let dead = format!("dead-{round}");
        let processing = key(&format!("processing:{dead}"));
        for (number, job_id) in jobs.iter().enumerate() {
            let package = with(logo(*job_id), "imageProvider", "blank").to_string();
            let _: i64 = redis
                .hset(&processing, format!("{number}.normal"), package)
                .await
                .unwrap();
        }
        let _: i64 = redis.sadd(key("workers"), &dead).await.unwrap();
        let victim = scene.victim(&format!("recovering:{}", 1 + round % 3)).await;
        let died = scene.died(victim).await;
        scene.others_finish(&jobs, died).await;
    }
    assert_eq!(scene.openai.calls().len(), 0);
    scene.all_free();
}

#[tokio::test(flavor = "multi_thread")]
async fn row_15_promoted() {
    let mut scene = Scene::new("15b", "dies right after it let delayed packages wait again").await;
    for _ in 0..rounds() {
        let victim = scene.victim("promoted:1").await;
        let jobs = scene.stack.jobs(PACKAGES).await;
        let soon = chrono::Utc::now() + Duration::from_millis(600);
        for job_id in &jobs {
            scene
                .stack
                .push(&with(logo(*job_id), "notBefore", soon.timestamp_millis()))
                .await;
        }
        let died = scene.died(victim).await;
        scene.others_finish(&jobs, died).await;
    }
    scene.all_drawn(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_frozen_for_longer_than_a_lease() {
    let mut scene = Scene::new("16", "freezes for longer than its lease, then goes on").await;
    for _ in 0..rounds() {
        let before = scene.openai.calls().len();
        scene.openai.close();
        let long = ("JOB_TIMEOUT", "6s");
        let mut frozen = scene.stack.replica_of(&scene.openai, &[long]).await;
        let jobs = scene.stack.push_logos(PACKAGES).await;
        scene
            .openai
            .called(before + usize::try_from(PACKAGES).unwrap())
            .await;
        frozen.freeze();
        let stopped = Instant::now();
        let mut other = scene.stack.replica_of(&scene.openai, &[long]).await;
        other.said("a replica is gone without a word").await;
        scene.openai.open();
        frozen.thaw();
        scene.ended(&jobs).await;
        scene.tally.recovered_in(stopped.elapsed());
        scene.stack.idle().await;
        scene.tally.count(&scene.stack, &jobs).await;
        for replica in [&mut frozen, &mut other] {
            replica.terminate();
            assert!(replica.exit().await.success());
        }
    }
    scene.all_drawn(0);
}
