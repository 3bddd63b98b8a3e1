//! What has to be true of a Redis server before a worker relies on it: looked at as `run` uses it, all of it at once.

use std::time::Duration;

use tokio::time::Instant;

use super::scripts::Scripts;
use super::{Queue, QueueSettings, Redis, rights, types};
use crate::findings::{Checked, Findings};
use crate::redis::{Connection, NotFound, RedisFailure, variable};

/// The oldest server that has every command that the scripts use (`LMOVE`, `BLMOVE`).
const OLDEST: (u64, u64) = (6, 2);
/// A server that is still loading its file is waited for; one with many GB takes minutes.
const LOADING_LIMIT: Duration = Duration::from_secs(600);
const LOADING_PAUSE: Duration = Duration::from_millis(250);
/// Between two answers it may read its file for longer than they are waited for, a large key say.
const LOADING_SILENCE: Duration = Duration::from_secs(30);

impl Queue {
    /// Looks at the server as a replica uses it: opens the connections that a replica opens, and tries on keys of its own what a
    /// replica does. Joins the queue where all of it is well. Takes less than a second, unless the server is still loading its
    /// file, which is waited for.
    pub async fn check(settings: &QueueSettings) -> Checked<Self> {
        let mut findings = Findings::about("redis");
        let service = match Redis::new(settings) {
            Ok(redis) => look(&redis, &mut findings)
                .await
                .map(|(scripts, is_limited)| Self::of(redis, settings, scripts, is_limited)),
            Err(error) => {
                findings.fail(format!("{error:#}"));
                None
            }
        };
        Checked { findings, service }
    }
}

/// Notes what is wrong, and returns the scripts as this server takes them, where it can be used at all, and whether something is
/// refused that a replica can do without.
async fn look(redis: &Redis, findings: &mut Findings) -> Option<(Scripts, bool)> {
    let (mut connection, info) = match reach(redis).await {
        Ok(reached) => reached,
        Err(failure) => {
            let server = redis.server().await;
            let failure = match (&server, failure) {
                (Ok(server), failure @ RedisFailure::Failed(_)) => {
                    server.says_unasked().await.unwrap_or(failure)
                }
                (_, failure) => failure,
            };
            let text = match (server, &failure) {
                (Err(NotFound::Misnamed(why)), _) => why,
                (Err(NotFound::Away(_)), _) => format!("there is no master to be reached: {failure}"),
                (Ok(server), failure) if failure.is_refusal() => {
                    format!("Redis at {} cannot be used: {}", server.name, failure.bare())
                }
                (Ok(server), failure) => {
                    let name = &server.name;
                    match server.wrong_protocol().await {
                        Some(known) if known.is_refusal() => {
                            let text = format!("what answers at {name} is no Redis: {}", known.bare());
                            rights::note(findings, &known, &text);
                            return None;
                        }
                        known => format!(
                            "Redis at {name} cannot be reached: {}",
                            known.as_ref().unwrap_or(failure)
                        ),
                    }
                }
            };
            rights::note(findings, &failure, &text);
            return None;
        }
    };
    let address = connection.server().name.clone();
    let version = look_at_server(redis, &address, &info, findings)?;
    look_at_policy(&address, &info, findings);
    match types::wrong_keys(redis, &[], &mut connection).await {
        Ok(wrong) => wrong
            .into_iter()
            .for_each(|wrong| findings.fail(format!("{}: {wrong}", variable()))),
        Err(failure) => rights::note(
            findings,
            &failure,
            &format!("the types of its keys: {}", failure.bare()),
        ),
    }
    if !findings.has_failures() {
        findings.ok("version, role, maxmemory-policy and keys are as a replica wants them");
    }
    // Source: Redis documentation, "Scripting with Lua", "Eval flags": since Redis 7.0.
    let scripts = Scripts::new(version >= (7, 0));
    let is_limited = rights::try_all(redis, &scripts, &mut connection, findings).await;
    Some((scripts, is_limited))
}

