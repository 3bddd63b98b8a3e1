//! A package of any size costs nobody anything but the room that it takes in Redis: no replica reads it, and
//! operators find it.

use redis::AsyncCommands;
use serde_json::Value;

use crate::harness::aftermath::key;
use crate::harness::events::Events;
use crate::harness::operator::Operator;
use crate::harness::replica::Replica;
use crate::harness::stack::{Job, QUEUE, Stack, logo};

const MIB: usize = 1024 * 1024;
/// More than a replica may take in all.
const LARGE: usize = 64 * MIB;
const MOST_KIB: u64 = 64 * 1024;

async fn said(stack: &Stack, arguments: &[&str]) -> String {
    let output = stack.command(arguments, &[]).await;
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_would_fill_all_memory_is_set_aside_and_the_innocent_are_drawn() {
    let stack = Stack::start().await;
    // What is drawn takes next to no memory, so that nothing else is measured.
    let replica = stack.replica(&[("IMAGE_PROVIDER", "blank")]).await;
    let idle = stack.push_logos(1).await;
    stack.all_done_once(&idle).await;
    // One lands while the replica waits; the other one comes by a list that it has to look at.
    let mut package = br#"{"type":"collection-image","jobId":1,"prompt":"tell nobody: "#.to_vec();
    package.resize(LARGE, b'x');
    let mut redis = stack.redis().await;
    for list in [QUEUE, &key("high")] {
        let _: i64 = redis.lpush(list, &package).await.unwrap();
    }
    let innocent = stack.jobs(20).await;
    let packages: Vec<String> = innocent.iter().map(|job_id| logo(*job_id).to_string()).collect();
    let _: i64 = redis.lpush(QUEUE, packages).await.unwrap();
    stack.all_done_once(&[idle, innocent].concat()).await;
    let set_aside: i64 = stack.redis().await.llen(key("set-aside")).await.unwrap();
    assert_eq!(set_aside, 2);
    assert!(
        replica.peak_memory_kib() < MOST_KIB,
        "{}",
        replica.peak_memory_kib()
    );
    finds_it(&stack, &replica).await;
    assert!(
        replica.peak_memory_kib() < MOST_KIB,
        "{}",
        replica.peak_memory_kib()
    );
}

/// Everything that an operator looks at shows both.
async fn finds_it(stack: &Stack, replica: &Replica) {
    assert_eq!(
        replica.times_said("larger than MAX_PACKAGE_BYTES and was set aside"),
        2
    );
    let operator = Operator::of(replica).await;
    operator
        .shows(stack, "generative_ai_queue_set_aside_packages", 2.0)
        .await;
    let status = said(stack, &["status"]).await;
    assert!(
        status.contains("set aside  2, larger than MAX_PACKAGE_BYTES"),
        "{status}"
    );
    let status: Value = serde_json::from_str(&said(stack, &["status", "--json"]).await).unwrap();
    assert_eq!(status["redis"]["setAside"], 2);
    let doctor = said(stack, &["doctor", "--offline"]).await;
    assert!(
        doctor.contains("2 packages are larger than MAX_PACKAGE_BYTES"),
        "{doctor}"
    );
    let list = said(stack, &["dead", "list"]).await;
    assert_eq!(list.matches(&LARGE.to_string()).count(), 2, "{list}");
    assert!(
        list.contains(r#""prompt":"•••""#) && !list.contains("nobody"),
        "{list}"
    );
    let list: Value = serde_json::from_str(&said(stack, &["dead", "list", "--json"]).await).unwrap();
    assert_eq!(list[1]["setAside"]["bytes"], LARGE);
}

/// Whoever waits for such a job is told, also where the replica has died right after it was set aside.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_package_that_is_too_large_is_told_so() {
    let stack = Stack::start().await;
    let package = |job_id: i32| {
        let package = logo(job_id).to_string();
        let (start, _) = package.split_at(package.len() - 1);
        format!("{start},\"note\":\"{}\"}}", "x".repeat(2_000))
    };
    let jobs = stack.jobs(4).await;
    let by_another = package(jobs[0]);
    let _: i64 = stack
        .redis()
        .await
        .lpush(key("set-aside"), by_another)
        .await
        .unwrap();
    let mut events = Events::of(&stack).await;
    let replica = stack.replica(&[("MAX_PACKAGE_BYTES", "1KiB")]).await;
    let told = |job: Job| {
        let error = job.error.unwrap_or_default();
        let expected =
            "more than this service reads (MAX_PACKAGE_BYTES). Start the job again with a smaller one.";
        assert!(
            error.starts_with("The package has 2") && error.ends_with(expected),
            "{error}"
        );
    };
    told(stack.ended(jobs[0]).await);
    assert_eq!(events.next("failed").await["jobId"], jobs[0]);
    // One that has its picture keeps it.
    stack.push(&logo(jobs[1])).await;
    let drawn = stack.ended(jobs[1]).await;
    for job_id in [jobs[1], jobs[2]] {
        stack.push_raw(package(job_id).as_bytes()).await;
    }
    told(stack.ended(jobs[2]).await);
    let event = events.next("failed").await;
    assert_eq!(
        (&event["jobId"], &event["errorClass"]),
        (&jobs[2].into(), &"invalid_package".into())
    );
    assert_eq!(stack.job_row(jobs[1]).await, drawn);
    // Once is enough: what its application makes of it stays.
    let clear = "UPDATE ac_background_jobs SET error = NULL WHERE id = $1";
    stack.sql(clear, &[&jobs[2]]).await;
    stack.push_raw(package(jobs[3]).as_bytes()).await;
    told(stack.ended(jobs[3]).await);
    assert_eq!(stack.job_row(jobs[2]).await.error, None);
    assert_eq!(replica.times_said("was set aside"), 3);
    let list = said(&stack, &["dead", "list"]).await;
    assert!(list.contains(&format!("  {}  {{", jobs[3])), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_aside_is_exported_to_the_byte_and_stays() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[("MAX_PACKAGE_BYTES", "1KiB")]).await;
    let text = format!("{{\"prompt\":\"{}\"}}", "ü".repeat(600));
    let bytes = vec![0xff; 2000];
    stack.push_raw(text.as_bytes()).await;
    stack.push_raw(&bytes).await;
    let jobs = stack.jobs(1).await;
    stack.push(&logo(jobs[0])).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(replica.times_said("was set aside"), 2);
    let export = said(&stack, &["dead", "export"]).await;
    let lines: Vec<Value> = export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{export}");
    assert_eq!(
        (&lines[0]["payload"], &lines[0]["payloadBytes"]),
        (&text.into(), &1213.into())
    );
    assert_eq!(lines[1]["payloadBytes"], 2000);
    assert!(lines[1]["payloadBase64"].as_str().unwrap().starts_with("////"));
    // Nothing is known of them to choose by.
    assert_eq!(said(&stack, &["dead", "export", "--class", "timeout"]).await, "");
    let kept: Vec<Vec<u8>> = stack.redis().await.lrange(key("set-aside"), 0, -1).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0], bytes);
}
