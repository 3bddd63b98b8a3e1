//! Every way in which a Redis is set up: it works, or the check says what is wrong with it, before anything is bought.

mod running;

use std::net::{Ipv4Addr, TcpListener};

use generative_ai_worker::private_servers::{RedisOptions, RedisServer};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::harness::authority::{Authority, free_port};
use crate::harness::command::command_on;
use crate::harness::stack::{QUEUE, Stack, logo};

/// Makes a user called `clerk` with these rules, and returns the URL that it is used with.
async fn clerk(stack: &Stack, rules: &[&str]) -> String {
    let mut redis = stack.redis().await;
    let all = [
        "SETUSER",
        "clerk",
        "reset",
        "on",
        ">clerk-5be1",
        "~*",
        "&*",
        "+@all",
    ];
    let mut making = redis::cmd("ACL");
    making.arg(&all[..]).arg(rules);
    making.query_async::<()>(&mut redis).await.unwrap();
    format!("redis://clerk:clerk-5be1@127.0.0.1:{}", stack.redis.port())
}

/// What `run`, `check-config` and `doctor` say of a set-up under which no worker works: the same, at once.
async fn is_refused(stack: &Stack, variables: &[(&str, &str)], status: i32, words: &[&str]) {
    let quiet: Vec<(&str, &str)> = variables.iter().copied().chain([("RUST_LOG", "warn")]).collect();
    for arguments in [&["run"][..], &["check-config"]] {
        let said = command_on(stack, arguments, &quiet).await;
        assert_eq!(
            said.status,
            Some(status),
            "{arguments:?} {variables:?}: {} {}",
            said.out,
            said.err
        );
        for word in words {
            assert!(
                said.err.contains(word),
                "{arguments:?} says nothing of \"{word}\":\n{}",
                said.err
            );
        }
        assert!(!said.err.contains("clerk-5be1"), "{}", said.err);
    }
    let said = command_on(stack, &["doctor", "--offline"], variables).await;
    assert_eq!(said.status, Some(status), "{}", said.out);
    for word in words {
        let is_told = |line: &str| line.starts_with("FAIL  redis") && line.contains(word);
        assert!(
            said.out.lines().any(is_told),
            "doctor says nothing of \"{word}\":\n{}",
            said.out
        );
    }
    assert!(!said.out.contains("clerk-5be1"), "{}", said.out);
}

