//! What a `REDIS_URL` says: a server, the Sentinels of a master, or the nodes of a cluster.
//!
//! Whatever is wrong with a URL is said without quoting it: a stray `/` or `@` in a password moves the borders
//! between its parts.

use std::fmt;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use url::Url;

/// A `REDIS_URL` that cannot be used. Never holds a part of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnusableUrl(String);

const SERVER: &str = "redis://[user:password@]host[:port][/database], or rediss:// for TLS, is accepted";
const SENTINEL: &str = "redis+sentinel://[user:password@]host[:port][,host[:port]…]/<master name>[/database]\
                        [?sentinel_user=…&sentinel_password=…], or rediss+sentinel:// for TLS, is accepted";
const CLUSTER: &str =
    "redis+cluster://[user:password@]host[:port][,host[:port]…], or rediss+cluster:// for TLS, is accepted";

const SENTINEL_PORT: u16 = 26_379;
const SERVER_PORT: u16 = 6_379;

/// Where a server, a Sentinel or a node of a cluster listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How to connect to any node of a kind: user, password, database, TLS.
#[derive(Clone, Debug)]
pub(super) struct Access {
    is_encrypted: bool,
    login: RedisConnectionInfo,
}

impl Access {
    pub(super) fn to(&self, node: &Node) -> ConnectionInfo {
        let host = node.host.clone();
        let address = if self.is_encrypted {
            ConnectionAddr::TcpTls {
                host,
                port: node.port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, node.port)
        };
        let info = address
            .into_connection_info()
            .expect("an address needs no parsing");
        with_keepalive(info.set_redis_settings(self.login.clone()))
    }
}

/// A peer that vanishes without a word is otherwise noticed only by the response timeout.
fn with_keepalive(info: ConnectionInfo) -> ConnectionInfo {
    let keepalive = redis::io::tcp::socket2::TcpKeepalive::new().with_time(Duration::from_secs(10));
    info.set_tcp_settings(TcpSettings::default().set_nodelay(true).set_keepalive(keepalive))
}

/// A `REDIS_URL`, taken apart.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// One server, always the same.
    Server(Box<ConnectionInfo>),
    /// The master that Sentinels know by a name.
    Sentinels {
        nodes: Vec<Node>,
        master: String,
        sentinels: Access,
        servers: Access,
    },
    /// The master of the queue's slot in a cluster of which some nodes are known.
    Cluster { nodes: Vec<Node>, servers: Access },
}

impl Address {
    /// # Errors
    /// [`UnusableUrl`] says what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, UnusableUrl> {
        let scheme = text
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("redis" | "rediss") => server(text),
            Some("redis+sentinel" | "rediss+sentinel") => sentinels(text),
            Some("redis+cluster" | "rediss+cluster") => cluster(text),
            _ => {
                let found = match Url::parse(text) {
                    Ok(url) => format!("a URL with the scheme {} was found", url.scheme()),
                    Err(error) => format!("no URL was found ({error})"),
                };
                Err(UnusableUrl(format!("{found}; {SERVER}; {SENTINEL}; {CLUSTER}")))
            }
        }
    }
}

fn wrong<'a>(found: &'a str, accepted: &'a str) -> impl Fn() -> UnusableUrl + 'a {
    move || UnusableUrl(format!("cannot be used ({found}); {accepted}"))
}

fn server(text: &str) -> Result<Address, UnusableUrl> {
    let commas = "it names more than one server";
    match Url::parse(text) {
        Ok(url) if !url.has_host() => Err(wrong("it names no host", SERVER)()),
        Ok(url) if url.fragment() == Some("insecure") => Err(wrong(
            "TLS without a look at the certificate is not offered",
            SERVER,
        )()),
        Ok(url) if url.host_str().is_some_and(|host| host.contains(',')) => Err(UnusableUrl(format!(
            "cannot be used ({commas}); {SENTINEL}; {CLUSTER}"
        ))),
        Ok(_) => {
            let info = text.into_connection_info().map_err(|error| {
                UnusableUrl(format!(
                    "cannot be used ({}); {SERVER}",
                    super::RedisFailure::from(error)
                ))
            })?;
            Ok(Address::Server(Box::new(with_keepalive(info))))
        }
        Err(error) if text.contains(',') => Err(UnusableUrl(format!(
            "no URL was found ({error}); if {commas}: {SENTINEL}; {CLUSTER}"
        ))),
        Err(error) => Err(UnusableUrl(format!("no URL was found ({error}); {SERVER}"))),
    }
}

