//! The forms that libpq takes, from its documentation and from what people paste.

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::*;

fn read(url: &str) -> Target {
    target(url).unwrap_or_else(|error| panic!("{url}: {error:#}"))
}

/// `user:password@host:port/database` of each host.
fn hosts(url: &str) -> Vec<String> {
    let shown = |config: &Config| {
        let password = config
            .get_password()
            .map(|password| String::from_utf8_lossy(password).into_owned());
        let host = match (config.get_hosts().first(), config.get_hostaddrs().first()) {
            (Some(Host::Tcp(name)), None) => name.clone(),
            (Some(Host::Tcp(name)), Some(address)) => format!("{name}={address}"),
            (Some(Host::Unix(path)), _) => path.display().to_string(),
            (None, Some(address)) => address.to_string(),
            (None, None) => String::new(),
        };
        format!(
            "{}:{}@{host}:{}/{}",
            config.get_user().unwrap_or_default(),
            password.unwrap_or_default(),
            config.get_ports()[0],
            config.get_dbname().unwrap_or_default()
        )
    };
    read(url).hosts.iter().map(shown).collect()
}

#[test]
fn every_form_that_psql_takes_is_read_as_libpq_reads_it() {
    for (url, expected) in [
        ("postgres://u:p@h/d", &["u:p@h:5432/d"][..]),
        ("postgresql://u:p@h:6543/d", &["u:p@h:6543/d"]),
        ("postgres://u@h", &["u:@h:5432/"]),
        ("postgres://h/d", &[":@h:5432/d"]),
        ("postgres://u:p@h:/d", &["u:p@h:5432/d"]),
        (
            "postgres://u%40x:p%23%2F%3A%3F@h/d%20e",
            &["u@x:p#/:?@h:5432/d e"],
        ),
        ("postgres://u:p+q@h/d", &["u:p+q@h:5432/d"]),
        ("postgres://u:a:b@h/d", &["u:a:b@h:5432/d"]),
        ("postgres://u:p@[::1]:6543/d", &["u:p@::1:6543/d"]),
        ("postgres://u:p@[2001:db8::1]/d", &["u:p@2001:db8::1:5432/d"]),
        (
            "postgres://u:p@h1:5432,h2:6543/d",
            &["u:p@h1:5432/d", "u:p@h2:6543/d"],
        ),
        ("postgres://u:p@h1,h2/d", &["u:p@h1:5432/d", "u:p@h2:5432/d"]),
        ("postgres://u:p@/d?host=a,b&port=1,2", &["u:p@a:1/d", "u:p@b:2/d"]),
        ("postgres://u:p@/d?host=a,b&port=7", &["u:p@a:7/d", "u:p@b:7/d"]),
        (
            "postgres:///d?host=h&user=u&password=p%26q&port=7",
            &["u:p&q@h:7/d"],
        ),
        ("postgres://?host=h&dbname=d", &[":@h:5432/d"]),
        ("postgres://u:p@h/d?dbname=e", &["u:p@h:5432/e"]),
        (
            "postgres://u:p@h/d?hostaddr=127.0.0.2",
            &["u:p@h=127.0.0.2:5432/d"],
        ),
        ("postgres://u:p@/d?hostaddr=127.0.0.2", &["u:p@127.0.0.2:5432/d"]),
        (
            "postgres://u:p@/d?host=/var/run/postgresql",
            &["u:p@/var/run/postgresql:5432/d"],
        ),
        (
            "postgres://u:p@%2Fvar%2Frun%2Fpostgresql/d",
            &["u:p@/var/run/postgresql:5432/d"],
        ),
    ] {
        assert_eq!(hosts(url), expected, "{url}");
    }
}

#[test]
fn of_several_hosts_the_one_that_takes_writes_is_used() {
    let asked = |url: &str| {
        read(url)
            .hosts
            .iter()
            .map(Config::get_target_session_attrs)
            .collect::<Vec<_>>()
    };
    use TargetSessionAttrs::{Any, ReadWrite};
    assert_eq!(asked("postgres://u:p@h/d"), [Any]);
    assert_eq!(asked("postgres://u:p@a,b/d"), [ReadWrite, ReadWrite]);
    assert_eq!(asked("postgres://u:p@a,b/d?target_session_attrs=any"), [Any, Any]);
    for wanted in ["read-write", "primary"] {
        assert_eq!(
            asked(&format!("postgres://u:p@h/d?target_session_attrs={wanted}")),
            [ReadWrite]
        );
    }
}

