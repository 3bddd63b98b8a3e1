//! What a `REDIS_URL` says: a server, a socket, the Sentinels of a master, or the nodes of a cluster.
//!
//! The forms are those that redis-rs, node-redis, ioredis and redis-py write. Whatever cannot be honoured is refused
//! by its name, as a setting that is passed over leads to another database than the one that was meant.
//!
//! Whatever is wrong with a URL is said without quoting it: a stray `/` or `@` in a password moves the borders
//! between its parts.

mod login;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates,
};
use url::Url;

use login::Login;

/// A `REDIS_URL` that cannot be used. Never holds a part of it that could be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnusableUrl(String);

const SERVER: &str = "redis://[user:password@]host[:port][/database][?protocol=resp3], or rediss:// for TLS \
                      [?ssl_ca_certs=file], or redis+unix:///path/of/socket[?db=database&user=…&pass=…] is accepted";
const SENTINEL: &str = "redis+sentinel://[user:password@]host[:port][,host[:port]…]/<master name>[/database]\
                        [?sentinel_user=…&sentinel_password=…], or rediss+sentinel:// for TLS, is accepted";
const CLUSTER: &str =
    "redis+cluster://[user:password@]host[:port][,host[:port]…], or rediss+cluster:// for TLS, is accepted";

const QUOTES: [char; 3] = ['"', '\'', '`'];

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
    /// `None`: TLS is not spoken.
    pub(super) certificates: Option<TlsCertificates>,
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
        let info = with_login(address, self.login.clone());
        let Some(certificates) = &self.certificates else {
            return info;
        };
        let client = Client::build_with_tls(info, certificates.clone());
        let client = client.expect("the certificates were tried when the URL was read");
        client.get_connection_info().clone()
    }
}

/// A peer that vanishes without a word is otherwise noticed only by the response timeout.
fn with_login(address: ConnectionAddr, login: RedisConnectionInfo) -> ConnectionInfo {
    let info = address
        .into_connection_info()
        .expect("an address needs no parsing");
    let keepalive = redis::io::tcp::socket2::TcpKeepalive::new().with_time(Duration::from_secs(10));
    info.set_redis_settings(login)
        .set_tcp_settings(TcpSettings::default().set_nodelay(true).set_keepalive(keepalive))
}

/// A `REDIS_URL`, taken apart.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// One server, always the same.
    Server {
        info: Box<ConnectionInfo>,
        certificates: Option<TlsCertificates>,
    },
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
        // Spaces and line ends come from files and forms, and no URL ends with one.
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://").filter(|_| !text.starts_with(QUOTES)) else {
            return Err(UnusableUrl(format!("{}; {SERVER}", found_instead(text))));
        };
        let scheme = scheme.to_ascii_lowercase();
        let is_encrypted = scheme.starts_with("rediss") || scheme.starts_with("valkeys");
        match scheme.replacen("valkey", "redis", 1).as_str() {
            "redis" | "rediss" => server(rest, is_encrypted),
            "redis+unix" | "unix" => socket(rest),
            "redis+sentinel" | "rediss+sentinel" => sentinels(rest, is_encrypted),
            "redis+cluster" | "rediss+cluster" => cluster(rest, is_encrypted),
            _ => Err(foreign(&scheme)),
        }
    }
}

/// What stands where a URL should. Holds nothing of it.
fn found_instead(text: &str) -> &'static str {
    if text.starts_with(QUOTES) {
        "no URL was found (it begins with a quote: leave the quotes out, which are part of the value here)"
    } else if text.starts_with('/') {
        "no URL was found (it is a path: write redis+unix:// before it if it is a socket's)"
    } else if text.to_ascii_lowercase().contains(",ssl=") || text.contains(",password=") {
        "no URL was found (it is a connection string of StackExchange.Redis: write its parts as a URL)"
    } else {
        "no URL was found (no :// stands in it: write redis:// before host and port)"
    }
}

/// A scheme that others use.
fn foreign(scheme: &str) -> UnusableUrl {
    let (advice, accepted) = match scheme {
        "redis-sentinel" | "rediss-sentinel" | "sentinel" => (", which is Lettuce's", SENTINEL),
        "redis-cluster" | "rediss-cluster" | "cluster" => (", which is another library's", CLUSTER),
        "http" | "https" => (
            ", which is that of an API over HTTP: take the address for Redis clients",
            SERVER,
        ),
        _ => ("", SERVER),
    };
    let is_name = scheme
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let found = if is_name {
        format!("a URL with the scheme {scheme} was found{advice}")
    } else {
        "no URL was found (no scheme stands before ://)".to_owned()
    };
    UnusableUrl(format!("{found}; {accepted}"))
}

fn wrong<'a>(found: &'a str, accepted: &'a str) -> impl Fn() -> UnusableUrl + 'a {
    move || UnusableUrl(format!("cannot be used ({found}); {accepted}"))
}

/// What all URLs have in common, behind their scheme.
struct Parts<'a> {
    is_encrypted: bool,
    user: &'a str,
    hosts: &'a str,
    path: &'a str,
    /// Names and values of parameters.
    query: Vec<(String, String)>,
}

