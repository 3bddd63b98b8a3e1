//! Whether this account may do in Redis what a worker does, tried on keys that nobody else uses.

use redis::{Cmd, Value, cmd};
use uuid::Uuid;

use super::Redis;
use crate::redis::RedisFailure;

/// A kind of commands that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `lists`, `hashes`, …
    pub kind: &'static str,
    /// What the server says.
    pub why: String,
}

/// What is left behind when the program is cut off goes by itself.
const TTL_MS: u64 = 60_000;

impl Redis {
    /// Tries each kind of commands that a worker needs, on keys of their own below the queue's prefix, and removes
    /// them. Returns how many kinds there are, and those that were refused.
    ///
    /// # Errors
    /// [`RedisFailure`] when the server does not answer.
    pub async fn try_rights(&self) -> Result<(usize, Vec<Refusal>), RedisFailure> {
        let mut connection = self.connection().await?;
        let trials = self.trials();
        let count = trials.len();
        let mut refusals = Vec::new();
        for (kind, commands) in trials {
            let mut pipeline = redis::pipe();
            pipeline.ignore_errors();
            for command in commands {
                pipeline.add_command(command);
            }
            let answers: Vec<redis::RedisResult<Value>> = pipeline.query_async(&mut connection).await?;
            if let Some(error) = answers.into_iter().find_map(Result::err) {
                refusals.push(Refusal {
                    kind,
                    why: error.detail().map_or_else(|| error.to_string(), str::to_owned),
                });
            }
        }
        Ok((count, refusals))
    }

    fn trials(&self) -> Vec<(&'static str, Vec<Cmd>)> {
        let keys = self.keys();
        let tag = Uuid::new_v4().simple().to_string();
        let key = |kind: &str| keys.trial(&format!("{tag}:{kind}"));
        let call = |words: &[&str]| {
            let mut call = cmd(words[0]);
            for word in &words[1..] {
                call.arg(*word);
            }
            call
        };
        let ttl = TTL_MS.to_string();
        let (list, other, hash, zset, set, text) = (
            key("list"),
            key("other"),
            key("hash"),
            key("zset"),
            key("set"),
            key("text"),
        );
        vec![
            (
                "lists",
                vec![
                    call(&["LLEN", keys.inbox()]),
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
                    call(&["EVAL", "return redis.call('TIME')[1]", "0"]),
                ],
            ),
            (
                "connections",
                // Nobody has the number 0, so nobody is woken.
                vec![
                    call(&["CLIENT", "ID"]),
                    call(&["CLIENT", "UNBLOCK", "0"]),
                    // Without it a worker would be sent packages of any size.
                    call(&["CLIENT", "REPLY", "ON"]),
                ],
            ),
            ("events", vec![call(&["PUBLISH", &key("channel"), ""])]),
            (
                "transactions and tidying",
                vec![
                    cmd("MULTI"),
                    call(&["DEL", &list, &other, &hash, &zset, &set, &text]),
                    cmd("EXEC"),
                ],
            ),
        ]
    }
}
