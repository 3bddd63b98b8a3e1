//! `deploy/redis/users.acl`: no command is refused that is needed, and none is granted that is not.

use std::collections::{BTreeSet, HashMap};

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::live;
use crate::harness::stack::{QUEUE, Stack};
use crate::harness::users::users;

const USERS: &str = include_str!("../../../deploy/redis/users.acl");

/// The commands that the file grants to a user, as `INFO commandstats` calls them.
fn rights(user: &str) -> Vec<&'static str> {
    let start = format!("user {user} ");
    let line = USERS.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert!(words.contains(&"-@all"));
    assert!(
        !words
            .iter()
            .any(|word| word.starts_with("+@") || word.starts_with("-client"))
    );
    words.iter().filter_map(|word| word.strip_prefix('+')).collect()
}

/// The commands that this server has obeyed, from scripts too.
async fn used(stack: &Stack) -> BTreeSet<String> {
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut stack.redis().await)
        .await
        .unwrap();
    stats
        .lines()
        .filter_map(|line| Some(line.strip_prefix("cmdstat_")?.split_once(':')?.0.to_owned()))
        .collect()
}

/// Takes one right away from a user.
async fn without(stack: &Stack, user: &str, right: &str) {
    redis::cmd("ACL")
        .arg(&["SETUSER", user, &format!("-{right}")])
        .query_async::<()>(&mut stack.redis().await)
        .await
        .unwrap();
}

