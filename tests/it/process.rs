//! What is around the process: who reads its log, and what the system gives it.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::harness::replica::program;
use crate::harness::stack::{Stack, logo};

/// A worker whose standard error is a pipe that this test holds. Killed when dropped.
struct Piped(Child);

impl Piped {
    fn start(stack: &Stack, variables: &[(&str, &str)]) -> Self {
        let mut environment: BTreeMap<String, String> = stack.environment();
        for (name, value) in variables {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        let process = Command::new(program())
            .arg("run")
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(process)
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Packages that each cost a line of the log and nothing else.
async fn push_broken(stack: &Stack, count: usize) {
    let packages = vec!["this is no package at all"; count];
    let mut redis = stack.redis().await;
    let _: i64 = redis::AsyncCommands::lpush(&mut redis, "generative-ai", packages)
        .await
        .unwrap();
    stack.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nobody_and_says_later_how_much_is_missing() {
    let stack = Stack::start().await;
    let mut replica = Piped::start(&stack, &[("WORKER_CONCURRENCY", "50")]);
    // A pipe holds 64 KiB, and 8,192 lines wait in memory.
    for _ in 0..10 {
        push_broken(&stack, 1_000).await;
    }
    let jobs = stack.push_logos(20).await;
    stack.each_done_once(&jobs).await;
    stack.until_key("ping", true).await;
    // Read now, it goes on, and says what is missing.
    let mut log = replica.0.stderr.take().unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        let mut piece = [0; 65_536];
        while !said.contains("lines of this log were dropped") {
            let length = log.read(&mut piece).unwrap();
            assert_ne!(length, 0, "the log ended: {said}");
            said.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        (log, said)
    });
    let job = stack.job().await;
    stack.push(&logo(job)).await;
    let (_log, said) = tokio::time::timeout(crate::harness::stack::PATIENCE, reading)
        .await
        .unwrap()
        .unwrap();
    assert!(said.contains("waiting for packages"), "{said}");
    stack.each_done_once(&[job]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_reader_is_gone_stops_nobody_and_what_is_lost_is_counted() {
    let stack = Stack::start().await;
    let port = crate::harness::authority::free_port();
    let address = format!("127.0.0.1:{port}");
    let mut replica = Piped::start(&stack, &[("HTTP_ADDR", &address)]);
    drop(replica.0.stderr.take());
    let jobs = stack.push_logos(5).await;
    stack.each_done_once(&jobs).await;
    push_broken(&stack, 5).await;
    stack.until_key("ping", true).await;
    crate::harness::use_ring();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = client
        .get(format!("http://{address}/metrics"))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let dropped = metrics
        .lines()
        .find_map(|line| line.strip_prefix("generative_ai_dropped_log_lines_total "))
        .unwrap();
    assert!(dropped.parse::<u64>().unwrap() >= 10, "{dropped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_keeps_its_status_where_nobody_reads_why() {
    let stack = Stack::start_without_tables().await;
    let mut replica = Piped::start(&stack, &[("REDIS_URL", "redis://127.0.0.1:1")]);
    drop(replica.0.stderr.take());
    let ended = tokio::task::spawn_blocking(move || replica.0.wait().unwrap());
    let status = tokio::time::timeout(crate::harness::stack::PATIENCE, ended)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(69));
}

/// A worker that a shell has prepared: `before` stands before its program.
fn prepared(stack: &Stack, before: &str, variables: &[(&str, &str)]) -> Child {
    let mut environment: BTreeMap<String, String> = stack.environment();
    for (name, value) in variables {
        environment.insert((*name).to_owned(), (*value).to_owned());
    }
    let script = format!("{before}; exec \"$0\" run");
    Command::new("/bin/sh")
        .args(["-c", &script])
        .arg(program())
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(stack.path("prepared.log")).unwrap())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_surroundings_change_nothing() {
    let stack = Stack::start().await;
    for before in [
        "ulimit -n 200",
        "export TZ=Mars/Olympus LC_ALL=C LANG=xx_YY HOME=/nonexistent; cd /; umask 077",
        "unset PATH",
    ] {
        let mut replica = Piped(prepared(&stack, before, &[]));
        let jobs = stack.push_logos(3).await;
        stack.each_done_once(&jobs).await;
        let pid = rustix::process::Pid::from_raw(replica.0.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(replica.0.wait().unwrap().success(), "{before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_files_are_warned_of() {
    let stack = Stack::start().await;
    let _replica = Piped(prepared(&stack, "ulimit -n 100", &[("WORKER_CONCURRENCY", "50")]));
    let log = stack.path("prepared.log");
    stack
        .until("it is warned of", async || {
            let said = std::fs::read_to_string(&log).unwrap();
            said.contains("this process may open 100 files and connections")
                .then_some(())
        })
        .await;
    let jobs = stack.push_logos(20).await;
    stack.each_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nohup_has_it_ignore_stays_ignored() {
    let stack = Stack::start().await;
    let mut replica = Piped(prepared(&stack, "trap '' HUP", &[]));
    let jobs = stack.push_logos(1).await;
    stack.each_done_once(&jobs).await;
    let pid = rustix::process::Pid::from_raw(replica.0.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let jobs = stack.push_logos(1).await;
    stack.each_done_once(&jobs).await;
    assert_eq!(replica.0.try_wait().unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_the_start_is_heeded() {
    let stack = Stack::start_without_tables().await;
    stack.redis.pause().unwrap();
    let mut replica = Piped(prepared(&stack, ":", &[]));
    let pid = rustix::process::Pid::from_raw(replica.0.id().cast_signed()).unwrap();
    let catches = |status: &str| {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 14) != 0
    };
    stack
        .until("it watches SIGTERM", async || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", replica.0.id())).unwrap();
            catches(&status).then_some(())
        })
        .await;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || replica.0.wait().unwrap());
    let status = tokio::time::timeout(crate::harness::stack::PATIENCE, ended)
        .await
        .unwrap()
        .unwrap();
    stack.redis.resume().unwrap();
    assert_eq!(status.code(), Some(0));
}
