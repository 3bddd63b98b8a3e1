//! What a Redis server has to be, and that one without free memory is still drained.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Output;

use generative_ai_worker::private_servers::{RedisOptions, RedisServer};
use redis::AsyncCommands;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::harness::stack::{PATIENCE, QUEUE, Stack, logo};

/// Starts a worker that is to refuse the server at `url`: its exit status, and all that it says.
async fn refusal(stack: &Stack, url: &str) -> (Option<i32>, String) {
    let variables = [("REDIS_URL", url), ("RUST_LOG", "warn")];
    let ended = tokio::time::timeout(PATIENCE, stack.command(&["run"], &variables));
    let Output { status, stderr, .. } = ended.await.expect("the worker ends at once");
    (status.code(), String::from_utf8(stderr).unwrap())
}

async fn configure(stack: &Stack, name: &str, value: &str) {
    let _: () = redis::cmd("CONFIG")
        .arg("SET")
        .arg(name)
        .arg(value)
        .query_async(&mut stack.redis().await)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_evicts_is_refused() {
    let stack = Stack::start().await;
    configure(&stack, "maxmemory-policy", "allkeys-lru").await;
    let (status, said) = refusal(&stack, &stack.redis.url()).await;
    assert_eq!(
        said,
        format!(
            "generative-ai-worker: REDIS_URL: Redis at 127.0.0.1:{} has maxmemory-policy allkeys-lru, under \
             which waiting packages can vanish; set it to noeviction\n",
            stack.redis.port()
        )
    );
    assert_eq!(status, Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_copies_another_is_refused() {
    let stack = Stack::start().await;
    let options = RedisOptions {
        config: vec![format!("replicaof 127.0.0.1 {}", stack.redis.port())],
        ..RedisOptions::default()
    };
    let replica = RedisServer::start(&stack.path("replica"), options).unwrap();
    let (status, said) = refusal(&stack, &replica.url()).await;
    assert_eq!(
        said,
        format!(
            "generative-ai-worker: REDIS_URL: Redis at 127.0.0.1:{} is a replica, to which nothing can be \
             written; REDIS_URL must name its master\n",
            replica.port()
        )
    );
    assert_eq!(status, Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_is_refused_by_name_and_left_as_it_is() {
    let stack = Stack::start().await;
    let mut redis = stack.redis().await;
    for (key, wanted) in [
        (QUEUE, "list"),
        ("{generative-ai}:low", "list"),
        ("{generative-ai}:dead", "zset"),
        ("{generative-ai}:workers", "set"),
    ] {
        let _: i64 = redis.hset(key, "somebody", "else's").await.unwrap();
        let (status, said) = refusal(&stack, &stack.redis.url()).await;
        let expected = format!(
            "generative-ai-worker: REDIS_URL: the key {key} is a hash, not a {wanted}; rename or remove it, or choose another \
             QUEUE_NAME\n"
        );
        assert_eq!((said, status), (expected, Some(78)));
        let removed: i64 = redis.hdel(key, "somebody").await.unwrap();
        assert_eq!(removed, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_too_old_is_refused() {
    let stack = Stack::start().await;
    let port = old_redis().await;
    let (status, said) = refusal(&stack, &format!("redis://127.0.0.1:{port}")).await;
    assert_eq!(
        said,
        format!(
            "generative-ai-worker: REDIS_URL: Redis at 127.0.0.1:{port} is version 6.0; 6.2 or later is needed\n"
        )
    );
    assert_eq!(status, Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_not_there_is_said_to_be_unreachable() {
    let stack = Stack::start().await;
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let (status, said) = refusal(&stack, &format!("redis://:hunter2@127.0.0.1:{port}")).await;
    let beginning = format!("generative-ai-worker: REDIS_URL: Redis at 127.0.0.1:{port} cannot be reached: ");
    assert!(
        said.starts_with(&beginning) && said.lines().count() == 1,
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
    assert_eq!(status, Some(69), "{said}");
}

/// Answers like a Redis 6.0 as far as the start of a worker asks it.
async fn old_redis() -> u16 {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (received, mut sent) = stream.into_split();
                let mut lines = BufReader::new(received).lines();
                // A command is an array of strings: `*2`, `$4`, `INFO`, `$6`, `server`.
                while let Ok(Some(line)) = lines.next_line().await {
                    let length: usize = line.trim_start_matches('*').parse().unwrap();
                    let mut words = Vec::new();
                    for _ in 0..length {
                        let _ = lines.next_line().await;
                        words.extend(lines.next_line().await.unwrap());
                    }
                    let info = "redis_version:6.0.16\r\nrole:master\r\n";
                    let answer = match words.first().map(String::as_str) {
                        Some("INFO") => format!("${}\r\n{info}\r\n", info.len()),
                        _ => "+OK\r\n".to_owned(),
                    };
                    sent.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_free_memory_is_drained_by_a_replica_that_stays_healthy() {
    let stack = Stack::start().await;
    if is_older_than_7(&stack).await {
        // Its scripts cannot say that they may run when memory is full.
        return;
    }
    let job_ids = stack.jobs(3).await;
    for job_id in &job_ids {
        stack.push(&logo(*job_id)).await;
    }
    stack.push_raw(b"broken").await;
    configure(&stack, "maxmemory", "1").await;
    let mut redis = stack.redis().await;
    let refused = redis.lpush::<_, _, i64>(QUEUE, "x").await.unwrap_err();
    assert_eq!(refused.code(), Some("OOM"));

    let replica = stack.replica(&[]).await;
    for job_id in &job_ids {
        let job = stack.ended(*job_id).await;
        assert_eq!((job.progress, &job.error), (Some(100), &None));
    }
    stack
        .until("the service pings with nothing in hand", async || {
            let in_hand: i64 = redis.zcard("{generative-ai}:in-flight").await.unwrap();
            let pings: i64 = redis.exists("{generative-ai}:ping").await.unwrap();
            ((in_hand, pings) == (0, 1)).then_some(())
        })
        .await;
    assert_eq!(stack.dead_letters().await.len(), 1);
    // Afterwards it goes on as if nothing had been.
    configure(&stack, "maxmemory", "0").await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    assert_eq!(stack.ended(job_id).await.progress, Some(100));
    stack.idle().await;
    let log = replica.log();
    assert!(
        !log.contains("does not answer") && !log.contains("does not reach"),
        "{log}"
    );
    // The look at the start says so, and the wait for packages.
    assert_eq!(
        replica.times_said("REDIS_URL: Redis has reached its maxmemory"),
        1
    );
    assert_eq!(replica.times_said("Redis has reached its maxmemory"), 2);
    replica.said("Redis has free memory again").await;
}

async fn is_older_than_7(stack: &Stack) -> bool {
    let info: String = redis::cmd("INFO")
        .arg("server")
        .query_async(&mut stack.redis().await)
        .await
        .unwrap();
    let version = info.split_once("redis_version:").unwrap().1;
    version.split_once('.').unwrap().0.parse::<u32>().unwrap() < 7
}