/// A replica under these variables sees a package through.
async fn works(stack: &Stack, variables: &[(&str, &str)]) {
    let said = command_on(stack, &["check-config"], variables).await;
    assert_eq!((said.status, &*said.err), (Some(0), ""), "{variables:?}");
    let replica = stack.replica(variables).await;
    let job = stack.job().await;
    stack.push(&logo(job)).await;
    stack.each_done_once(&[job]).await;
    drop(replica);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_do_all_is_refused_with_all_that_it_lacks() {
    let stack = Stack::start().await;
    for (rules, words) in [
        (
            &["-@scripting"][..],
            &["scripts: refused: SCRIPT LOAD, EVALSHA: ", "'script|load'"][..],
        ),
        (&["-evalsha"], &["scripts: refused: EVALSHA: ", "'evalsha'"]),
        (&["-script"], &["scripts: refused: SCRIPT LOAD"]),
        (
            &["-client"],
            &["connections: refused: CLIENT ID, CLIENT UNBLOCK, CLIENT REPLY: "],
        ),
        (&["-client|unblock"], &["connections: refused: CLIENT UNBLOCK: "]),
        (
            &["-blmove", "-hset", "-zadd"],
            &[
                "lists: refused: BLMOVE: ",
                "hashes: refused: HSET: ",
                "sorted sets: refused: ZADD: ",
            ],
        ),
        (&["-pexpire"], &["leases and pings: refused: ", "'pexpire'"]),
        (
            &["-@write"],
            &[
                "lists: refused: LTRIM, LPUSH",
                "transactions and tidying: refused: ",
            ],
        ),
        (&["resetkeys", "~generative-ai"], &["lists: refused: LPUSH"]),
        (
            &["resetkeys", "~{generative-ai}:*"],
            &["lists: refused: LLEN, LTRIM: "],
        ),
        (&["-info"], &["cannot be used: ", "'info'"]),
    ] {
        let url = clerk(&stack, rules).await;
        is_refused(&stack, &[("REDIS_URL", &url)], 78, words).await;
    }
    let keys: Vec<String> = stack.redis().await.keys("*").await.unwrap();
    assert_eq!(keys, Vec::<String>::new(), "nothing stays behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_never_does_needs_no_right() {
    let stack = Stack::start().await;
    let url = clerk(
        &stack,
        &[
            "-eval",
            "-config",
            "-keys",
            "-scan",
            "-flushall",
            "-acl",
            "-monitor",
        ],
    )
    .await;
    works(&stack, &[("REDIS_URL", &url)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_channels_lacks_nothing_but_events() {
    let stack = Stack::start().await;
    for (rules, words) in [
        (
            &["resetchannels"][..],
            "nobody learns of jobs from {generative-ai}:events",
        ),
        (
            &["-publish", "-subscribe"],
            "nobody learns of jobs from {generative-ai}:events",
        ),
        (&["-client|tracking"], "found within 2 s"),
    ] {
        let url = clerk(&stack, rules).await;
        let doctor = command_on(&stack, &["doctor", "--offline"], &[("REDIS_URL", &url)]).await;
        let is_told = |line: &str| line.starts_with("warn  redis") && line.contains(words);
        assert!(doctor.out.lines().any(is_told), "{}", doctor.out);
        assert!(!doctor.out.contains("FAIL  redis"), "{}", doctor.out);

        let replica = stack.replica(&[("REDIS_URL", &url)]).await;
        let mut jobs = stack.push_logos(5).await;
        let urgent = stack.job().await;
        let mut redis = stack.redis().await;
        let _: i64 = redis
            .lpush("{generative-ai}:critical", logo(urgent).to_string())
            .await
            .unwrap();
        jobs.push(urgent);
        // Nothing stays in hand, nor among what is in flight.
        stack.each_done_once(&jobs).await;
        let dead = stack.job().await;
        stack
            .push(&crate::harness::stack::with(logo(dead), "imageSize", "1x1"))
            .await;
        stack.ended(dead).await;
        stack.idle().await;
        assert_eq!(replica.times_said(words), 1, "{}", replica.log());
        for wrong in ["does not answer", "Redis answers", "does not reach"] {
            assert_eq!(replica.times_said(wrong), 0, "{}", replica.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_its_own_and_a_socket_are_reached_in_each_form() {
    let stack = Stack::start().await;
    let socket = stack.path("redis.sock");
    let socket = socket.to_str().unwrap();
    let options = RedisOptions {
        config: vec![format!("unixsocket {socket}"), "unixsocketperm 777".to_owned()],
        password: Some("hunter2".to_owned()),
        ..RedisOptions::default()
    };
    let server = RedisServer::start(&stack.path("other"), options).unwrap();
    let port = server.port();
    stack.look_at(format!("redis://:hunter2@127.0.0.1:{port}/2"));
    for url in [
        format!("redis://:hunter2@127.0.0.1:{port}/2"),
        format!("redis://:hunter2@127.0.0.1:{port}?db=2"),
        format!("redis://default:hunter2@127.0.0.1:{port}/2?protocol=resp3&family=0"),
        format!("redis://127.0.0.1:{port}/2?password=hunter2"),
        format!("unix://{socket}?db=2&pass=hunter2"),
        format!("redis+unix://default:hunter2@{socket}?db=2"),
    ] {
        works(&stack, &[("REDIS_URL", &url)]).await;
    }
    for (url, words) in [
        (
            format!("redis://:hunter2@127.0.0.1:{port}/999"),
            "it has no such database",
        ),
        (format!("redis://127.0.0.1:{port}/2"), "it asks for a password"),
        (
            format!("redis://hunter2@127.0.0.1:{port}/2"),
            "it refuses this user or this password",
        ),
        (
            format!("redis://:hunter3@127.0.0.1:{port}/2"),
            "it refuses this user or this password",
        ),
    ] {
        is_refused(&stack, &[("REDIS_URL", &url)], 78, &["cannot be used: ", words]).await;
    }
    let url = format!("redis://:hunter2@127.0.0.1:{port}?database=2&connectTimeout=100");
    let said = command_on(&stack, &["run"], &[("REDIS_URL", &url)]).await;
    assert_eq!(said.status, Some(78));
    assert!(
        said.err.contains("its parameter connectTimeout is not honoured"),
        "{}",
        said.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_speaks_tls_is_told_from_one_that_does_not() {
    let stack = Stack::start().await;
    let authority = Authority::make(&stack.path("authority"));
    let tls_port = free_port();
    let options = RedisOptions {
        config: authority.config(tls_port),
        password: Some("hunter2".to_owned()),
        ..RedisOptions::default()
    };
    let server = RedisServer::start(&stack.path("tls"), options).unwrap();
    let plain_port = server.port();
    let root = authority.root.to_str().unwrap();
    let trusted = ("SSL_CERT_FILE", root);
    let url = format!("rediss://:hunter2@127.0.0.1:{plain_port}");
    let variables = [("REDIS_URL", url.as_str()), trusted];
    is_refused(
        &stack,
        &variables,
        69,
        &["it does not speak TLS on this port: write redis://"],
    )
    .await;
    let url = format!("redis://:hunter2@127.0.0.1:{tls_port}");
    is_refused(
        &stack,
        &[("REDIS_URL", &url), trusted],
        69,
        &["it speaks TLS on this port: write rediss://"],
    )
    .await;
    let url = format!("rediss://:hunter2@127.0.0.1:{tls_port}");
    is_refused(
        &stack,
        &[("REDIS_URL", &url)],
        69,
        &["name a file with its authority: ?ssl_ca_certs="],
    )
    .await;
    stack.look_at(server.url());
    works(&stack, &[("REDIS_URL", &url), trusted]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_written_to_says_why() {
    let stack = Stack::start().await;
    let full_of_clients = RedisOptions {
        config: vec!["maxclients 1".to_owned()],
        ..RedisOptions::default()
    };
    let server = RedisServer::start(&stack.path("clients"), full_of_clients).unwrap();
    let url = server.url();
    let client = redis::Client::open(url.as_str()).unwrap();
    let kept = client.get_multiplexed_async_connection().await.unwrap();
    is_refused(
        &stack,
        &[("REDIS_URL", &url)],
        69,
        &["it has as many clients as it takes"],
    )
    .await;
    drop(kept);

    // It can be changed to, and nothing can be written there.
    let without_disk = RedisOptions {
        config: vec!["dir /proc/self".to_owned(), "save 3600 1".to_owned()],
        ..RedisOptions::default()
    };
    let server = RedisServer::start(&stack.path("disk"), without_disk).unwrap();
    let url = server.url();
    let mut redis = connect(&url).await;
    let _: () = redis.set("a", "b").await.unwrap();
    redis::cmd("BGSAVE")
        .query_async::<redis::Value>(&mut redis)
        .await
        .unwrap();
    stack
        .until("no snapshot can be saved", async || {
            let info: String = redis::cmd("INFO").query_async(&mut redis).await.unwrap();
            info.contains("rdb_last_bgsave_status:err").then_some(())
        })
        .await;
    is_refused(
        &stack,
        &[("REDIS_URL", &url)],
        69,
        &["it cannot save to its disk"],
    )
    .await;
}

async fn connect(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_that_are_used_for_something_else_are_named_at_once() {
    let stack = Stack::start().await;
    let mut redis = stack.redis().await;
    let _: () = redis.set(QUEUE, "somebody else's").await.unwrap();
    let _: () = redis
        .set("{generative-ai}:suspects", "somebody else's")
        .await
        .unwrap();
    let _: i64 = redis
        .lpush("{generative-ai}:delayed", "somebody else's")
        .await
        .unwrap();
    let url = clerk(&stack, &["-client"]).await;
    let words = [
        "the key generative-ai is a string, not a list; rename or remove it",
        "the key {generative-ai}:suspects is a string, not a hash",
        "the key {generative-ai}:delayed is a list, not a zset",
        "connections: refused: CLIENT ID",
    ];
    is_refused(&stack, &[("REDIS_URL", &url)], 78, &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_still_loading_its_file_is_waited_for() {
    let mut stack = Stack::start().await;
    // So long for each key, in µs. It answers meanwhile after each 1024 of them.
    let options = RedisOptions {
        append_only: true,
        config: vec!["key-load-delay 20".to_owned()],
        ..RedisOptions::default()
    };
    let mut server = RedisServer::start(&stack.path("slow"), options).unwrap();
    let url = server.url();
    let mut redis = connect(&url).await;
    let mut pipeline = redis::pipe();
    for number in 0..60_000 {
        pipeline.set(format!("key {number}"), "x");
    }
    pipeline.exec_async(&mut redis).await.unwrap();
    let job = stack.job().await;
    let _: i64 = redis.lpush(QUEUE, logo(job).to_string()).await.unwrap();
    server.stop();
    // Nobody listens there for a moment, which is another thing than to load.
    let port = server.port();
    stack
        .until("the port is free", async || {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok().map(drop)
        })
        .await;
    let restarting = tokio::task::spawn_blocking(move || {
        server.restart().unwrap();
        server
    });
    stack
        .until("it loads", async || {
            let client = redis::Client::open(url.as_str()).unwrap();
            let mut redis = client.get_multiplexed_async_connection().await.ok()?;
            let answer: redis::RedisResult<Option<String>> = redis.get("a").await;
            (answer.err()?.code() == Some("LOADING")).then_some(())
        })
        .await;
    let replica = stack.starting_replica(&[("REDIS_URL", &url)]);
    replica
        .said("Redis is still loading its file; waiting until it has")
        .await;
    replica.said("waiting for packages").await;
    assert_eq!(replica.times_said("still loading"), 1);
    let server = restarting.await.unwrap();
    stack.look_at(server.url());
    stack.each_done_once(&[job]).await;
    stack.postgres.stop();
}
