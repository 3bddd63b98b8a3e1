//! What the parameters of a Postgres URL mean, and which of them are refused.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs};

use super::super::options::settings;
use super::super::tls::{self, Trust};
use super::Target;

/// One try to reach one host, where nothing else is asked for. Of several hosts, one that is silent may not use up the time of
/// those behind it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(1);
/// After this long without a word from the other side a connection is dead.
const SILENCE: Duration = Duration::from_secs(10);

/// What a URL says, before it is known to fit together.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) hosts: Vec<String>,
    addresses: Vec<String>,
    pub(super) ports: Vec<String>,
    pub(super) database: Option<String>,
    options: String,
    application_name: Option<String>,
    fallback_application_name: Option<String>,
    ssl_mode: Option<String>,
    root: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    session: Option<TargetSessionAttrs>,
    connect_timeout: Option<Duration>,
    silence: Option<Duration>,
    random_order: bool,
    /// What the driver takes as it is.
    plain: Config,
}

/// Parameters of libpq that are refused, and what to do instead.
const NOT_DONE: &[(&str, &str)] = &[
    (
        "passfile",
        "write the password into the URL, and name a file that holds all of it in DATABASE_URL_FILE",
    ),
    ("service", "write out what the service file says"),
    ("servicefile", "write out what the service file says"),
    ("sslcrl", "lists of revoked certificates are not read"),
    ("sslcrldir", "lists of revoked certificates are not read"),
    ("sslpassword", "give sslkey a file without a password"),
    ("sslkeylogfile", "keys are not written to a file"),
    ("requirepeer", "who owns the socket is not looked at"),
    (
        "require_auth",
        "the way to prove who it is is the server's choice",
    ),
    ("requiressl", "write sslmode=require"),
    ("krbsrvname", "GSSAPI is not spoken"),
    ("gsslib", "GSSAPI is not spoken"),
    ("gssdelegation", "GSSAPI is not spoken"),
    ("replication", "a worker does not replicate"),
    ("authtype", "nothing has come of it for long"),
    ("schema", "write options=-csearch_path%3D and its name"),
    ("search_path", "write options=-csearch_path%3D and its name"),
    ("pgbouncer", "a pooler is found by itself"),
];

impl Parts {
    /// Takes a parameter, decoded.
    ///
    /// # Errors
    /// Names it, and what would be right.
    pub(super) fn set(&mut self, name: &str, value: String) -> anyhow::Result<()> {
        let list = |value: &str| value.split(',').map(str::to_owned).collect();
        match name {
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "host" => self.hosts = list(&value),
            "hostaddr" => self.addresses = list(&value),
            "port" => self.ports = list(&value),
            "options" => self.options = value,
            "application_name" => self.application_name = Some(value),
            "fallback_application_name" => self.fallback_application_name = Some(value),
            "sslmode" => self.ssl_mode = Some(value),
            // As JDBC writes it, which libpq understands too.
            "ssl" if value == "true" => self.ssl_mode = Some("require".to_owned()),
            "sslrootcert" => self.root = Some(value),
            "sslcert" => self.certificate = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            "sslnegotiation" => {
                let way = one_of(
                    name,
                    &value,
                    &[
                        ("postgres", SslNegotiation::Postgres),
                        ("direct", SslNegotiation::Direct),
                    ],
                );
                self.plain.ssl_negotiation(way?);
            }
            "channel_binding" => {
                let all = [
                    ("disable", ChannelBinding::Disable),
                    ("prefer", ChannelBinding::Prefer),
                    ("require", ChannelBinding::Require),
                ];
                self.plain.channel_binding(one_of(name, &value, &all)?);
            }
            "target_session_attrs" => {
                // What is no standby may be read-only all the same, and of no use then.
                let all = [
                    ("any", TargetSessionAttrs::Any),
                    ("read-write", TargetSessionAttrs::ReadWrite),
                    ("primary", TargetSessionAttrs::ReadWrite),
                ];
                let session = one_of(name, &value, &all)
                    .map_err(|wrong| anyhow::anyhow!("{wrong}, as a worker writes"));
                self.session = Some(session?);
            }
            "load_balance_hosts" => {
                self.random_order = one_of(name, &value, &[("disable", false), ("random", true)])?;
            }
            "gssencmode" => one_of(name, &value, &[("disable", ()), ("prefer", ())])?,
            "client_encoding" => {
                let plain = value.to_ascii_lowercase().replace('-', "");
                ensure!(
                    ["utf8", "unicode", "auto"].contains(&plain.as_str()),
                    "client_encoding: \"{value}\" was found; only UTF8 is spoken"
                );
            }
            "sslcompression" => one_of(name, &value, &[("0", ())])?,
            "sslsni" => one_of(name, &value, &[("1", ())])?,
            "ssl_min_protocol_version" => {
                one_of(
                    name,
                    &value,
                    &[("TLSv1.2", ()), ("TLSv1.1", ()), ("TLSv1", ()), ("", ())],
                )?;
            }
            "ssl_max_protocol_version" => one_of(name, &value, &[("TLSv1.3", ()), ("", ())])?,
            "min_protocol_version" => one_of(name, &value, &[("3.0", ())])?,
            "max_protocol_version" => one_of(name, &value, &[("3.0", ()), ("latest", ())])?,
            "connect_timeout" => {
                // Zero means for ever, and libpq takes one second for two.
                let seconds = number(name, &value)?;
                self.connect_timeout = (seconds > 0).then(|| Duration::from_secs(seconds.max(2)));
            }
            "keepalives" => _ = self.plain.keepalives(number(name, &value)? != 0),
            "keepalives_idle" | "keepalives_interval" | "keepalives_count" | "tcp_user_timeout" => {
                self.set_keepalive(name, number(name, &value)?);
            }
            _ => {
                let instead = NOT_DONE.iter().find(|(refused, _)| *refused == name);
                let instead = instead
                    .map_or("libpq knows none of that name: leave it out", |(_, instead)| {
                        instead
                    });
                bail!("the parameter {name} cannot be used: {instead}");
            }
        }
        Ok(())
    }

