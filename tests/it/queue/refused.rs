//! A command that Redis refuses on a key stops work at the most, wherever in a script it stands: Redis rolls nothing
//! back, so each script looks first and changes last. When the right is there again, every package is there, once.

use generative_ai_worker::queue::{Fairness, Queue, QueueSettings};
use redis::aio::MultiplexedConnection;
use secrecy::SecretString;

use super::wrong_types::{MAX_BYTES, every_way, packages, push_to_all_lists};
use super::{CRITICAL, DELAYED, HIGH, LOW, settings};
use crate::harness::aftermath::key;
use crate::harness::stack::{QUEUE, Stack};

const USER: &str = "limited";

/// What scripts only read with.
const READING: &str =
    "exists get hget hgetall hkeys hlen hmget lindex llen time zcard zcount zrange zrangebyscore zscore";
/// What scripts change, by the kinds of keys. `*` is the id of the replica that lives, `+` that of the one that has
/// died.
const CHANGING: [(&str, &[&str]); 15] = [
    ("del", &["group-tags:normal", "suspect:+", "provider:p"]),
    ("expire", &["suspects"]),
    (
        "hdel",
        &["processing:*", "processing:+", "group-tags:normal", "suspects"],
    ),
    ("hincrby", &["suspects"]),
    (
        "hset",
        &[
            "processing:*",
            "group-tags:normal",
            "group-tags:low",
            "provider:p",
        ],
    ),
    ("lmove", &["landing:*", "landing:+", "set-aside"]),
    ("lpush", &["parked:p", "set-aside"]),
    ("ltrim", &["", "critical", "high", "low", "landing:*", "parked:p"]),
    ("pexpire", &["open-calls:p", "woken:p"]),
    ("rpush", &["", "critical", "high", "low"]),
    ("sadd", &["workers"]),
    ("srem", &["workers"]),
    (
        "zadd",
        &[
            "in-flight",
            "sorted:normal",
            "sorted:high",
            "delayed",
            "dead",
            "open-calls:p",
            "recent-calls:p",
            "woken:p",
        ],
    ),
    ("zrem", &["in-flight", "delayed", "open-calls:p", "sorted:normal"]),
    ("zremrangebyrank", &["dead", "sorted:normal", "sorted:low"]),
];

async fn acl(redis: &mut MultiplexedConnection, rules: &[String]) {
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg(USER)
        .arg(rules)
        .query_async::<()>(redis)
        .await
        .unwrap();
}

fn everything() -> Vec<String> {
    ["reset", "on", ">secret", "~*", "&*", "+@all"]
        .map(str::to_owned)
        .to_vec()
}

/// All but this command on this key, or on any.
fn all_but(command: &str, key_of: Option<&str>, keys: &[String]) -> Vec<String> {
    let mut rules = everything();
    rules.push(format!("-{command}"));
    if let Some(refused) = key_of {
        let others = keys.iter().filter(|name| *name != refused);
        let others: Vec<String> = others.map(|name| format!("~{name}")).collect();
        rules.push(format!("(+{command} {})", others.join(" ")));
    }
    rules
}

async fn loses_nothing_while_it_is_refused(
    stack: &Stack,
    fairness: Fairness,
    is_running: bool,
    command: &str,
    kind: Option<&str>,
) {
    let mut redis = stack.redis().await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    acl(&mut redis, &everything()).await;
    let settings = QueueSettings {
        url: SecretString::from(format!("redis://{USER}:secret@127.0.0.1:{}", stack.redis.port())),
        fairness,
        max_package_bytes: MAX_BYTES,
        dead_letter_max: 1000,
        ..settings(stack)
    };
    let queue = Queue::check(&settings).await.service.unwrap();
    let dead = Queue::check(&settings).await.service.unwrap();
    let all = push_to_all_lists(&mut redis).await;
    if is_running {
        every_way(&queue, &dead).await;
    }
    let name = |kind: &str| match kind {
        "" => QUEUE.to_owned(),
        kind => key(kind)
            .replace('*', queue.worker_id())
            .replace('+', dead.worker_id()),
    };
    let keys: Vec<String> = CHANGING
        .iter()
        .flat_map(|(_, kinds)| *kinds)
        .map(|kind| name(kind))
        .collect();
    let refused = kind.map(name);
    let what = format!("{command} on {refused:?} with {fairness:?}");
    assert_eq!(packages(&mut redis).await, all, "before {what} is refused");

    acl(&mut redis, &all_but(command, refused.as_deref(), &keys)).await;
    for _ in 0..2 {
        every_way(&queue, &dead).await;
    }
    assert_eq!(packages(&mut redis).await, all, "{what} was refused");
    acl(&mut redis, &everything()).await;
    every_way(&queue, &dead).await;
    assert_eq!(packages(&mut redis).await, all, "{what} is allowed again");
}

async fn loses_nothing_whatever_is_refused(fairness: Fairness) {
    assert_eq!(
        [CRITICAL, HIGH, LOW, DELAYED],
        ["critical", "high", "low", "delayed"].map(key)
    );
    let stack = Stack::start_without_tables().await;
    // Redis looks this often whether a wait is over.
    redis::cmd("CONFIG")
        .arg(&["SET", "hz", "500"])
        .query_async::<()>(&mut stack.redis().await)
        .await
        .unwrap();
    for is_running in [false, true] {
        for command in READING.split(' ') {
            loses_nothing_while_it_is_refused(&stack, fairness, is_running, command, None).await;
        }
        for (command, kinds) in CHANGING {
            for kind in kinds {
                loses_nothing_while_it_is_refused(&stack, fairness, is_running, command, Some(kind)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_refused_anywhere_in_a_script_costs_and_doubles_no_package() {
    loses_nothing_whatever_is_refused(Fairness::Off).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_it_where_collections_take_turns() {
    loses_nothing_whatever_is_refused(Fairness::Collection).await;
}
