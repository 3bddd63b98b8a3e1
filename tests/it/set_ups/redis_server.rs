//! Wrong Redis servers: accounts, keys of others, and what stands in `REDIS_URL`.

use super::{Command, Variables, Wrong, away, in_redis, set};

const CLERK: Variables = &[("REDIS_URL", "redis://clerk:clerk-5be1@127.0.0.1:{redis}")];
const FORGET_CLERK: &[Command] = &[&["ACL", "DELUSER", "clerk"]];

/// Makes a user called `clerk` who may not do this.
macro_rules! clerk_without {
    ($($rule:literal),+) => {
        &[&["ACL", "SETUSER", "clerk", "reset", "on", ">clerk-5be1", "~*", "&*", "+@all", $($rule),+]]
    };
}

/// What a replica says of itself that works with another database.
const STRANGER: &str = r#"{"workerId": "stranger", "version": "0.1.0", "host": "web1", "pid": 42, "startedAt": "2026-11-25T12:00:00.000Z",
    "at": "2026-11-25T12:00:00.000Z", "state": "running", "inFlight": 0, "concurrency": 5, "completed": 0, "failed": 0, "retried": 0,
    "database": "5f6ae1a0-1111-5222-8333-444455556666"}"#;

pub(super) const ROWS: &[Wrong] = &[
    in_redis(
        clerk_without!("-evalsha"),
        FORGET_CLERK,
        CLERK,
        &["REDIS_URL: scripts: refused: EVALSHA: "],
    ),
    in_redis(
        clerk_without!("-blmove", "-zadd"),
        FORGET_CLERK,
        CLERK,
        &["lists: refused: BLMOVE: ", "sorted sets: refused: ZADD: "],
    ),
    in_redis(
        clerk_without!("-del"),
        FORGET_CLERK,
        CLERK,
        &["transactions and tidying: refused: DEL"],
    ),
    in_redis(
        clerk_without!("-exec"),
        FORGET_CLERK,
        CLERK,
        &["transactions and tidying: refused: EXEC"],
    ),
    in_redis(
        clerk_without!("-info"),
        FORGET_CLERK,
        CLERK,
        &["cannot be used: "],
    ),
    in_redis(
        clerk_without!("resetkeys", "~generative-ai"),
        FORGET_CLERK,
        CLERK,
        &[
            "the types of its keys: this user has no permissions",
            "lists: refused: LPUSH",
        ],
    ),
    in_redis(
        &[&["SET", "generative-ai", "somebody else's"]],
        &[&["DEL", "generative-ai"]],
        &[],
        &["the key generative-ai is a string, not a list; rename or remove it"],
    ),
    in_redis(
        &[&["LPUSH", "{generative-ai}:delayed", "somebody else's"]],
        &[&["DEL", "{generative-ai}:delayed"]],
        &[],
        &["the key {generative-ai}:delayed is a list, not a zset"],
    ),
    in_redis(
        &[&["SET", "{generative-ai}:provider:openai", "somebody else's"]],
        &[&["DEL", "{generative-ai}:provider:openai"]],
        &[],
        &["the key {generative-ai}:provider:openai is a string, not a hash"],
    ),
    in_redis(
        &[
            &["SADD", "{generative-ai}:parked:gemini", "somebody else's"],
            &["SET", "{generative-ai}:open-calls:openai", "somebody else's"],
        ],
        &[&[
            "DEL",
            "{generative-ai}:parked:gemini",
            "{generative-ai}:open-calls:openai",
        ]],
        &[],
        &[
            "the key {generative-ai}:open-calls:openai is a string, not a zset",
            "the key {generative-ai}:parked:gemini is a set, not a list",
        ],
    ),
    in_redis(
        &[&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]],
        &[&["CONFIG", "SET", "maxmemory-policy", "noeviction"]],
        &[],
        &["has maxmemory-policy allkeys-lru, under which waiting packages can vanish"],
    ),
    in_redis(
        &[
            &["SADD", "{generative-ai}:workers", "stranger"],
            &["SET", "{generative-ai}:ping:stranger", STRANGER],
        ],
        &[
            &["SREM", "{generative-ai}:workers", "stranger"],
            &["DEL", "{generative-ai}:ping:stranger"],
        ],
        &[],
        &["the replica stranger on web1 works on the queue generative-ai with another database"],
    ),
    set(
        &[("REDIS_URL", "redis://127.0.0.1:{redis}")],
        &["it asks for a password; write redis://[user]:<password>@host in REDIS_URL"],
    ),
    set(
        &[("REDIS_URL", "redis://nobody:wrong@127.0.0.1:{redis}")],
        &["it refuses this user or this password; mend them in REDIS_URL"],
    ),
    set(&[("REDIS_URL", "{redis_url}/999")], &["it has no such database"]),
    set(&[("REDIS_URL", "http://127.0.0.1:{redis}")], &["REDIS_URL: "]),
    set(
        &[("REDIS_URL", "redis://127.0.0.1:{redis}?connectTimeout=100")],
        &["its parameter connectTimeout is not honoured"],
    ),
    // The one that wins is the one that is named.
    set(
        &[("REDIS_WORKER_URL", "redis://nobody:wrong@127.0.0.1:{redis}")],
        &[
            "REDIS_WORKER_URL: Redis at 127.0.0.1:{redis} cannot be used: it refuses this user or this password; mend them in REDIS_WORKER_URL",
        ],
    ),
    away(
        &[("REDIS_WORKER_URL", "redis://127.0.0.1:1")],
        &["REDIS_WORKER_URL: Redis at 127.0.0.1:1 cannot be reached: "],
    ),
    away(
        &[("REDIS_URL", "rediss://127.0.0.1:{redis}")],
        &["it does not speak TLS on this port: write redis://"],
    ),
    // Somebody else listens there.
    away(
        &[("REDIS_URL", "redis://127.0.0.1:{postgres}")],
        &["it takes connections and ends them without a word; see whether a Redis listens there"],
    ),
    set(
        &[("REDIS_URL", "redis://127.0.0.1:{stranger}")],
        &["REDIS_URL: what answers at 127.0.0.1:{stranger} is no Redis: it says \"HTTP/1.1 "],
    ),
];
