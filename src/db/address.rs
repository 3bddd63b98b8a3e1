//! `DATABASE_URL`, as libpq reads it: hosts, TLS, and what else a connection is told.
//!
//! What libpq knows and this program does not do is refused by its name, as it would otherwise be passed over.
//!
//! Source: PostgreSQL documentation, "Connection URIs" and "Parameter Key Words"; `conninfo_uri_parse_options` of libpq.

mod parameters;

use std::borrow::Cow;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::options::Setting;
use parameters::Parts;

/// A Postgres URL taken apart.
#[derive(Clone)]
pub(super) struct Target {
    /// A configuration for each host, in the order in which they are tried. Without `options`.
    pub(super) hosts: Vec<Config>,
    pub(super) tls: MakeRustlsConnect,
    /// What `options` of the URL sets.
    pub(super) settings: Vec<Setting>,
    /// Longest time that all hosts together may take.
    pub(super) patience: Duration,
}

/// Takes a URL apart.
///
/// # Errors
/// Names the part that is wrong or that nothing is made of, and what would be right; never a secret.
pub(super) fn target(url: &str) -> anyhow::Result<Target> {
    check_characters(url)?;
    let rest = ["postgres://", "postgresql://"]
        .into_iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    let rest = rest.with_context(|| {
        let is_scheme = |scheme: &&str| {
            scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        };
        let found = match url.split_once("://").map(|(scheme, _)| scheme).filter(is_scheme) {
            Some(scheme) => format!("a URL with the scheme {scheme} was found"),
            None => "no URL was found".to_owned(),
        };
        format!("{found}; postgres://user:password@host[:port]/database[?sslmode=require] is accepted")
    })?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    ensure!(
        !database.contains('@'),
        "a / stands before the @ at the end of the password: write %2F for a / in it"
    );
    ensure!(
        !(query.contains('@') && !authority.contains('@') && authority.contains(':')),
        "a ? stands before the @ at the end of the password: write %3F for a ? in it"
    );
    let mut parts = Parts::default();
    let places = match authority.rsplit_once('@') {
        Some((credentials, places)) => {
            ensure!(
                !credentials.contains('@'),
                "there are several @ before the host: write %40 for an @ in the user or the password"
            );
            let (user, password) = credentials
                .split_once(':')
                .map_or((credentials, None), |(u, p)| (u, Some(p)));
            parts.user = Some(decoded("the user", user)?).filter(|user| !user.is_empty());
            parts.password = password
                .map(|password| decoded("the password", password))
                .transpose()?;
            places
        }
        None => authority,
    };
    if !places.is_empty() {
        for place in places.split(',') {
            let (host, port) = host_and_port(place)?;
            parts.hosts.push(decoded("the host", host)?);
            parts.ports.push(decoded("the port", port)?);
        }
    }
    parts.database = Some(decoded("the database", database)?).filter(|name| !name.is_empty());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .context("a parameter has no value: write name=value")?;
        let name = decoded("a parameter", name)?;
        let value = decoded(&name, value)?;
        parts.set(&name, value)?;
    }
    parts.target()
}

/// What is meant for a shell, an env file or a browser, and what would end a part of the URL too early.
fn check_characters(url: &str) -> anyhow::Result<()> {
    ensure!(
        !url.starts_with(['"', '\'', '`']) && !url.ends_with(['"', '\'', '`']),
        "it stands in quotes, which are part of the value here, as an env file is often read; write it without quotes"
    );
    ensure!(
        !url.contains('#'),
        "there is a # in it: write %23 for a # in a password or another part of a URL"
    );
    let before_parameters = url.split('?').next().unwrap_or_default();
    ensure!(
        !(before_parameters.contains("://") && before_parameters.contains(char::is_whitespace)),
        "there is a blank in it: write %20 for a blank in a part of a URL"
    );
    Ok(())
}

fn host_and_port(place: &str) -> anyhow::Result<(&str, &str)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, port) = rest
            .split_once(']')
            .context("an IPv6 address has no ] at its end")?;
        ensure!(
            port.is_empty() || port.starts_with(':'),
            "after the ] of an IPv6 address only :port may stand"
        );
        return Ok((host, port.trim_start_matches(':')));
    }
    match place.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            bail!("a host or port has several colons: write an IPv6 address in [], and %3A for a : in a user")
        }
        Some(parts) => Ok(parts),
        None => Ok((place, "")),
    }
}

/// `name` is what the text is, for the error, which does not quote it.
fn decoded(name: &str, text: &str) -> anyhow::Result<String> {
    let bytes = text.as_bytes();
    let is_escape = |at: usize| {
        bytes
            .get(at + 1..at + 3)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let wrong = (0..bytes.len()).any(|at| bytes[at] == b'%' && !is_escape(at));
    ensure!(
        !wrong,
        "{name}: a % is not followed by two hexadecimal digits: write %25 for a %"
    );
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    let decoded = decoded.with_context(|| format!("{name}: what is written with % is not UTF-8"))?;
    ensure!(!decoded.contains('\0'), "{name}: %00 cannot be part of it");
    Ok(Cow::into_owned(decoded))
}

#[cfg(test)]
mod mutated;
#[cfg(test)]
mod tests;
