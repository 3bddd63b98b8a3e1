//! Whether this account may do in Redis what a worker does, tried on keys that nobody else uses.

use std::time::Duration;

use redis::{Cmd, ErrorKind, ServerErrorKind, Value, cmd};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::scripts::{self, Scripts};
use super::{Redis, bell};
use crate::findings::Findings;
use crate::redis::{Connection, RedisFailure, variable};

/// What is left behind when the program is cut off goes by itself.
const TTL_MS: u64 = 60_000;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Tries each kind of commands that a worker needs, on keys of their own below the queue's prefix, which are removed
/// again, and over the connections that a worker opens. Notes whatever is refused. Returns whether some of it is, and a replica can
/// do without.
pub(super) async fn try_all(
    redis: &Redis,
    scripts: &Scripts,
    connection: &mut Connection,
    findings: &mut Findings,
) -> bool {
    match try_kinds(redis, scripts, connection, findings).await {
        Ok(is_limited) => is_limited,
        Err(failure) => {
            let text = format!("what a worker does cannot be tried: {}", failure.bare());
            note(findings, &failure, &text);
            false
        }
    }
}

async fn try_kinds(
    redis: &Redis,
    scripts: &Scripts,
    connection: &mut Connection,
    findings: &mut Findings,
) -> Result<bool, RedisFailure> {
    let trial = Trial::new(redis);
    let (mut is_full, mut refused) = (false, 0);
    let kinds = trial.kinds();
    let count = kinds.len() + 1;
    for (kind, commands) in kinds {
        let found = try_commands(connection, commands).await?;
        // That is so of whatever is tried.
        if let Some(failure @ (RedisFailure::Unable(_) | RedisFailure::ShutOut(_))) = found.first {
            return Err(failure);
        }
        is_full |= found.is_full;
        refused += usize::from(found.tell(kind, findings));
    }
    if refused == 0 {
        // One of the real ones, with the flags that they have.
        let mut call = scripts.ping.key(trial.key("text"));
        call.key(trial.key("lease")).arg("").arg(0).arg(TTL_MS);
        let ran: redis::RedisResult<Value> = scripts::invoke(&call, connection).await;
        match ran.map_err(RedisFailure::from) {
            Err(failure) if failure.is_refusal() => {
                refused += 1;
                note(
                    findings,
                    &failure,
                    &format!("scripts: refused: {}", failure.bare()),
                );
            }
            result => _ = result?,
        }
    }
    let left = try_commands(connection, trial.tidying()).await?;
    if left.first.is_some() {
        // Whoever may give a key a time to live may let it end.
        try_commands(connection, trial.ending()).await?;
    }
    refused += usize::from(left.tell("transactions and tidying", findings));
    if is_full {
        findings.warn(format!(
            "{}: Redis has reached its maxmemory and refuses what producers push; what waits is worked off. Raise \
             maxmemory, or remove other data",
            variable()
        ));
    }
    if refused > 0 {
        return Ok(false);
    }
    findings.ok(format!(
        "this account may do all {count} kinds of things that a worker does"
    ));
    try_notices(redis, findings).await
}

/// What a replica can do without, at a price that is told.
async fn try_notices(redis: &Redis, findings: &mut Findings) -> Result<bool, RedisFailure> {
    let (sender, _pushes) = mpsc::unbounded_channel();
    let keys = redis.keys();
    let optional = "nothing but events and speed is missing:";
    let mut is_limited = false;
    let mut warn = |what: &str, failure: &RedisFailure| {
        is_limited = true;
        findings.warn(format!("{}: {optional} {what}: {}", variable(), failure.bare()));
    };
    let listening = async {
        let mut connection = redis.listening(RESPONSE_TIMEOUT, sender).await?;
        bell::tracking(keys).query_async::<()>(&mut connection).await?;
        Ok(connection)
    };
    let mut connection = match listening.await {
        Ok(connection) => Some(connection),
        Err(failure @ RedisFailure::Refused(_)) => {
            let what = "packages on other lists than the main one are found within 2 s, as CLIENT TRACKING is refused";
            warn(what, &failure);
            None
        }
        Err(failure) => return Err(failure),
    };
    // What stands on the channel of replicas and is no notice is passed over by them.
    let mut publish = cmd("PUBLISH");
    publish.arg(keys.control()).arg("");
    let mut pooled = redis.connection().await?;
    let published = publish.query_async::<Value>(&mut pooled).await;
    let mut subscribe = cmd("SUBSCRIBE");
    subscribe.arg(keys.control()).arg(keys.events());
    let subscribed = match &mut connection {
        Some(connection) => subscribe.query_async::<Value>(connection).await,
        None => Ok(Value::Nil),
    };
    for result in [published, subscribed] {
        match result.map_err(RedisFailure::from) {
            Err(failure @ RedisFailure::Refused(_)) => {
                let what = format!(
                    "nobody learns of jobs from {}, and replicas learn of each other's notices late",
                    keys.events()
                );
                warn(&what, &failure);
                break;
            }
            result => _ = result?,
        }
    }
    Ok(is_limited)
}

