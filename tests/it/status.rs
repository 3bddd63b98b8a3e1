//! How the service stands, as an operator reads it.

use serde_json::{Value, json};

use crate::harness::aftermath::key;
use crate::harness::command::command_on;
use crate::harness::replica::Replica;
use crate::harness::stack::Stack;

const NOTHING: &str = "service    no replica pings
queue      generative-ai
waiting    critical 0, high 0, normal 0, low 0
delayed    0
in flight  0
replicas   none
";
const NO_JOBS: &str = "jobs       none unfinished
dead       0
spent      nothing within 24 h
";

#[tokio::test(flavor = "multi_thread")]
async fn a_status_tells_what_stands_where_on_both_sides() {
    let stack = Stack::start().await;
    command_on(&stack, &["status"], &[])
        .await
        .is(0, &format!("{NOTHING}\n{NO_JOBS}"), "");

    let mut redis = stack.redis().await;
    let (seconds, _): (i64, i64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    let ms = |ago: i64| (seconds - ago) * 1_000;
    let ping = json!({"workerId": "b-2", "version": "0.1.0", "host": "web1", "pid": 42, "startedAt": "2026-11-25T12:00:00.000Z",
        "at": chrono::DateTime::from_timestamp_millis(ms(5_400)).unwrap().to_rfc3339(), "state": "running",
        "inFlight": 1, "concurrency": 10, "completed": 7, "failed": 2, "retried": 3});
    redis::pipe()
        .lpush("generative-ai", &["{}", "{}"])
        .lpush(key("high"), "{}")
        .zadd(key("delayed"), "a/1.normal:{}", ms(-5_430))
        .zadd(key("in-flight"), "b-2/1.normal", ms(7_230))
        .lpush(key("parked:openai"), "a/1.normal:{}")
        .zadd(key("open-calls:openai"), "b-2/1.normal", ms(-1_000))
        .zadd(key("open-calls:openai"), "b-3/1.normal", ms(1_000))
        .hset_multiple(
            key("provider:gemini"),
            &[
                ("why", "asked".to_owned()),
                ("until", ms(-5_430).to_string()),
                ("began", "1795608000000".to_owned()),
            ],
        )
        .set(key("paused"), r#"{"by":"anna@web1","at":"2026-11-25T12:00:00Z"}"#)
        .set(key("ping"), ms(5_400))
        .sadd(key("workers"), &["a-1", "b-2", "c-3"])
        .set(key("lease:b-2"), "b-2")
        .set(key("ping:b-2"), ping.to_string())
        .set(key("lease:c-3"), "c-3")
        .hset(key("processing:a-1"), "1.normal", "{}")
        .hset(key("processing:b-2"), "1.normal", "{}")
        .hset_multiple(
            key("gone"),
            &[
                (
                    "d-4",
                    format!(
                        r#"{{"silentMs":{},"recoveredMs":{},"packages":5,"jobIds":"1,2,3,4,9","ping":{}}}"#,
                        ms(7_230),
                        ms(7_000),
                        Value::from(ping.to_string())
                    ),
                ),
                (
                    "e-5",
                    format!(
                        r#"{{"silentMs":{0},"recoveredMs":{0},"packages":0,"jobIds":""}}"#,
                        ms(80_000)
                    ),
                ),
                (
                    "f-6",
                    format!(
                        r#"{{"silentMs":{0},"recoveredMs":{0},"packages":1,"jobIds":"1"}}"#,
                        ms(90_000)
                    ),
                ),
            ],
        )
        .exec_async(&mut redis)
        .await
        .unwrap();
    stack
        .sql_client()
        .await
        .batch_execute(
            "INSERT INTO generative_ai.jobs (job_id, state, package, begun_at) VALUES
                (1, 'begun', '{}', now() - interval '150 minutes'), (2, 'begun', '{}', now()),
                (3, 'held', '{}', now() - interval '50 hours'), (4, 'done', '{}', now());
             INSERT INTO generative_ai.provider_calls (job_id, call_no, state, provider, model, worker_id, fence, sent_at, deadline_at, cost_usd) VALUES
                (4, 1, 'succeeded', 'openai', 'm', 'w', 1, now(), now(), 0.04), (4, 2, 'unknown', 'openai', 'm', 'w', 1, now(), now(), NULL),
                (4, 3, 'succeeded', 'openai', 'm', 'w', 1, now() - interval '2 days', now(), 5), (4, 4, 'succeeded', 'bfl', 'm', 'w', 1, now(), now(), 1.5);
             INSERT INTO generative_ai.dead_packages (id, payload, reason, error_class, attempts, worker_id, retried_at) VALUES
                (gen_random_uuid(), '{', 'no', 'auth', 1, 'w', NULL), (gen_random_uuid(), '{', 'no', 'auth', 1, 'w', now());",
        )
        .await
        .unwrap();
    let told = "service    able to work; last ping 1 h ago
queue      generative-ai, paused by anna@web1 since 2026-11-25 12:00:00 UTC: no replica takes new work
waiting    critical 0, high 1, normal 2, low 0
delayed    1, the next in 1 h
in flight  1, 1 of them with replicas that are gone, the oldest for 2 h with b-2
openai     open calls 1, parked 1
gemini     paused since 2026-11-25 12:00:00 UTC, as it asks; one call tries it in 1 h

replica  host  pid  version  state     in hand  completed  failed  retried  ping  lease
a-1      -       -  -        gone            1          -       -        -  none  none
b-2      web1   42  0.1.0    running      1/10          7       2        3   1 h  held
c-3      -       -  -        not able        0          -       -        -  none  held

died       d-4 (host web1, pid 42), last seen 1 h ago; its 5 packages were back in the queue 1 h ago; of their jobs now \
2 being worked on (1, 2), 1 done, 1 held (3), 1 not begun (9)
died       e-5, last seen 22 h ago; it had nothing in hand

jobs       begun 2, the oldest for 2 h; held 1, the oldest for 2 d
dead       1

spent within 24 h  calls  refused  pictures  unknown   cost
bfl                    1        0         1        0  $1.50
openai                 2        0         1        1  $0.04
";
    command_on(&stack, &["status"], &[]).await.is(0, told, "");

    let said = command_on(&stack, &["status", "--json"], &[]).await;
    assert_eq!((said.status, &*said.err), (Some(0), ""));
    let status: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(status["queue"], "generative-ai");
    assert_eq!(status["redis"]["isPaused"], true);
    assert_eq!(
        status["redis"]["waiting"][1],
        json!({"priority": "high", "count": 1, "nextJobId": null})
    );
    assert_eq!(status["redis"]["replicas"][1]["ping"]["host"], "web1");
    assert_eq!(status["redis"]["oldestInFlight"]["workerId"], "b-2");
    assert_eq!(status["redis"]["paused"]["at"], "2026-11-25T12:00:00Z");
    assert_eq!(status["redis"]["gone"][0]["jobIds"], json!([1, 2, 3, 4, 9]));
    assert_eq!(status["redis"]["gone"].as_array().unwrap().len(), 3);
    assert_eq!(status["jobsOfGone"]["3"], "held");
    assert_eq!(status["postgres"]["dead"], 1);
    assert_eq!(status["postgres"]["spending24h"][0]["costUsd"], 1.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_tells_of_one_side_while_the_other_is_away() {
    let stack = Stack::start().await;
    let away = [("REDIS_URL", "redis://127.0.0.1:1")];
    command_on(&stack, &["status"], &away)
        .await
        .looks_like(69, &format!("Redis is away: Redis: *\n\n{NO_JOBS}"));
    let away = [("DATABASE_URL", "postgres://a:hunter2@127.0.0.1:1/c")];
    let said = command_on(&stack, &["status"], &away).await;
    said.looks_like(69, &format!("{NOTHING}\nPostgres is away: Postgres: *\n"));
    assert!(!said.out.contains("hunter2"));
    let said = command_on(&stack, &["status", "--json"], &away).await;
    let status: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(said.status, Some(69));
    assert!(
        status["postgres"]["error"]
            .as_str()
            .unwrap()
            .starts_with("Postgres: ")
    );
    assert_eq!(status["redis"]["delayed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_watched_is_told_again_until_it_is_interrupted() {
    let stack = Stack::start().await;
    let mut watch = Replica::start(
        &["status", "--watch"],
        &stack.environment(),
        stack.path("watch.log"),
    );
    stack
        .until("it has looked twice", async || {
            (watch.times_said("service    no replica pings") >= 2).then_some(())
        })
        .await;
    let replica = stack.replica(&[]).await;
    watch.said("service    able to work; last ping ").await;
    watch.said(&replica.worker_id()).await;
    watch.interrupt();
    assert!(watch.exit().await.success());
    assert!(!watch.log().contains('\u{1b}'), "a file is not cleared");
}
