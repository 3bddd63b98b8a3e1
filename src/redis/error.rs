//! Why something could not be done in Redis: whether it does not answer, or answers and refuses, and what to do.

use redis::{ErrorKind, RedisError};

/// Why something could not be done in Redis. Worth doing again when Redis is back, or has been mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisFailure {
    /// The server in use does not answer.
    #[error("Redis: {0}")]
    Failed(String),
    /// It answers, and can do nothing for anybody now: it is loading its file, full, or at the end of a resource.
    #[error("Redis: {0}")]
    Unable(String),
    /// It answers, and does nothing for this worker until somebody mends a setting: its password, or its role.
    #[error("Redis: {0}")]
    ShutOut(String),
    /// It answers, and refuses this command to this account, or has no such command. Others may go on.
    #[error("Redis: {0}")]
    Refused(String),
    /// A key is used by something else. Others may go on.
    #[error("Redis: {0}")]
    WrongType(String),
    /// The connection was cut before the answer came, and may have been dead for long: what was claimed is in hand.
    #[error("Redis: the answer was lost with its connection")]
    Lost,
    /// Another server has taken over since this was asked. It says nothing about that one.
    #[error("Redis: {}", super::server::REPLACED)]
    Replaced,
}

const LOADING: &str = "it is still loading its file, and answers when that is done";
const OF_A_SCRIPT: &str =
    "a script may not do all that it does: check-config says what has to be allowed to this user";

impl RedisFailure {
    /// Whether it answers all the same.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Unable(_) | Self::ShutOut(_) | Self::Refused(_) | Self::WrongType(_)
        )
    }

    /// Whether nothing but a change of settings, rights or keys helps.
    #[must_use]
    pub fn needs_mending(&self) -> bool {
        matches!(self, Self::ShutOut(_) | Self::Refused(_) | Self::WrongType(_))
    }

    /// The sentence alone, for where it is plain that it is about Redis.
    #[must_use]
    pub fn bare(&self) -> String {
        let text = self.to_string();
        text.strip_prefix("Redis: ").unwrap_or(&text).to_owned()
    }

    /// Whether it is loading its file, which ends by itself.
    pub(crate) fn is_loading(&self) -> bool {
        matches!(self, Self::Unable(why) if why == LOADING)
    }

    /// Whether a right is missing, and the server does not say which.
    pub(crate) fn is_of_a_script(&self) -> bool {
        matches!(self, Self::Refused(why) if why == OF_A_SCRIPT)
    }

    /// A key is of another type; which one has to be looked for, as Redis does not say.
    #[must_use]
    pub fn wrong_type() -> Self {
        Self::WrongType("a key of the queue holds another type than it is used for".to_owned())
    }

    /// What an answer with this code and these details means.
    pub(super) fn of_answer(code: &str, details: &str) -> Self {
        let (code, details) = unwrapped(code, details);
        let variable = super::variable();
        let says = |words: &str| details.contains(words);
        match code {
            "WRONGTYPE" => Self::wrong_type(),
            "NOPERM" => Self::Refused(format!(
                "{details}: allow it to the user of {variable} (deploy/redis/users.acl has all that a worker needs)"
            )),
            // The library calls it ERR where it came in answer to SELECT.
            _ if code == "NOAUTH" || says("Authentication required") => Self::ShutOut(
                format!("it asks for a password; write redis://[user]:<password>@host in {variable}"),
            ),
            "WRONGPASS" => Self::ShutOut(format!(
                "it refuses this user or this password; mend them in {variable}, where a password without a user is \
                 written redis://:<password>@host"
            )),
            "DENIED" => Self::ShutOut(
                "it is in protected mode and serves its own machine alone; give it a password, or switch protected-mode off"
                    .to_owned(),
            ),
            "READONLY" => Self::ShutOut(format!(
                "it is a replica, to which nothing can be written; {variable} must name its master"
            )),
            "OOM" => Self::Unable("it has reached its maxmemory; raise it, or remove other data".to_owned()),
            "MISCONF" => Self::Unable(
                "it takes no writes, as it cannot save to its disk; its log says why, and room on that disk mends it"
                    .to_owned(),
            ),
            "LOADING" => Self::Unable(LOADING.to_owned()),
            "ERR" if says("loading the dataset") => Self::Unable(LOADING.to_owned()),
            "BUSY" => {
                Self::Unable("a script holds it up; SCRIPT KILL ends that, if it has not written".to_owned())
            }
            "NOREPLICAS" => Self::Unable(
                "it takes no writes, as too few replicas follow it; see min-replicas-to-write".to_owned(),
            ),
            "ERR" if says("max number of clients") => Self::Unable(
                "it has as many clients as it takes; raise its maxclients, or end connections of others".to_owned(),
            ),
            "ERR" if says("without any password configured") || says("no password is set") => Self::ShutOut(format!(
                "it has no password for this user; leave the password out of {variable}"
            )),
            "ERR" if says("DB index") || says("SELECT is not allowed") => Self::ShutOut(format!(
                "it has no such database ({details}); mend its number in {variable}"
            )),
            "ERR" if says("unknown command") || says("unknown subcommand") => Self::Refused(format!(
                "{details}: its administrator has forbidden or renamed a command that a worker needs"
            )),
            // Source: Redis 6.2 and 7.0, `script_lua.c`. Later ones say "ACL failure in script" and name the command.
            "ERR" if says("The user executing the script can't") => Self::Refused(OF_A_SCRIPT.to_owned()),
            // Whose server this is for, or how it is with it, is being looked at.
            _ => Self::Failed(format!("{code} {details}").trim().to_owned()),
        }
    }
}