/// What the URLs with several hosts have in common.
struct Parts<'a> {
    is_encrypted: bool,
    user: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

fn parts<'a>(text: &'a str, accepted: &str) -> Result<Parts<'a>, UnusableUrl> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    if rest.contains('#') {
        return Err(wrong(
            "it holds a #, which is written %23 in a password",
            accepted,
        )());
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    Ok(Parts {
        is_encrypted: scheme.to_ascii_lowercase().starts_with("rediss"),
        user,
        hosts,
        path: path.strip_suffix('/').unwrap_or(path),
        query,
    })
}

impl Parts<'_> {
    fn nodes(&self, default_port: u16, accepted: &str) -> Result<Vec<Node>, UnusableUrl> {
        let nodes: Option<Vec<Node>> = self
            .hosts
            .split(',')
            .map(|host| {
                let url = Url::parse(&format!("redis://{host}")).ok()?;
                let is_bare =
                    matches!(url.path(), "" | "/") && url.username().is_empty() && url.password().is_none();
                let host = url.host().filter(|_| is_bare)?;
                Some(Node {
                    // Without the brackets that an IPv6 address has in a URL.
                    host: match host {
                        url::Host::Domain(name) => name.to_owned(),
                        url::Host::Ipv4(address) => address.to_string(),
                        url::Host::Ipv6(address) => address.to_string(),
                    },
                    port: url.port().unwrap_or(default_port),
                })
            })
            .collect();
        nodes.ok_or_else(wrong("its hosts are not host[:port],host[:port]…", accepted))
    }

    fn servers(&self, database: &str, accepted: &str) -> Result<Access, UnusableUrl> {
        // User and password are written and read as in the URL of one server.
        let info = format!("redis://{}@host/{database}", self.user)
            .into_connection_info()
            .map_err(|error| {
                UnusableUrl(format!(
                    "cannot be used ({}); {accepted}",
                    super::RedisFailure::from(error)
                ))
            })?;
        Ok(Access {
            is_encrypted: self.is_encrypted,
            login: info.redis_settings().clone(),
        })
    }
}

fn sentinels(text: &str) -> Result<Address, UnusableUrl> {
    let parts = parts(text, SENTINEL)?;
    let nodes = parts.nodes(SENTINEL_PORT, SENTINEL)?;
    let (master, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if master.is_empty() {
        return Err(wrong("it names no master", SENTINEL)());
    }
    let mut login = RedisConnectionInfo::default();
    // `+` is no space in a password.
    let query = parts.query.replace('+', "%2B");
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        login = match &*name {
            "sentinel_user" => login.set_username(value),
            "sentinel_password" => login.set_password(value),
            _ => return Err(wrong("it has a parameter that is not known", SENTINEL)()),
        };
    }
    Ok(Address::Sentinels {
        nodes,
        master: master.to_owned(),
        servers: parts.servers(database, SENTINEL)?,
        sentinels: Access {
            is_encrypted: parts.is_encrypted,
            login,
        },
    })
}

fn cluster(text: &str) -> Result<Address, UnusableUrl> {
    let parts = parts(text, CLUSTER)?;
    let nodes = parts.nodes(SERVER_PORT, CLUSTER)?;
    if !matches!(parts.path, "" | "0") {
        return Err(wrong("a cluster has no database but 0", CLUSTER)());
    }
    if !parts.query.is_empty() {
        return Err(wrong("it has a parameter, and none is known", CLUSTER)());
    }
    Ok(Address::Cluster {
        nodes,
        servers: parts.servers("", CLUSTER)?,
    })
}

#[cfg(test)]
mod tests;