/// What Redis has refused since the last time, in words.
pub(super) async fn refused(stack: &Stack) -> Vec<String> {
    let mut redis = stack.redis().await;
    let entries: Vec<HashMap<String, redis::Value>> = redis::cmd("ACL")
        .arg("LOG")
        .query_async(&mut redis)
        .await
        .unwrap();
    redis::cmd("ACL")
        .arg(&["LOG", "RESET"])
        .query_async::<()>(&mut redis)
        .await
        .unwrap();
    entries
        .iter()
        .map(|entry| format!("{:?} {:?}", entry["object"], entry["username"]))
        // doctor asks for more than a worker may see, and does without; so do clients from Redis 7.2 on.
        .filter(|refused| !refused.contains("config|get") && !refused.contains("client|setinfo"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_and_its_commands_need_no_more_of_redis_than_their_user_may() {
    let stack = Stack::start().await;
    let url = users(&stack).await("worker");
    let variables = [("REDIS_URL", url.as_str())];
    live(&stack, &variables, &variables).await;
    assert_eq!(refused(&stack).await, Vec::<String>::new());
    let used = used(&stack).await;
    let idle: Vec<&str> = rights("worker")
        .into_iter()
        .filter(|right| !used.contains(*right) && *right != "select")
        .collect();
    assert_eq!(idle, [""; 0], "granted and not used; used are {used:?}");
    // A database other than 0 is chosen with it.
    without(&stack, "worker", "select").await;
    let client = redis::Client::open(format!("{url}/1")).unwrap();
    let error = client.get_multiplexed_async_connection().await.err().unwrap();
    assert!(error.to_string().contains("select"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_can_push_and_an_autoscaler_can_count_and_neither_can_do_harm() {
    let stack = Stack::start_without_tables().await;
    let url = users(&stack).await;
    let connect = async |user: &str| {
        let client = redis::Client::open(url(user)).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    };
    let mut producer = connect("producer").await;
    let mut autoscaler = connect("autoscaler").await;
    let low = format!("{{{QUEUE}}}:low");
    for list in [QUEUE, low.as_str()] {
        let _: i64 = producer.lpush(list, "{}").await.unwrap();
    }
    // As KEDA counts: whatever the type is.
    let count = redis::Script::new(
        "local type = redis.call('type', KEYS[1]).ok
         return redis.call(({ zset = 'zcard', list = 'llen', none = 'llen' })[type], KEYS[1])",
    );
    for (key, expected) in [(QUEUE, 1), (low.as_str(), 1), ("{generative-ai}:in-flight", 0)] {
        let found: i64 = count.key(key).invoke_async(&mut autoscaler).await.unwrap();
        assert_eq!(found, expected, "{key}");
    }
    let refused = |result: redis::RedisResult<redis::Value>| {
        let error = result.expect_err("it must be refused");
        assert_eq!(error.code(), Some("NOPERM"), "{error}");
    };
    refused(producer.rpop(QUEUE, None).await);
    refused(producer.lpush("{generative-ai}:delayed", "x").await);
    refused(producer.del(QUEUE).await);
    refused(autoscaler.lpush(QUEUE, "x").await);
    refused(autoscaler.get("another").await);
    refused(redis::cmd("FLUSHALL").query_async(&mut autoscaler).await);
}

/// What each right of those two is for.
const CALLS: &[(&str, &[&str])] = &[
    ("ping", &["PING"]),
    ("select", &["SELECT", "0"]),
    ("client|setname", &["CLIENT", "SETNAME", "x"]),
    ("lpush", &["LPUSH", QUEUE, "{}"]),
    ("multi", &["MULTI"]),
    ("exec", &["EXEC"]),
    ("discard", &["DISCARD"]),
    ("wait", &["WAIT", "0", "10"]),
    ("blpop", &["BLPOP", "{generative-ai}:reply:x", "0.01"]),
    ("lpop", &["LPOP", "{generative-ai}:reply:x"]),
    ("subscribe", &["SUBSCRIBE", "{generative-ai}:events"]),
    ("unsubscribe", &["UNSUBSCRIBE", "{generative-ai}:events"]),
    ("eval", &["EVAL", "return 1", "0"]),
    (
        "evalsha",
        &["EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"],
    ),
    ("script|load", &["SCRIPT", "LOAD", "return 1"]),
    ("type", &["TYPE", QUEUE]),
    ("llen", &["LLEN", QUEUE]),
    ("zcard", &["ZCARD", "{generative-ai}:in-flight"]),
];

/// Whether a user may give a command, as the server says without obeying it.
async fn may(redis: &mut MultiplexedConnection, user: &str, call: &[&str]) -> bool {
    let said: String = redis::cmd("ACL")
        .arg("DRYRUN")
        .arg(user)
        .arg(call)
        .query_async(redis)
        .await
        .unwrap();
    said == "OK"
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_of_a_producer_and_an_autoscaler_is_missed_when_it_is_taken_away() {
    let stack = Stack::start_without_tables().await;
    drop(users(&stack).await);
    let mut redis = stack.redis().await;
    for user in ["producer", "autoscaler"] {
        for right in rights(user) {
            let (_, call) = CALLS
                .iter()
                .find(|(name, _)| *name == right)
                .unwrap_or_else(|| panic!("{user}: what is {right} for?"));
            assert!(may(&mut redis, user, call).await, "{user}: {call:?}");
            without(&stack, user, right).await;
            assert!(
                !may(&mut redis, user, call).await,
                "{user}: {call:?} without {right}"
            );
            drop(users(&stack).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_may_listen_to_the_whole_instance_change_it_or_read_its_passwords() {
    let stack = Stack::start_without_tables().await;
    drop(users(&stack).await);
    let mut redis = stack.redis().await;
    for user in ["worker", "producer", "autoscaler"] {
        for harm in [
            &["CLIENT", "NO-EVICT", "ON"][..],
            &["CLIENT", "UNPAUSE"],
            &["CLIENT", "PAUSE", "1000"],
            &["CLIENT", "KILL", "ID", "1"],
            &["CLIENT", "LIST"],
            &["CONFIG", "GET", "masterauth"],
            &["CONFIG", "SET", "requirepass", ""],
            &["FLUSHALL"],
            &["KEYS", "*"],
            &["ACL", "LIST"],
            &["MONITOR"],
            &["DEBUG", "SLEEP", "1"],
            &["GET", "another"],
            &["EVAL", "return 1", "1", "another"],
        ] {
            assert!(!may(&mut redis, user, harm).await, "{user}: {harm:?}");
        }
    }
    for user in ["producer", "autoscaler"] {
        let tracking = ["CLIENT", "TRACKING", "ON", "BCAST"];
        assert!(!may(&mut redis, user, &tracking).await, "{user}");
    }
}