/// What this account may not do, tried as at the start: a server before 7.2 does not say which command it has refused
/// to a script.
pub(super) async fn missing(redis: &Redis) -> Result<Option<RedisFailure>, RedisFailure> {
    let trial = Trial::new(redis);
    let mut connection = redis.connection().await?;
    let mut missing = None;
    let tidying = ("transactions and tidying", trial.tidying());
    for (_, commands) in trial.kinds().into_iter().chain([tidying]) {
        let first = try_commands(&mut connection, commands).await?.first;
        missing = missing.or(first.filter(|failure| matches!(failure, RedisFailure::Refused(_))));
    }
    Ok(missing)
}

/// A fault to be mended, or an outage.
pub(super) fn note(findings: &mut Findings, failure: &RedisFailure, text: &str) {
    let text = format!("{}: {text}", variable());
    if failure.needs_mending() {
        findings.fail(text);
    } else {
        findings.away(text);
    }
}

/// What was refused of a kind of commands.
#[derive(Default)]
struct Refused {
    commands: Vec<String>,
    first: Option<RedisFailure>,
    is_full: bool,
}

impl Refused {
    /// Whether there is something to tell.
    fn tell(self, kind: &str, findings: &mut Findings) -> bool {
        let Some(failure) = self.first else {
            return false;
        };
        let commands = self.commands.join(", ");
        note(
            findings,
            &failure,
            &format!("{kind}: refused: {commands}: {}", failure.bare()),
        );
        true
    }
}

async fn try_commands(
    connection: &mut Connection,
    commands: Vec<Vec<String>>,
) -> Result<Refused, RedisFailure> {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    for words in &commands {
        let mut command = Cmd::new();
        words.iter().for_each(|word| _ = command.arg(word));
        pipeline.add_command(command);
    }
    let answers: Vec<redis::RedisResult<Value>> = pipeline.query_async(connection).await?;
    let mut refused = Refused::default();
    for (words, answer) in commands.iter().zip(answers) {
        let Err(error) = answer else { continue };
        // A full server is drained by scripts, which it lets run. It takes no transaction either, and says why of its
        // parts alone.
        let is_aborted = error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort);
        if scripts::is_full(&error) || refused.is_full && is_aborted {
            refused.is_full = true;
            continue;
        }
        let failure = RedisFailure::from(error);
        // The look at types has named that key.
        if matches!(failure, RedisFailure::WrongType(_)) {
            continue;
        }
        let name = match words[0].as_str() {
            container @ ("CLIENT" | "SCRIPT") => format!("{container} {}", words[1]),
            name => name.to_owned(),
        };
        if !refused.commands.contains(&name) {
            refused.commands.push(name);
        }
        refused.first.get_or_insert(failure);
    }
    Ok(refused)
}

/// Keys that nobody else uses.
struct Trial<'r> {
    redis: &'r Redis,
    tag: String,
}

const KINDS: [&str; 7] = ["list", "other", "hash", "zset", "set", "text", "lease"];

impl<'r> Trial<'r> {
    fn new(redis: &'r Redis) -> Self {
        Self {
            redis,
            tag: Uuid::new_v4().simple().to_string(),
        }
    }

    fn key(&self, kind: &str) -> String {
        self.redis.keys().trial(&format!("{}:{kind}", self.tag))
    }