#[test]
fn what_libpq_knows_of_tls_is_known() {
    let mode = |query: &str| read(&format!("postgres://u:p@h/d?{query}")).hosts[0].get_ssl_mode();
    for (query, expected) in [
        ("application_name=x", SslMode::Prefer),
        ("sslmode=disable", SslMode::Disable),
        ("sslmode=allow", SslMode::Prefer),
        ("sslmode=prefer", SslMode::Prefer),
        ("sslmode=require", SslMode::Require),
        ("ssl=true", SslMode::Require),
        ("sslmode=verify-ca", SslMode::Require),
        ("sslmode=verify-full", SslMode::Require),
        ("sslrootcert=system", SslMode::Require),
        ("sslrootcert=system&sslmode=verify-full", SslMode::Require),
    ] {
        assert_eq!(mode(query), expected, "{query}");
    }
    // Nobody encrypts on a socket of the same machine.
    let socket = read("postgres://u:p@/d?host=/run/postgresql&sslmode=require");
    assert_eq!(socket.hosts[0].get_ssl_mode(), SslMode::Disable);
}

#[test]
fn parameters_that_change_nothing_here_are_taken_and_the_others_reach_the_driver() {
    let target = read(
        "postgres://u:p@h/d?gssencmode=disable&client_encoding=utf8&fallback_application_name=x&connect_timeout=10\
         &keepalives_idle=7&tcp_user_timeout=4000&sslsni=1&channel_binding=prefer&options=-c%20search_path%3Dapp",
    );
    let host = &target.hosts[0];
    assert_eq!(host.get_application_name(), Some("x"));
    assert_eq!(host.get_connect_timeout(), Some(&Duration::from_secs(10)));
    assert_eq!(target.patience, Duration::from_secs(10));
    assert_eq!(host.get_keepalives_idle(), Duration::from_secs(7));
    assert_eq!(host.get_tcp_user_timeout(), Some(&Duration::from_secs(4)));
    assert_eq!(target.settings, [Setting::new("search_path", "app")]);
    let named = read("postgres://u:p@h/d?fallback_application_name=x&application_name=y");
    assert_eq!(named.hosts[0].get_application_name(), Some("y"));
    assert_eq!(
        read("postgres://u:p@h/d").hosts[0].get_application_name(),
        Some("generative-ai-worker")
    );
}

#[test]
fn what_is_wrong_or_not_done_is_named_with_what_to_do_and_without_a_secret() {
    for (url, said) in [
        ("\"postgres://u:secret@h/d\"", "quotes"),
        ("'postgres://u:secret@h/d'", "quotes"),
        ("postgres://u:secret#1@h/d", "%23"),
        ("postgres://u:secret/1@h/d", "%2F"),
        ("postgres://u:secret?1@h/d", "%3F"),
        ("postgres://u:secret@1@h/d", "%40"),
        ("postgres://u:secret%@h/d", "%25"),
        ("postgres://u:secret 1@h/d", "%20"),
        ("postgres://u:secret@::1/d", "[]"),
        ("postgres://u:secret@[::1/d", "]"),
        ("postgres://u:secret@h:port/d", "port: a number"),
        ("postgres://u:secret@/d", "no host is named"),
        ("postgres://u:secret@a,b,c/d?port=1,2", "as many"),
        ("postgres://u:secret@a,b/d?hostaddr=127.0.0.1", "as many"),
        ("mysql://u:secret@h/d", "the scheme mysql"),
        ("host=h user=u password=secret", "no URL"),
        (
            "postgres://u:secret@h/d?sslmode=yes",
            "disable, allow, prefer, require, verify-ca and verify-full",
        ),
        (
            "postgres://u:secret@h/d?sslrootcert=system&sslmode=require",
            "verify-full",
        ),
        (
            "postgres://u:secret@h/d?sslrootcert=/nonexistent",
            "sslrootcert: /nonexistent",
        ),
        ("postgres://u:secret@h/d?sslcert=/a", "sslkey"),
        (
            "postgres://u:secret@h/d?target_session_attrs=standby",
            "read-write",
        ),
        ("postgres://u:secret@h/d?gssencmode=require", "gssencmode"),
        ("postgres://u:secret@h/d?client_encoding=latin1", "UTF8"),
        ("postgres://u:secret@h/d?passfile=/a", "DATABASE_URL_FILE"),
        ("postgres://u:secret@h/d?service=a", "service file"),
        ("postgres://u:secret@h/d?require_auth=md5", "require_auth"),
        ("postgres://u:secret@h/d?schema=app", "search_path"),
        ("postgres://u:secret@h/d?pgbouncer=true", "pooler"),
        ("postgres://u:secret@h/d?color=blue", "the parameter color"),
        ("postgres://u:secret@h/d?connect_timeout=secret", "whole number"),
        ("postgres://u:secret@h/d?secret", "has no value"),
        ("postgres://u:secret@h/d?options=-B%2012", "-c name=value"),
    ] {
        let error = target(url).err().unwrap_or_else(|| panic!("{url} is taken"));
        let message = format!("{error:#}");
        assert!(message.contains(said), "{url}: {message}");
        assert!(!message.contains("secret"), "{url}: {message}");
    }
}
