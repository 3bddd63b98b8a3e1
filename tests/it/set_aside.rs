//! A package of any size costs nobody anything but the room that it takes in Redis: no replica reads it, and
//! operators find it.

use redis::AsyncCommands;
use serde_json::Value;

use crate::harness::aftermath::key;
use crate::harness::operator::Operator;
use crate::harness::replica::Replica;
use crate::harness::stack::{QUEUE, Stack, logo};

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
    let list: Value = serde_json::from_str(&said(stack, &["dead", "list", "--json"]).await).unwrap();
    assert_eq!(list[1]["setAside"]["bytes"], LARGE);
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
