//! What a job and an icon cost in instructions of the processor: a figure that other load on the machine does not change, so that a
//! test can hold on to it where a time could not be asserted.
//!
//! The program that the tests are built with is not what is shipped (most libraries in it are not optimised), so the figures are good
//! for nothing but to be compared with themselves: what is done twice is counted twice in both. With `WORKER_PROGRAM` the figures of
//! another program are printed, and compared with nothing.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::ops::Range;
use std::time::Duration;

use serde_json::Value;

use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::picture::{photo, png};
use crate::harness::replica::program;
use crate::harness::stack::{Stack, icon, logo};

/// Thousands of instructions for a job whose picture is kept as it came. A change on purpose writes the new figure here. Runs differ
/// by 2 %: how often a worker looks for what to do depends on the time.
const A_JOB: (f64, Range<f64>) = (4_608.0, 0.94..1.06);
/// The same for an icon of 400×400, made of a PNG of 1024×1024. Runs differ by 0.2 %, compilers by more.
const AN_ICON: (f64, Range<f64>) = (353_600.0, 0.96..1.04);

/// All instructions, in thousands, of a worker that does these jobs and stops.
async fn instructions(stack: &Stack, openai: &OpenAi, count: i32, package: impl Fn(i32) -> Value) -> f64 {
    let [key, base, provider] = openai.variables();
    let mut variables = vec![
        ("WORKER_CONCURRENCY", "1"),
        ("STORAGE_URL", "memory://"),
        ("RUST_LOG", "warn,generative_ai_worker::worker::lifecycle=info"),
        // Under Valgrind a worker does in a minute what it otherwise does in a second.
        ("LEASE_TTL", "60s"),
        ("PING_INTERVAL", "60s"),
        // The worker does not start itself again with a setting of the allocator, which Valgrind would lose sight of.
        ("GLIBC_TUNABLES", "glibc.malloc.check=0"),
    ];
    variables.extend([&key, &base, &provider].map(|(name, value)| (name.as_str(), value.as_str())));
    for job in stack.jobs(count).await {
        stack.push(&package(job)).await;
    }
    let counts = stack.path("counts");
    let valgrind = [
        "/usr/bin/valgrind",
        "--tool=callgrind",
        &format!("--callgrind-out-file={}", counts.display()),
    ];
    let mut replica = stack.starting_replica_under(&valgrind, &variables);
    let drawn = "SELECT count(*) FROM ac_background_jobs WHERE progress = 100";
    let all = stack.count("SELECT count(*) FROM ac_background_jobs").await;
    // Valgrind on a busy machine is slower than anything that tests wait for elsewhere; the runner bounds it.
    while stack.count(drawn).await < all {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    replica.terminate();
    assert!(replica.exit().await.success(), "{}", replica.log());
    let log = replica.log();
    let collected = log.lines().find_map(|line| line.split_once("Collected : "));
    let (_, collected) = collected.unwrap_or_else(|| panic!("Valgrind has counted nothing:\n{log}"));
    collected.trim().parse::<f64>().unwrap() / 1_000.0
}

fn compare(what: &str, found: f64, (written, tolerance): (f64, Range<f64>)) {
    println!("{what}: {found:.0} thousand instructions");
    if program() != env!("CARGO_BIN_EXE_generative-ai-worker") {
        return;
    }
    assert!(
        tolerance.contains(&(found / written)),
        "{what} costs {found:.0} thousand instructions; {written:.0} are written in this file. Where that is on purpose, write the new \
         figure"
    );
}

/// Starting and stopping cost much more than a job, so two runs tell what a job costs, and a third with some icons what these do.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_and_an_icon_cost_no_more_than_before() {
    const FEW: i32 = 10;
    const MANY: i32 = 70;
    const ICONS: i32 = 3;
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let of_few = instructions(&stack, &openai, FEW, logo).await;
    let of_many = instructions(&stack, &openai, MANY, logo).await;
    let a_job = (of_many - of_few) / f64::from(MANY - FEW);
    compare("a job", a_job, A_JOB);
    let openai = OpenAi::start(Reply::Picture(png(&photo(1_024, 1_024)).into())).await;
    let of_icons = instructions(&stack, &openai, ICONS, icon).await;
    let start = of_few - f64::from(FEW) * a_job;
    compare("an icon", (of_icons - start) / f64::from(ICONS), AN_ICON);
}