/// What a script has met is wrapped up: before Redis 7 with `-CODE` in the middle, and refusals of rights ever since.
///
/// Source: Redis, `script_lua.c`, "ACL failure in script"; `scripting.c` of 6.2, "Error running script".
fn unwrapped<'a>(code: &'a str, details: &'a str) -> (&'a str, &'a str) {
    // A transaction that has come to nothing says why.
    let within = details.split_once("because of: ").filter(|_| code == "EXECABORT");
    if let Some(inner) = within.and_then(|(_, inner)| inner.split_once(' ')) {
        return inner;
    }
    if code != "ERR" {
        return (code, details);
    }
    if let Some((_, rest)) = details.split_once("ACL failure in script: ") {
        return ("NOPERM", rest.split(" script: ").next().unwrap_or(rest));
    }
    let inner = details
        .split_once("@user_script")
        .and_then(|(_, rest)| rest.split_once(": -"))
        .and_then(|(_, inner)| inner.split_once(' '));
    inner
        .filter(|(code, _)| code.bytes().all(|byte| byte.is_ascii_uppercase()))
        .unwrap_or((code, details))
}

impl From<RedisError> for RedisFailure {
    fn from(error: RedisError) -> Self {
        if super::server::is_replaced(&error) {
            return Self::Replaced;
        }
        let answers = error.clone().into_server_errors();
        if let Some((_, answer)) = answers.iter().flat_map(|answers| answers.iter()).next() {
            return Self::of_answer(answer.code(), answer.details().unwrap_or_default());
        }
        if error.kind() == ErrorKind::AuthenticationFailed {
            return Self::of_answer("WRONGPASS", "");
        }
        if let (ErrorKind::Server(_), Some(details)) = (error.kind(), error.detail()) {
            return Self::of_answer("ERR", details);
        }
        // The category says "timed out" or "connection refused" and never holds a password.
        let mut text = match error.detail() {
            Some(detail) => format!("{} ({detail})", error.category()),
            None => error.to_string(),
        };
        if let Some((_, advice)) = TLS_ADVICE.iter().find(|(sign, _)| text.contains(sign)) {
            text.push_str(&advice.replace("REDIS_URL", super::variable()));
        }
        Self::Failed(text)
    }
}

/// What a handshake says that came to nothing, and what that means here.
const TLS_ADVICE: [(&str, &str); 3] = [
    (
        "UnknownIssuer",
        "; name a file with its authority: ?ssl_ca_certs=/path/to/ca.pem in REDIS_URL, or SSL_CERT_FILE for all services",
    ),
    (
        "not valid for name",
        "; write the host in REDIS_URL as its certificate names it",
    ),
    (
        "CertificateRequired",
        "; it asks for a certificate of its clients: name one in ?ssl_certfile=…&ssl_keyfile=… of REDIS_URL, or set \
         tls-auth-clients no there",
    ),
];