/// A connection to the right server, and what that says of itself. Waits for one that is loading its file.
async fn reach(redis: &Redis) -> Result<(Connection, String), RedisFailure> {
    let begun = Instant::now();
    let mut has_told = false;
    // When it last said that it is loading.
    let mut heard: Option<Instant> = None;
    let goes_on = |failure: &RedisFailure, heard: Option<Instant>| {
        let is_silent = heard.is_some_and(|heard| heard.elapsed() < LOADING_SILENCE);
        failure.is_loading() || is_silent && !failure.is_refusal()
    };
    loop {
        let reaching = async {
            let server = match redis.server().await {
                Err(NotFound::Misnamed(why)) => return Err(RedisFailure::ShutOut(why)),
                found => found?,
            };
            let mut connection = server.connection().await?;
            let mut info = String::new();
            for section in ["server", "replication", "memory"] {
                let part: String = redis::cmd("INFO")
                    .arg(section)
                    .query_async(&mut connection)
                    .await?;
                info.push_str(&part);
            }
            // INFO is answered all the while that it loads. Whether a key may be read is not asked here.
            let mut asking = redis::cmd("EXISTS");
            asking.arg(redis.keys().ping());
            let asked: redis::RedisResult<redis::Value> = asking.query_async(&mut connection).await;
            match asked.map_err(RedisFailure::from) {
                Ok(_) | Err(RedisFailure::Refused(_)) => {}
                // It does not have this key's slot, and is said to be what it is.
                Err(failure) if !failure.is_loading() && is_strange_cluster(redis, &info) => {}
                Err(failure) => return Err(failure),
            }
            Ok((connection, info))
        };
        match reaching.await {
            Err(failure) if goes_on(&failure, heard) && begun.elapsed() < LOADING_LIMIT => {
                if failure.is_loading() {
                    heard = Some(Instant::now());
                }
                if !std::mem::replace(&mut has_told, true) {
                    tracing::warn!("Redis is still loading its file; waiting until it has");
                }
                tokio::time::sleep(LOADING_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Whether it is a node of a cluster where one server was named.
fn is_strange_cluster(redis: &Redis, info: &str) -> bool {
    // Valkey calls it server_mode.
    let mode = field(info, "redis_mode").or_else(|| field(info, "server_mode"));
    redis.is_fixed() && mode == Some("cluster")
}

fn look_at_server(redis: &Redis, address: &str, info: &str, findings: &mut Findings) -> Option<(u64, u64)> {
    let variable = variable();
    // Valkey calls it server_mode.
    match field(info, "redis_mode").or_else(|| field(info, "server_mode")) {
        Some("sentinel") => {
            findings.fail(format!(
                "{variable}: Redis at {address} is a Sentinel; write redis+sentinel://[user:password@]{address}/<master name>"
            ));
            return None;
        }
        Some("cluster") if is_strange_cluster(redis, info) => {
            findings.fail(format!(
                "{variable}: Redis at {address} is a node of a cluster; write redis+cluster://[user:password@]{address}"
            ));
            return None;
        }
        _ => {}
    }
    let Some(version) = version(info) else {
        findings.fail(format!(
            "{variable}: Redis at {address} does not tell its version"
        ));
        return None;
    };
    if version < OLDEST {
        let (major, minor) = version;
        findings.fail(format!(
            "{variable}: Redis at {address} is version {major}.{minor}; 6.2 or later is needed"
        ));
        return None;
    }
    if field(info, "role") == Some("slave") {
        findings.fail(format!(
            "{variable}: Redis at {address} is a replica, to which nothing can be written; {variable} must name its master"
        ));
        return None;
    }
    Some(version)
}

/// Not from CONFIG GET, which would show this account passwords as well, and which managed servers often forbid.
fn look_at_policy(address: &str, info: &str, findings: &mut Findings) {
    let variable = variable();
    if let Some(policy) = field(info, "maxmemory_policy").filter(|policy| *policy != "noeviction") {
        findings.fail(format!(
            "{variable}: Redis at {address} has maxmemory-policy {policy}, under which waiting packages can vanish; set it \
             to noeviction"
        ));
    }
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
