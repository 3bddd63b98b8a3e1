//! Random trouble beside healthy jobs: whatever Postgres says of some rows, whoever has locked others, however large, broken or
//! frequent packages are, it stays with the jobs that it is about.

mod bench;
mod kinds;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::bench::Bench;
use crate::harness::load::POSTGRES_GONE;
use crate::harness::stack::{logo, with};

/// Beside trouble, healthy jobs may take so many times as long as without any.
const SLOWER: f64 = 3.0;
/// So often a side is measured before it counts as slow: a machine that others use makes no fault.
const TRIES: u64 = 3;

/// Of another run when `TROUBLE_SEED` is set, which a failure names.
#[expect(
    clippy::disallowed_methods,
    reason = "it is asked of the tests, not of the worker"
)]
fn seed() -> u64 {
    let given = std::env::var("TROUBLE_SEED").ok();
    given.map_or_else(|| rand::rng().random(), |seed| seed.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_some_jobs_the_others_take_no_more_than_three_times_as_long() {
    let bench = Bench::start("8").await;
    let mut undisturbed = bench.undisturbed().await.min(bench.undisturbed().await);
    eprintln!("{undisturbed:?} alone");
    let seed = seed();
    eprintln!("TROUBLE_SEED={seed}");
    for round in 0..2 {
        let mut disturbed = Duration::MAX;
        for _ in 0..TRIES {
            let rng = &mut StdRng::seed_from_u64(seed.wrapping_add(round));
            disturbed = disturbed.min(bench.disturbed(rng).await);
            if disturbed <= undisturbed.mul_f64(SLOWER) {
                break;
            }
            undisturbed = undisturbed.min(bench.undisturbed().await);
        }
        assert!(
            disturbed <= undisturbed.mul_f64(SLOWER),
            "TROUBLE_SEED={seed}: {undisturbed:?} alone, {disturbed:?} beside trouble"
        );
    }
}

/// A trigger that says so, and what.
const PASSING: [(&str, &str); 4] = [
    ("40001", "could not serialize access due to concurrent update"),
    ("40P01", "deadlock detected"),
    ("25006", "cannot execute UPDATE in a read-only transaction"),
    ("55P03", "canceling statement due to lock timeout"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_says_that_it_passes_waits_alone_until_it_does() {
    let bench = Bench::start("4").await;
    let jobs = bench.jobs(PASSING.len() * 5).await;
    let mut packages = Vec::new();
    for (job_id, (code, said)) in jobs.iter().zip(PASSING.iter().cycle()) {
        let insert = "INSERT INTO faults VALUES ($1, 'end', $2, $3)";
        bench.sql.execute(insert, &[job_id, code, said]).await.unwrap();
        packages.push(with(logo(*job_id), "userId", *job_id).to_string());
    }
    let others = bench.jobs(100).await;
    packages.extend(others.iter().map(|id| with(logo(*id), "userId", *id).to_string()));
    bench.time_of(&packages, &others).await;
    assert_eq!(
        bench.count_of("progress = 100 OR error IS NOT NULL", &jobs).await,
        0,
        "they wait"
    );
    bench.sql.execute("DELETE FROM faults", &[]).await.unwrap();
    let all = [jobs, others].concat();
    bench.stack.all_done_once(&all).await;
    assert_eq!(bench.openai.bills(), all.len());
    for replica in &bench.replicas {
        assert_eq!(replica.times_said(POSTGRES_GONE), 0, "{}", replica.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_of_a_dead_job_whose_row_takes_no_reason_make_no_letters_of_their_own() {
    let bench = Bench::start("4").await;
    let jobs = bench.jobs(2).await;
    for job_id in &jobs {
        let insert = "INSERT INTO faults VALUES ($1, 'row', 'P0001', 'the tenant is closed')";
        bench.sql.execute(insert, &[job_id]).await.unwrap();
        bench.push(&[logo(*job_id).to_string()]).await;
    }
    bench
        .stack
        .until("both are dead", async || {
            (bench.letters().await.len() == 2).then_some(())
        })
        .await;
    for _ in 0..3 {
        for job_id in &jobs {
            bench.push(&[logo(*job_id).to_string()]).await;
        }
        bench.stack.idle().await;
    }
    assert_eq!(bench.letters().await.len(), 2);
    let rows = bench
        .stack
        .count("SELECT count(*) FROM generative_ai.dead_packages")
        .await;
    assert_eq!((rows, bench.openai.bills()), (2, 2));
}