fn parts<'a>(rest: &'a str, is_encrypted: bool, accepted: &str) -> Result<Parts<'a>, UnusableUrl> {
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // Everything behind the first of these is no user, password or host any more.
    for (part, sign, code) in [(path, '/', "%2F"), (query, '?', "%3F"), (fragment, '#', "%23")] {
        if part.contains('@') {
            let found =
                format!("it holds an @ behind a {sign}, which is written {code} in a user or a password");
            return Err(wrong(&found, accepted)());
        }
    }
    match fragment {
        "" => {}
        "insecure" => {
            let found = "TLS without a look at the certificate is not offered: leave #insecure out, and name a file with the \
                         server's authority in ?ssl_ca_certs=";
            return Err(wrong(found, accepted)());
        }
        _ => {
            return Err(wrong(
                "it holds a #, which is written %23 in a password",
                accepted,
            )());
        }
    }
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    // `+` is no space in a password.
    let query = query.replace('+', "%2B");
    Ok(Parts {
        is_encrypted,
        user,
        hosts,
        path: path.strip_suffix('/').unwrap_or(path),
        query: url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
    })
}

impl Parts<'_> {
    fn nodes(&self, default_port: u16, accepted: &str) -> Result<Vec<Node>, UnusableUrl> {
        let nodes: Option<Vec<Node>> = self
            .hosts
            .split(',')
            .map(|host| node(host, default_port))
            .collect();
        nodes.ok_or_else(wrong(
            "its hosts are not host[:port],host[:port]…; in a user or a password / is written %2F, and an IPv6 address stands \
             in brackets",
            accepted,
        ))
    }

    /// How to connect to its servers. Whatever else the query says is for `other`, which returns whether it is known.
    fn access(
        &self,
        database: &str,
        accepted: &str,
        other: impl FnMut(&str, &str) -> bool,
    ) -> Result<Access, UnusableUrl> {
        let read = || {
            let login = Login::read(self.user, database, &self.query, other)?;
            Ok(Access {
                is_encrypted: self.is_encrypted,
                certificates: login.certificates(self.is_encrypted)?,
                login: login.into_info(),
            })
        };
        read().map_err(|found: String| wrong(&found, accepted)())
    }
}

fn node(host: &str, default_port: u16) -> Option<Node> {
    let url = Url::parse(&format!("redis://{host}")).ok()?;
    let is_bare = matches!(url.path(), "" | "/") && url.username().is_empty() && url.password().is_none();
    // Without the brackets that an IPv6 address has in a URL.
    let host = match url.host().filter(|_| is_bare)? {
        url::Host::Domain(name) => name.to_owned(),
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => address.to_string(),
    };
    // What is encoded is no name that can be looked up, and this address is nobody's.
    let is_usable = !host.contains('%') && !matches!(host.as_str(), "0.0.0.0" | "::");
    is_usable.then_some(Node {
        host,
        port: url.port().unwrap_or(default_port),
    })
}

fn unknown(_: &str, _: &str) -> bool {
    false
}

fn server(rest: &str, is_encrypted: bool) -> Result<Address, UnusableUrl> {
    let parts = parts(rest, is_encrypted, SERVER)?;
    if parts.hosts.is_empty() {
        return Err(wrong("it names no host", SERVER)());
    }
    let nodes = parts.nodes(SERVER_PORT, SERVER)?;
    let [node] = nodes.as_slice() else {
        return Err(UnusableUrl(format!(
            "cannot be used (it names more than one server); {SENTINEL}; {CLUSTER}"
        )));
    };
    let access = parts.access(parts.path, SERVER, unknown)?;
    Ok(Address::Server {
        info: Box::new(access.to(node)),
        certificates: access.certificates,
    })
}

/// Source: redis-rs, `IntoConnectionInfo for Url` (`db`, `user`, `pass`); redis-py, `Redis.from_url`
/// (`unix://user@/path?db=0&password=…`).
fn socket(rest: &str) -> Result<Address, UnusableUrl> {
    let parts = parts(rest, false, SERVER)?;
    if !parts.hosts.is_empty() {
        return Err(wrong(
            "it names a host before the socket's path: write three slashes",
            SERVER,
        )());
    }
    let Some(path) = login::decoded(parts.path).filter(|path| !path.is_empty()) else {
        return Err(wrong("it names no socket", SERVER)());
    };
    let login = parts.access("", SERVER, unknown)?.login;
    let address = ConnectionAddr::Unix(PathBuf::from(format!("/{path}")));
    Ok(Address::Server {
        info: Box::new(with_login(address, login)),
        certificates: None,
    })
}

fn sentinels(rest: &str, is_encrypted: bool) -> Result<Address, UnusableUrl> {
    let parts = parts(rest, is_encrypted, SENTINEL)?;
    let nodes = parts.nodes(SENTINEL_PORT, SENTINEL)?;
    let (master, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if master.is_empty() {
        return Err(wrong("it names no master", SENTINEL)());
    }
    let (mut user, mut password) = (None, None);
    let servers = parts.access(database, SENTINEL, |name, value| {
        match name {
            "sentinel_user" => user = Some(value.to_owned()),
            "sentinel_password" => password = Some(value.to_owned()),
            _ => return false,
        }
        true
    })?;
    let sentinels = Access {
        login: Login::of(user, password).into_info(),
        ..servers.clone()
    };
    Ok(Address::Sentinels {
        nodes,
        master: master.to_owned(),
        servers,
        sentinels,
    })
}

fn cluster(rest: &str, is_encrypted: bool) -> Result<Address, UnusableUrl> {
    let parts = parts(rest, is_encrypted, CLUSTER)?;
    let nodes = parts.nodes(SERVER_PORT, CLUSTER)?;
    let servers = parts.access(parts.path, CLUSTER, unknown)?;
    if servers.login.db() != 0 {
        return Err(wrong("a cluster has no database but 0", CLUSTER)());
    }
    Ok(Address::Cluster { nodes, servers })
}

#[cfg(test)]
mod mutated;
#[cfg(test)]
mod tests;