    /// Zero stands for the default.
    fn set_keepalive(&mut self, name: &str, number: u64) {
        if number == 0 {
            return;
        }
        let seconds = Duration::from_secs(number);
        match name {
            "keepalives_idle" => _ = self.plain.keepalives_idle(seconds),
            "keepalives_interval" => _ = self.plain.keepalives_interval(seconds),
            "keepalives_count" => {
                _ = self
                    .plain
                    .keepalives_retries(u32::try_from(number).unwrap_or(u32::MAX))
            }
            _ => self.silence = Some(Duration::from_millis(number)),
        }
    }

    /// # Errors
    /// Names the parameters that do not fit together.
    pub(super) fn target(self) -> anyhow::Result<Target> {
        let trust = Trust {
            mode: self.ssl_mode.clone(),
            root: self.root.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        };
        let (ssl_mode, tls) = tls::connector(&trust)?;
        let count = self.hosts.len().max(self.addresses.len());
        ensure!(
            count > 0 && !(self.addresses.is_empty() && self.hosts.iter().any(String::is_empty)),
            "no host is named; write one, or ?host=/var/run/postgresql for a Unix socket"
        );
        ensure!(
            self.hosts.is_empty() || self.addresses.is_empty() || self.hosts.len() == self.addresses.len(),
            "hostaddr: there are {} of them and {} hosts; as many are needed",
            self.addresses.len(),
            self.hosts.len()
        );
        ensure!(
            self.ports.len() <= 1 || self.ports.len() == count,
            "port: there are {} of them and {count} hosts; one is needed, or as many",
            self.ports.len()
        );
        let limit = if count > 1 {
            CONNECT_TIMEOUT_OF_SEVERAL
        } else {
            CONNECT_TIMEOUT
        };
        let limit = self.connect_timeout.unwrap_or(limit);
        let mut hosts = Vec::with_capacity(count);
        for index in 0..count {
            hosts.push(self.host(index, count, ssl_mode, limit)?);
        }
        if self.random_order {
            use rand::seq::SliceRandom;
            hosts.shuffle(&mut rand::rng());
        }
        let settings = settings(&self.options)?;
        let patience = (limit * u32::try_from(count).unwrap_or(u32::MAX)).max(CONNECT_TIMEOUT);
        Ok(Target {
            hosts,
            tls,
            settings,
            patience,
        })
    }

    fn host(&self, index: usize, count: usize, ssl_mode: SslMode, limit: Duration) -> anyhow::Result<Config> {
        let mut config = self.plain.clone();
        let name = self.hosts.get(index).map_or("", String::as_str);
        // Nobody is between the two ends of a socket, so that libpq does not encrypt there, whatever sslmode says.
        let is_socket = name.starts_with(['/', '@']);
        if !name.is_empty() {
            config.host(name);
        }
        if let Some(address) = self.addresses.get(index).filter(|address| !address.is_empty()) {
            let address: IpAddr = address.parse().context("hostaddr: an IP address is needed")?;
            config.hostaddr(address);
        }
        let port = self
            .ports
            .get(index)
            .or(self.ports.first())
            .map_or("", String::as_str);
        let port = if port.is_empty() {
            5432
        } else {
            port.parse().context("port: a number from 1 to 65535 is needed")?
        };
        let several = if count > 1 {
            TargetSessionAttrs::ReadWrite
        } else {
            TargetSessionAttrs::Any
        };
        config
            .port(port)
            .ssl_mode(if is_socket { SslMode::Disable } else { ssl_mode })
            .target_session_attrs(self.session.unwrap_or(several))
            .load_balance_hosts(if self.random_order {
                LoadBalanceHosts::Random
            } else {
                LoadBalanceHosts::Disable
            })
            .connect_timeout(limit)
            .tcp_user_timeout(self.silence.unwrap_or(SILENCE));
        // Without one it is the account that this process runs as.
        if let Some(user) = &self.user {
            config.user(user);
        }
        if let Some(password) = &self.password {
            config.password(password);
        }
        if let Some(database) = &self.database {
            config.dbname(database);
        }
        let application = self
            .application_name
            .as_ref()
            .or(self.fallback_application_name.as_ref());
        config.application_name(application.map_or("generative-ai-worker", String::as_str));
        Ok(config)
    }
}

fn one_of<T: Copy>(name: &str, value: &str, all: &[(&str, T)]) -> anyhow::Result<T> {
    let found = all.iter().find(|(known, _)| *known == value);
    let accepted = || {
        let names: Vec<_> = all
            .iter()
            .map(|(known, _)| *known)
            .filter(|known| !known.is_empty())
            .collect();
        format!("{name}: \"{value}\" was found; accepted is {}", names.join(", "))
    };
    found.map(|(_, meaning)| *meaning).with_context(accepted)
}

fn number(name: &str, value: &str) -> anyhow::Result<u64> {
    value
        .parse()
        .ok()
        .with_context(|| format!("{name}: a whole number is needed"))
}
