//! A BullMQ queue is taken over: producers of its versions 5 and 6 stay as they are.

mod elsewhere;

use std::fmt::Write;
use std::time::Duration;

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::node::{node, starting_node};
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::stack::{Stack, logo};
use crate::harness::users::users;

pub(crate) const BULLMQ_QUEUE: &str = "mainYpQueue-process-generative-ai";
const NAME: &str = "process-generative-ai";
pub(crate) const TAKES_OVER: (&str, &str) = ("BULLMQ_QUEUE", BULLMQ_QUEUE);
/// The call of a replica that has died is waited for until it can have no answer any more.
pub(crate) const SHORT: (&str, &str) = ("JOB_TIMEOUT", "3s");
pub(crate) const VERSIONS: [&str; 2] = ["bullmq5", "bullmq"];

/// As the application adds its jobs.
pub(crate) fn as_the_application(data: &Value) -> Value {
    let opts = json!({"priority": 5, "removeOnComplete": true, "removeOnFail": true, "attempts": 1});
    json!({"name": NAME, "data": data, "opts": opts})
}

/// Where the producer has its queue, as it says it.
struct At {
    url: String,
    prefix: &'static str,
}

impl At {
    fn of(stack: &Stack) -> Self {
        Self {
            url: stack.redis.url(),
            prefix: "bull",
        }
    }
}

async fn producer(at: &At, command: &str, version: &str, jobs: &[Value]) -> String {
    let lines = jobs.iter().fold(String::new(), |mut lines, job| {
        writeln!(lines, "{job}").unwrap();
        lines
    });
    let arguments = [command, version, &at.url, BULLMQ_QUEUE, at.prefix];
    node("bullmq.cjs", &arguments, &lines).await
}

pub(crate) async fn add(stack: &Stack, version: &str, jobs: &[Value]) {
    producer(&At::of(stack), "add", version, jobs).await;
}

/// What BullMQ counts, by state, and the last parts of its keys.
async fn counts(at: &At, version: &str) -> (Value, Vec<String>) {
    let said: Value = serde_json::from_str(&producer(at, "counts", version, &[]).await).unwrap();
    let keys = serde_json::from_value(said["keys"].clone()).unwrap();
    (said["counts"].clone(), keys)
}

/// Nothing of a job is left but what BullMQ keeps of every queue.
pub(crate) async fn is_as_bullmq_leaves_it(stack: &Stack, version: &str) {
    is_as_bullmq_leaves_it_at(&At::of(stack), stack, version).await;
}