impl From<deadpool_redis::PoolError> for RedisFailure {
    fn from(error: deadpool_redis::PoolError) -> Self {
        match error {
            deadpool_redis::PoolError::Backend(error) => error.into(),
            deadpool_redis::PoolError::Timeout(_) => {
                Self::Failed("no connection could be opened in time".to_owned())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answer: &str) -> RedisFailure {
        let value = redis::parse_redis_value(format!("-{answer}\r\n").as_bytes());
        match value.and_then(redis::Value::extract_error) {
            Ok(value) => panic!("{answer}: {value:?}"),
            Err(error) => error.into(),
        }
    }

    #[test]
    fn what_a_server_refuses_is_told_from_what_it_does_not_answer() {
        type Kind = fn(String) -> RedisFailure;
        let rows: [(&str, Kind, &str); 22] = [
            (
                "WRONGTYPE Operation against a key",
                RedisFailure::WrongType,
                "another type",
            ),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value script: 1f, on @user_script:3.",
                RedisFailure::WrongType,
                "another type",
            ),
            (
                "ERR Error running script (call to f_1): @user_script:1: -WRONGTYPE Operation against a key",
                RedisFailure::WrongType,
                "another type",
            ),
            (
                "ERR Error running script (call to f_1): @user_script:1: -OOM command not allowed",
                RedisFailure::Unable,
                "maxmemory",
            ),
            (
                "NOPERM User w has no permissions to run the 'client|id' command",
                RedisFailure::Refused,
                "client|id",
            ),
            (
                "EXECABORT Transaction discarded because of: NOPERM this user has no permissions to run the 'exec' command",
                RedisFailure::Refused,
                "run the 'exec' command: allow it",
            ),
            (
                "ERR ACL failure in script: User w has no permissions to run the 'publish' command script: 1f, on @user_script:3.",
                RedisFailure::Refused,
                "User w has no permissions to run the 'publish' command: allow it",
            ),
            (
                "ERR The user executing the script can't run this command or subcommand script: 1f, on @user_script:1.",
                RedisFailure::Refused,
                "a script may not do all that it does",
            ),
            (
                "NOAUTH Authentication required.",
                RedisFailure::ShutOut,
                "asks for a password",
            ),
            (
                "WRONGPASS invalid username-password pair",
                RedisFailure::ShutOut,
                "refuses this user",
            ),
            (
                "DENIED Redis is running in protected mode",
                RedisFailure::ShutOut,
                "protected mode",
            ),
            (
                "READONLY You can't write against a read only replica.",
                RedisFailure::ShutOut,
                "is a replica",
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                RedisFailure::Unable,
                "maxmemory",
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                RedisFailure::Unable,
                "its disk",
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                RedisFailure::Unable,
                "loading its file",
            ),
            (
                "BUSY Redis is busy running a script",
                RedisFailure::Unable,
                "SCRIPT KILL",
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                RedisFailure::Unable,
                "min-replicas",
            ),
            (
                "ERR max number of clients reached",
                RedisFailure::Unable,
                "maxclients",
            ),
            (
                "ERR AUTH <password> called without any password configured for the default user.",
                RedisFailure::ShutOut,
                "leave the password out",
            ),
            (
                "ERR DB index is out of range",
                RedisFailure::ShutOut,
                "no such database",
            ),
            (
                "ERR unknown command 'EVALSHA', with args",
                RedisFailure::Refused,
                "EVALSHA",
            ),
            (
                "CLUSTERDOWN The cluster is down",
                RedisFailure::Failed,
                "CLUSTERDOWN The cluster is down",
            ),
        ];
        for (answer, kind, words) in rows {
            let found = of(answer);
            let text = found.to_string();
            assert!(text.contains(words), "{answer}: {text}");
            let bare = text.strip_prefix("Redis: ").unwrap().to_owned();
            assert_eq!(found, kind(bare), "{answer}");
        }
    }

    #[test]
    fn what_a_handshake_says_comes_with_what_to_do() {
        let failed =
            |text: &str| RedisFailure::from(RedisError::from(std::io::Error::other(text.to_owned())));
        let stranger = failed("invalid peer certificate: UnknownIssuer").to_string();
        assert!(stranger.contains("?ssl_ca_certs="), "{stranger}");
    }
}
