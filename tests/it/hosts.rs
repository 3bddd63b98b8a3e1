//! How `DATABASE_URL` leads to a server: several hosts, TLS, sockets, as libpq has it.

use std::path::Path;
use std::process::Command;

use generative_ai_worker::private_servers::{PostgresOptions, PostgresServer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio_postgres::NoTls;

use crate::harness::authority::Authority;
use crate::harness::command::command_on;
use crate::harness::stack::{Stack, logo};
use crate::harness::standby::Standby;
use crate::harness::{postgres_options, temporary_directory};

#[tokio::test(flavor = "multi_thread")]
async fn of_several_hosts_the_one_that_takes_writes_is_used_and_found_again_after_a_failover() {
    let mut stack = Stack::start().await;
    let standby = Standby::of(&mut stack).await;
    let direct = stack.postgres.url("postgres");
    let (primary, other) = (stack.postgres.port(), standby.port());
    let url = direct.replace(
        &format!(":{primary}/"),
        &format!(":{other},127.0.0.1:1,127.0.0.1:{primary}/"),
    );
    let variables = [("DATABASE_URL", url.as_str())];
    let said = command_on(&stack, &["check-config"], &variables).await;
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    let replica = stack.replica(&variables).await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    assert_eq!(stack.ended(job_id).await.error, None);
    // Nobody else leads to it: it is the standby alone.
    let alone = direct.replace(&format!(":{primary}/"), &format!(":{other}/"));
    let said = command_on(&stack, &["check-config"], &[("DATABASE_URL", alone.as_str())]).await;
    assert_eq!(said.status, Some(69), "{}", said.err);
    assert!(
        said.err.contains("is a standby, to which nothing can be written"),
        "{}",
        said.err
    );

    standby.cut_off(&stack).await;
    let _address = standby.take_over(&mut stack).await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    assert_eq!(stack.ended(job_id).await.error, None);
    drop(replica);
}

/// Lets the account that Postgres runs as read its key.
fn give(file: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(file, mode).unwrap();
    if rustix::process::getuid().is_root() {
        assert!(
            Command::new("chown")
                .arg("postgres")
                .arg(file)
                .status()
                .unwrap()
                .success()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_server_has_to_be_is_looked_at_as_libpq_does() {
    let stack = Stack::start().await;
    let directory = temporary_directory();
    // As `openssl req -x509` makes it: an authority that vouches for itself.
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (certificate_file, key_file) = (
        directory.path().join("own.pem"),
        directory.path().join("own-key.pem"),
    );
    std::fs::write(&certificate_file, own.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    give(&key_file);
    give(&certificate_file);
    let options = PostgresOptions {
        settings: vec![
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", certificate_file.display()),
            format!("ssl_key_file={}", key_file.display()),
        ],
        ..postgres_options()
    };
    let place = stack.path("tls");
    let data = place.clone();
    let server = tokio::task::spawn_blocking(move || PostgresServer::start(&place, options).unwrap())
        .await
        .unwrap();
    let url = server.url("postgres");
    let migrated = command_on(&stack, &["migrate"], &[("DATABASE_URL", url.as_str())]).await;
    assert_eq!(migrated.status, Some(0), "{}", migrated.err);
    let root = certificate_file.display();
    let stranger = Authority::make(&directory.path().join("stranger")).root;
    let stranger = stranger.display();
    // The same server under a name that its certificate does not have.
    let renamed = url.replace("@127.0.0.1:", "@localhost:");
    for (url, query, is_taken) in [
        (&url, "sslmode=require".to_owned(), true),
        (&url, format!("sslmode=verify-full&sslrootcert={root}"), true),
        (&url, format!("sslmode=verify-ca&sslrootcert={root}"), true),
        (&url, format!("sslmode=require&sslrootcert={root}"), true),
        (&renamed, format!("sslmode=verify-ca&sslrootcert={root}"), true),
        (&renamed, format!("sslmode=verify-full&sslrootcert={root}"), false),
        (&url, format!("sslmode=verify-ca&sslrootcert={stranger}"), false),
        (&url, format!("sslmode=require&sslrootcert={stranger}"), false),
        (&url, "sslrootcert=system".to_owned(), false),
        (&url, "sslmode=verify-ca".to_owned(), false),
    ] {
        let asked = format!("{url}?{query}");
        let said = command_on(&stack, &["check-config"], &[("DATABASE_URL", asked.as_str())]).await;
        let expected = if is_taken { 0 } else { 78 };
        assert_eq!(said.status, Some(expected), "{query}: {}", said.err);
    }

    let nobodys = url.replace("/postgres", "/nobodys");
    let said = command_on(&stack, &["check-config"], &[("DATABASE_URL", nobodys.as_str())]).await;
    assert_eq!(said.status, Some(78), "{}", said.err);
    assert!(
        said.err.contains("Postgres refuses this connection: "),
        "{}",
        said.err
    );

    // A server that speaks TLS and lets this account in without it alone.
    let rules = "hostssl all all all reject\nhostnossl all all all trust\n";
    std::fs::write(data.join("data/pg_hba.conf"), rules).unwrap();
    let (sql, connection) = tokio_postgres::connect(&format!("{url}?sslmode=disable"), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    for (query, is_taken) in [("", true), ("?sslmode=prefer", true), ("?sslmode=require", false)] {
        let asked = format!("{url}{query}");
        let said = command_on(&stack, &["check-config"], &[("DATABASE_URL", asked.as_str())]).await;
        let expected = if is_taken { 0 } else { 78 };
        assert_eq!(said.status, Some(expected), "{query}: {}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_reached_whatever_is_asked_for_of_tls() {
    let stack = Stack::start().await;
    let directory = temporary_directory();
    std::fs::set_permissions(
        directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let options = PostgresOptions {
        settings: vec![format!("unix_socket_directories={}", directory.path().display())],
        ..postgres_options()
    };
    let place = stack.path("socket");
    let server = tokio::task::spawn_blocking(move || PostgresServer::start(&place, options).unwrap())
        .await
        .unwrap();
    let (url, port) = (server.url("postgres"), server.port());
    let at = directory.path().display().to_string();
    let escaped = at.replace('/', "%2F");
    for url in [
        url.replace(
            &format!("127.0.0.1:{port}/postgres"),
            &format!("/postgres?host={at}&port={port}&sslmode=require"),
        ),
        url.replace(&format!("127.0.0.1:{port}/"), &format!("{escaped}:{port}/")),
        url.replace(
            &format!("127.0.0.1:{port}/postgres"),
            &format!("/postgres?host={escaped},127.0.0.1&port={port}&gssencmode=disable"),
        ),
    ] {
        let said = command_on(&stack, &["migrate"], &[("DATABASE_URL", url.as_str())]).await;
        assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    }
}