async fn is_as_bullmq_leaves_it_at(at: &At, stack: &Stack, version: &str) {
    stack
        .until("the BullMQ queue is empty", async || {
            let (counts, _) = counts(at, version).await;
            let is_empty = counts.as_object().unwrap().values().all(|count| count == 0);
            is_empty.then_some(())
        })
        .await;
    let (_, keys) = counts(at, version).await;
    for key in &keys {
        let known = ["events", "id", "marker", "meta", "pc", "stalled-check", "stalled"];
        assert!(
            known.contains(&key.as_str()),
            "{version} leaves no {key}: {keys:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_either_version_become_pictures_byte_for_byte() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[TAKES_OVER]).await;
    for version in VERSIONS {
        let jobs = stack.jobs(3).await;
        // Half an emoji, a number with a fraction of nothing, and an order of fields that no library keeps.
        let odd = format!(
            r#"{{"zulu":1.0,"type":"collection-image","prompt":"A cat \ud83d","jobId":{},"collectionType":"group","collectionId":7}}"#,
            jobs[1]
        );
        let mut adds: Vec<Value> = jobs
            .iter()
            .map(|job_id| as_the_application(&logo(*job_id)))
            .collect();
        adds[2]["opts"] = json!({"delay": 300, "removeOnComplete": true});
        add(&stack, version, &[adds[0].clone(), adds[2].clone()]).await;
        // Written as the library stores it, so that its bytes are these.
        let mut redis = stack.redis().await;
        let base = format!("bull:{BULLMQ_QUEUE}");
        let opts = r#"{"removeOnComplete":true,"attempts":1}"#;
        let _: () = redis
            .hset_multiple(
                format!("{base}:odd-{version}"),
                &[("name", NAME), ("data", &odd), ("opts", opts), ("timestamp", "1")],
            )
            .await
            .unwrap();
        let _: () = redis
            .lpush(format!("{base}:wait"), format!("odd-{version}"))
            .await
            .unwrap();
        let _: () = redis.zadd(format!("{base}:marker"), "0", 0).await.unwrap();
        for job_id in &jobs {
            let job = stack.ended(*job_id).await;
            assert_eq!(job.error, None, "{version}");
        }
        let told = stack.command(&["jobs", "show", &jobs[0].to_string()], &[]).await;
        let told = String::from_utf8(told.stdout).unwrap();
        for part in [
            "\nBullMQ job ",
            &format!(" of {BULLMQ_QUEUE}\n  added "),
            &format!("  named     {NAME}\n"),
        ] {
            assert!(told.contains(part), "{part:?} is missing in {told}");
        }
        is_as_bullmq_leaves_it(&stack, version).await;
    }
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 6);
    assert_eq!(replica.times_said("\"ERROR\""), 0, "{}", replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities_lead_to_the_lists_and_no_more_is_taken_than_there_is_room_for() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let _replica = stack
        .replica_of(&openai, &[TAKES_OVER, ("WORKER_CONCURRENCY", "3")])
        .await;
    let jobs = stack.jobs(20).await;
    let adds: Vec<Value> = jobs
        .iter()
        .map(|job_id| as_the_application(&logo(*job_id)))
        .collect();
    add(&stack, "bullmq5", &adds).await;
    openai.called(3).await;
    // Longer than a look for room takes.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (counts, _) = counts(&At::of(&stack), "bullmq5").await;
    assert_eq!(counts["prioritized"], 17, "{counts}");
    let mut redis = stack.redis().await;
    let waiting: u64 = redis.llen("{generative-ai}:critical").await.unwrap();
    assert_eq!(waiting, 0);
    let status = stack.command(&["status", "--json"], &[TAKES_OVER]).await;
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["bullmq"]["waiting"], 17);
    assert_eq!(status["bullmq"]["queue"], BULLMQ_QUEUE);
    openai.open();
    for job_id in jobs {
        assert_eq!(stack.ended(job_id).await.error, None);
    }
    assert_eq!(openai.bills(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_others_are_left_to_them_and_hold_up_nobody() {
    let stack = Stack::start().await;
    let foreign = json!({"name": "send-email", "data": {"to": "somebody"}, "opts": {}});
    add(&stack, "bullmq5", &[foreign.clone(), foreign.clone()]).await;
    let replica = stack.replica(&[TAKES_OVER]).await;
    replica.said("they are left to others").await;
    let jobs = stack.jobs(4).await;
    let mut adds: Vec<Value> = jobs
        .iter()
        .map(|job_id| as_the_application(&logo(*job_id)))
        .collect();
    adds[1]["opts"] = json!({});
    adds.insert(1, foreign);
    add(&stack, "bullmq", &adds).await;
    for job_id in jobs {
        assert_eq!(stack.ended(job_id).await.error, None);
    }
    let (counts, _) = counts(&At::of(&stack), "bullmq5").await;
    assert_eq!(
        (&counts["waiting"], &counts["failed"]),
        (&json!(3), &json!(0)),
        "{counts}"
    );
}

/// Whoever removes hashes by hand, or a Redis that evicts them, leaves ids in the lists.
#[tokio::test(flavor = "multi_thread")]
async fn ids_whose_jobs_are_gone_hold_up_nobody() {
    let stack = Stack::start().await;
    let mut redis = stack.redis().await;
    let waiting = format!("bull:{BULLMQ_QUEUE}:wait");
    let _: i64 = redis.lpush(&waiting, &["777", "778"]).await.unwrap();
    let jobs = stack.jobs(2).await;
    let adds: Vec<Value> = jobs
        .iter()
        .map(|job_id| {
            let data = logo(*job_id);
            json!({"name": NAME, "data": data, "opts": {"removeOnComplete": true}})
        })
        .collect();
    add(&stack, "bullmq5", &adds).await;
    let replica = stack.replica(&[TAKES_OVER]).await;
    for job_id in jobs {
        assert_eq!(stack.ended(job_id).await.error, None);
    }
    assert_eq!(
        replica.times_said("a BullMQ job was removed from Redis while its id waited"),
        2
    );
    assert_eq!(replica.times_said("\"ERROR\""), 0, "{}", replica.log());
    let (counts, _) = counts(&At::of(&stack), "bullmq5").await;
    assert_eq!(
        (&counts["waiting"], &counts["active"], &counts["failed"]),
        (&json!(0), &json!(0), &json!(2)),
        "{counts}"
    );
    let reason: String = redis
        .hget(format!("bull:{BULLMQ_QUEUE}:777"), "failedReason")
        .await
        .unwrap();
    assert!(reason.contains("only the id of this job was left"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bullmq_has_paused_waits() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[TAKES_OVER]).await;
    for version in VERSIONS {
        producer(&At::of(&stack), "pause", version, &[]).await;
        let job_id = stack.job().await;
        add(&stack, version, &[as_the_application(&logo(job_id))]).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(stack.job_row(job_id).await.progress, Some(5), "{version}");
        producer(&At::of(&stack), "resume", version, &[]).await;
        assert_eq!(stack.ended(job_id).await.error, None, "{version}");
    }
}

/// A replica dies with a job that it has taken, and with one that it has pushed and not completed.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_in_between_nothing_is_lost_and_nothing_is_drawn_twice() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let jobs = stack.jobs(100).await;
    for (version, jobs) in VERSIONS.iter().zip(jobs.chunks(50)) {
        let priorities = [0, 1, 5, 100, 1000, 10_000];
        let adds: Vec<Value> = jobs
            .iter()
            .zip(priorities.iter().cycle())
            .map(|(job_id, priority)| {
                let mut job = as_the_application(&logo(*job_id));
                job["opts"]["priority"] = json!(priority);
                job
            })
            .collect();
        add(&stack, version, &adds).await;
    }
    for point in ["bullmq-taken", "bullmq-kept"] {
        for _ in 0..3 {
            let mut dying = stack
                .replica_of(
                    &openai,
                    &[TAKES_OVER, SHORT, ("FAULT_POINT", &format!("{point}:5"))],
                )
                .await;
            let _ = dying.exit().await;
        }
    }
    let _replica = stack.replica_of(&openai, &[TAKES_OVER, SHORT]).await;
    for job_id in jobs {
        assert_eq!(stack.ended(job_id).await.error, None);
    }
    stack.idle().await;
    is_as_bullmq_leaves_it(&stack, "bullmq5").await;
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 100);
    // What died in the middle of a call without an id is all that may be drawn again.
    let unknown = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'unknown'";
    let unknown = usize::try_from(stack.count(unknown).await).unwrap();
    assert!(
        openai.bills() <= 100 + unknown,
        "{} and {unknown}",
        openai.bills()
    );
}

/// Side by side with the worker that was there before, which goes on as it did.
#[tokio::test(flavor = "multi_thread")]
async fn beside_the_worker_that_was_there_before_each_job_is_taken_once() {
    let stack = Stack::start().await;
    let url = stack.redis.url();
    let _old = starting_node("bullmq.cjs", &["work", "bullmq5", &url, BULLMQ_QUEUE]);
    let _replica = stack.replica(&[TAKES_OVER, ("WORKER_CONCURRENCY", "2")]).await;
    let jobs = stack.jobs(60).await;
    let adds: Vec<Value> = jobs
        .iter()
        .map(|job_id| as_the_application(&logo(*job_id)))
        .collect();
    add(&stack, "bullmq5", &adds).await;
    is_as_bullmq_leaves_it(&stack, "bullmq5").await;
    stack.idle().await;
    let mut redis = stack.redis().await;
    let old: Vec<i32> = redis.lrange("old-worker", 0, -1).await.unwrap();
    let ours = stack
        .sql("SELECT id FROM ac_background_jobs WHERE progress = 100", &[])
        .await;
    let mut all: Vec<i32> = ours.iter().map(|row| row.get(0)).chain(old).collect();
    all.sort_unstable();
    assert_eq!(all, jobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_away_is_gone_on_with_and_told_of_once() {
    let mut stack = Stack::start().await;
    let replica = stack.replica(&[TAKES_OVER]).await;
    let jobs = stack.jobs(2).await;
    add(&stack, "bullmq5", &[as_the_application(&logo(jobs[0]))]).await;
    assert_eq!(stack.ended(jobs[0]).await.error, None);
    stack.redis.stop();
    replica.said("Redis does not answer").await;
    // As long as a library that tries again and again takes to fill a log.
    tokio::time::sleep(Duration::from_secs(3)).await;
    stack.redis.restart().unwrap();
    replica.said("Redis answers again").await;
    add(&stack, "bullmq5", &[as_the_application(&logo(jobs[1]))]).await;
    assert_eq!(stack.ended(jobs[1]).await.error, None);
    is_as_bullmq_leaves_it(&stack, "bullmq5").await;
    assert!(
        replica.times_said("BullMQ queue; trying again") <= 1,
        "{}",
        replica.log()
    );
    assert!(replica.log().lines().count() < 30, "{}", replica.log());
}

/// The rights that docs/migrating.md names are all that it takes beside those of `deploy/`.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_are_documented_suffice() {
    let documented = include_str!("../../docs/migrating.md");
    let (_, rights) = documented.split_once("```acl\n").unwrap();
    let rights = rights
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .collect::<Vec<_>>();
    let stack = Stack::start().await;
    let url_of = users(&stack).await;
    let mut redis = stack.redis().await;
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg("worker")
        .arg(rights)
        .query_async::<()>(&mut redis)
        .await
        .unwrap();
    let replica = stack
        .replica(&[TAKES_OVER, ("REDIS_URL", &url_of("worker"))])
        .await;
    let jobs = stack.jobs(2).await;
    let foreign = json!({"name": "send-email", "data": {}, "opts": {}});
    let adds = [
        as_the_application(&logo(jobs[0])),
        foreign,
        as_the_application(&logo(jobs[1])),
    ];
    add(&stack, "bullmq5", &adds).await;
    let _: i64 = redis
        .rpush(format!("bull:{BULLMQ_QUEUE}:wait"), "777")
        .await
        .unwrap();
    for job_id in jobs {
        assert_eq!(stack.ended(job_id).await.error, None);
    }
    // The check for stalled jobs too.
    tokio::time::sleep(Duration::from_secs(21)).await;
    let denied: redis::Value = redis::cmd("ACL")
        .arg("LOG")
        .query_async(&mut redis)
        .await
        .unwrap();
    let denied = format!("{denied:?}");
    assert!(!denied.contains("bull"), "{denied}");
    assert_eq!(replica.times_said("\"ERROR\""), 0, "{}", replica.log());
}