    fn tidying(&self) -> Vec<Vec<String>> {
        let keys = KINDS.map(|kind| self.key(kind));
        let delete = std::iter::once("DEL".to_owned()).chain(keys).collect();
        vec![vec!["MULTI".to_owned()], delete, vec!["EXEC".to_owned()]]
    }

    fn ending(&self) -> Vec<Vec<String>> {
        let end = |kind| ["PEXPIRE".to_owned(), self.key(kind), "0".to_owned()].to_vec();
        KINDS.map(end).to_vec()
    }

    fn kinds(&self) -> Vec<(&'static str, Vec<Vec<String>>)> {
        let call = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let ttl = TTL_MS.to_string();
        let [list, other, hash, zset, set, text, ..] = KINDS.map(|kind| self.key(kind));
        let inbox = self.redis.keys().inbox();
        vec![
            (
                "lists",
                vec![
                    call(&["LLEN", inbox]),
                    call(&["LTRIM", inbox, "0", "-1"]),
                    call(&["LPUSH", &list, "a", "b", "c"]),
                    call(&["PEXPIRE", &list, &ttl]),
                    call(&["LMOVE", &list, &other, "RIGHT", "LEFT"]),
                    call(&["PEXPIRE", &other, &ttl]),
                    call(&["BLMOVE", &list, &other, "RIGHT", "LEFT", "0.1"]),
                    call(&["RPUSH", &other, "d"]),
                    call(&["LINDEX", &other, "-1"]),
                    call(&["LRANGE", &other, "-1", "-1"]),
                    call(&["LTRIM", &other, "0", "-1"]),
                ],
            ),
            (
                "hashes",
                vec![
                    call(&["HSET", &hash, "1", "a"]),
                    call(&["PEXPIRE", &hash, &ttl]),
                    call(&["HGET", &hash, "1"]),
                    call(&["HMGET", &hash, "1"]),
                    call(&["HGETALL", &hash]),
                    call(&["HINCRBY", &hash, "2", "1"]),
                    call(&["HKEYS", &hash]),
                    call(&["HLEN", &hash]),
                    call(&["HDEL", &hash, "1"]),
                ],
            ),
            (
                "sorted sets",
                vec![
                    call(&["ZADD", &zset, "1", "a"]),
                    call(&["PEXPIRE", &zset, &ttl]),
                    call(&["ZRANGEBYSCORE", &zset, "-inf", "+inf"]),
                    call(&["ZREVRANGE", &zset, "0", "0"]),
                    call(&["ZCARD", &zset]),
                    call(&["ZCOUNT", &zset, "-inf", "+inf"]),
                    call(&["ZRANGE", &zset, "0", "0"]),
                    call(&["ZPOPMIN", &zset]),
                    call(&["ZSCORE", &zset, "a"]),
                    call(&["ZREM", &zset, "a"]),
                    call(&["ZREMRANGEBYRANK", &zset, "0", "-1"]),
                    call(&["ZREMRANGEBYSCORE", &zset, "-inf", "0"]),
                ],
            ),
            (
                "sets",
                vec![
                    call(&["SADD", &set, "a"]),
                    call(&["PEXPIRE", &set, &ttl]),
                    call(&["SMEMBERS", &set]),
                    call(&["SREM", &set, "a"]),
                ],
            ),
            (
                "leases and pings",
                vec![
                    call(&["SET", &text, "a", "PX", &ttl]),
                    call(&["PSETEX", &text, &ttl, "a"]),
                    call(&["TIME"]),
                    call(&["PEXPIRE", &text, &ttl]),
                    call(&["EXPIRE", &text, "60"]),
                    call(&["PTTL", &text]),
                    call(&["EXISTS", &text]),
                    call(&["TYPE", &text]),
                    call(&["GET", &text]),
                ],
            ),
            (
                "scripts",
                vec![
                    call(&["SCRIPT", "LOAD", "return 1"]),
                    call(&["EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"]),
                ],
            ),
            (
                "connections",
                // Nobody has the number 0, so nobody is woken.
                vec![
                    call(&["CLIENT", "ID"]),
                    call(&["CLIENT", "UNBLOCK", "0"]),
                    // A pool says it before each use of a connection, which it closes where that is refused.
                    call(&["UNWATCH"]),
                    // Without it a worker would be sent packages of any size.
                    call(&["CLIENT", "REPLY", "ON"]),
                ],
            ),
        ]
    }
}
