//! What has to be true of a Redis server before a worker relies on it.

use anyhow::Context;
use redis::AsyncCommands;

use super::{Priority, Queue, QueueSettings, Redis};
use crate::findings::{Checked, Findings};
use crate::redis::{NotFound, RedisFailure};

/// A server that can be reached and is not as it has to be.
#[derive(Debug, thiserror::Error)]
#[error("REDIS_URL: {0}")]
pub struct UnfitServer(String);

impl Queue {
    /// Looks at the server as a worker uses it, and joins the queue.
    pub async fn check(settings: &QueueSettings) -> Checked<Self> {
        let mut findings = Findings::about("redis");
        let service = match Self::join(settings).await {
            Ok(queue) => {
                findings.ok("version, role, maxmemory-policy and keys are as a replica wants them");
                Some(queue)
            }
            Err(error) if error.chain().any(|cause| cause.is::<RedisFailure>()) => {
                findings.away(format!("{error:#}"));
                return Checked {
                    findings,
                    service: None,
                };
            }
            Err(error) => {
                findings.fail(format!("{error:#}"));
                None
            }
        };
        let tried = match Redis::new(settings) {
            Ok(redis) => redis.try_rights().await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        match tried {
            Ok((count, refusals)) if refusals.is_empty() => findings.ok(format!(
                "this account may do all {count} kinds of things that a worker does"
            )),
            Ok((_, refusals)) => {
                for refusal in refusals {
                    findings.fail(format!(
                        "REDIS_URL: {}: refused: {}; allow it to this user",
                        refusal.kind, refusal.why
                    ));
                }
            }
            Err(error) => findings.away(format!("REDIS_URL: its rights cannot be tried: {error:#}")),
        }
        Checked { findings, service }
    }
}

macro_rules! bail {
    ($($text:tt)*) => { return Err(UnfitServer(format!($($text)*)).into()) };
}

/// The oldest server that has every command that the scripts use (`LMOVE`, `BLMOVE`).
const OLDEST: (u64, u64) = (6, 2);

/// What the checks have found out.
pub(super) struct Server {
    version: (u64, u64),
}

impl Server {
    /// Whether scripts may begin with a line of flags.
    ///
    /// Source: Redis documentation, "Scripting with Lua", "Eval flags": since Redis 7.0.
    pub(super) fn has_script_flags(&self) -> bool {
        self.version >= (7, 0)
    }
}

pub(super) async fn server(redis: &Redis) -> anyhow::Result<Server> {
    let found = match redis.server().await {
        Ok(found) => found,
        Err(NotFound::Misnamed(why)) => return Err(UnfitServer(why).into()),
        Err(away) => {
            return Err(RedisFailure::from(away)).context("REDIS_URL: there is no master to be reached");
        }
    };
    let address = found.name.clone();
    let mut connection = found
        .connection()
        .await
        .with_context(|| format!("REDIS_URL: Redis at {address} cannot be reached"))?;
    let mut info = String::new();
    for section in ["server", "replication"] {
        let part: String = redis::cmd("INFO")
            .arg(section)
            .query_async(&mut connection)
            .await
            .map_err(RedisFailure::from)
            .with_context(|| format!("REDIS_URL: Redis at {address} does not answer INFO"))?;
        info.push_str(&part);
    }
    // Valkey calls it server_mode.
    match field(&info, "redis_mode").or_else(|| field(&info, "server_mode")) {
        Some("sentinel") => bail!(
            "Redis at {address} is a Sentinel; write redis+sentinel://[user:password@]{address}/<master name>"
        ),
        Some("cluster") if redis.is_fixed() => bail!(
            "Redis at {address} is a node of a cluster; write redis+cluster://[user:password@]{address}"
        ),
        _ => {}
    }
    let version = version(&info).context("Redis does not tell its version")?;
    if version < OLDEST {
        bail!(
            "Redis at {address} is version {}.{}; 6.2 or later is needed",
            version.0,
            version.1
        );
    }
    if field(&info, "role") == Some("slave") {
        bail!(
            "Redis at {address} is a replica, to which nothing can be written; REDIS_URL must name its master"
        );
    }
    let policy: Vec<String> = redis::cmd("CONFIG")
        .arg("GET")
        .arg("maxmemory-policy")
        .query_async(&mut connection)
        .await
        // Managed servers often forbid CONFIG; then their own settings have to be trusted.
        .unwrap_or_default();
    if let Some(policy) = policy.get(1).filter(|policy| *policy != "noeviction") {
        bail!(
            "Redis at {address} has maxmemory-policy {policy}, under which waiting packages can vanish; set it to noeviction"
        );
    }
    let keys = redis.keys();
    let mut expected: Vec<(String, &str)> = Priority::ALL
        .iter()
        .map(|priority| (keys.waiting(*priority), "list"))
        .collect();
    expected.extend([
        (keys.delayed(), "zset"),
        (keys.dead(), "zset"),
        (keys.in_flight(), "zset"),
        (keys.workers(), "set"),
        (keys.set_aside(), "list"),
        (keys.suspects(), "hash"),
        (keys.ping(), "string"),
    ]);
    for (key, wanted) in expected {
        let found: String = redis::cmd("TYPE")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .map_err(RedisFailure::from)?;
        if found != wanted && found != "none" {
            bail!(
                "the key {key} in Redis at {address} is a {found}, not a {wanted}; choose another QUEUE_NAME, or remove it"
            );
        }
    }
    let _: Option<String> = connection.get(keys.ping()).await.map_err(RedisFailure::from)?;
    Ok(Server { version })
}

/// Valkey answers with the version of Redis that it is compatible with, which is the one that counts here.
fn version(info: &str) -> Option<(u64, u64)> {
    let mut numbers = field(info, "redis_version")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_role_are_read_from_info() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:0\r\n# Replication\r\nrole:master\r\n";
        assert_eq!(version(info), Some((7, 0)));
        assert_eq!(field(info, "role"), Some("master"));
        assert_eq!(version("redis_version:new"), None);
    }
}
