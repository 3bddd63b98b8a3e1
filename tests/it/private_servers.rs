//! Private servers keep their data when they are killed, and never outlive their parent.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use generative_ai_worker::private_servers::{PostgresServer, RedisOptions, RedisServer};

use crate::harness::{content_of, postgres_options, temporary_directory};

#[tokio::test]
async fn a_killed_redis_comes_back_at_its_url_with_its_data() {
    let directory = temporary_directory();
    let options = RedisOptions {
        append_only: true,
        ..RedisOptions::default()
    };
    let mut server = RedisServer::start(directory.path(), options).unwrap();
    let url = server.url();
    let mut connection = connect_redis(&url).await.unwrap();
    let _: () = redis::cmd("SET")
        .arg("key")
        .arg("value")
        .query_async(&mut connection)
        .await
        .unwrap();

    server.kill();
    assert!(
        connect_redis(&url).await.is_err(),
        "a killed server still answers"
    );
    server.restart().unwrap();

    let mut connection = connect_redis(&url).await.unwrap();
    let value: String = redis::cmd("GET")
        .arg("key")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(value, "value");
    assert_eq!(server.url(), url);
}

#[tokio::test]
async fn a_private_redis_never_evicts_and_takes_further_configuration() {
    let directory = temporary_directory();
    let options = RedisOptions {
        config: vec!["maxmemory 7mb".into()],
        ..RedisOptions::default()
    };
    let server = RedisServer::start(directory.path(), options).unwrap();
    let mut connection = connect_redis(&server.url()).await.unwrap();
    for (name, expected) in [
        ("maxmemory-policy", "noeviction"),
        ("maxmemory", "7340032"),
        ("appendonly", "no"),
        ("save", ""),
    ] {
        let (_, found): (String, String) = redis::cmd("CONFIG")
            .arg("GET")
            .arg(name)
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_private_redis_is_closed_to_other_users_of_the_machine() {
    let directory = temporary_directory();
    let server = RedisServer::start(directory.path(), RedisOptions::default()).unwrap();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    assert!(read_line(&mut stream).unwrap().starts_with("-NOAUTH"));
}

#[test]
fn a_paused_redis_keeps_its_connections_and_answers_when_resumed() {
    let directory = temporary_directory();
    let server = RedisServer::start(directory.path(), RedisOptions::default()).unwrap();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();

    server.pause().unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    assert!(read_line(&mut stream).is_err(), "a paused server answered");

    server.resume().unwrap();
    stream.set_read_timeout(None).unwrap();
    assert!(!read_line(&mut stream).unwrap().is_empty());
}

#[tokio::test]
async fn a_killed_postgres_comes_back_at_its_url_with_what_it_confirmed() {
    let directory = temporary_directory();
    let mut server = PostgresServer::start(directory.path(), postgres_options()).unwrap();
    let url = server.url("postgres");
    let client = connect_postgres(&url).await.unwrap();
    client
        .batch_execute("CREATE TABLE confirmed (id int); INSERT INTO confirmed VALUES (42)")
        .await
        .unwrap();

    server.kill();
    assert!(
        client.simple_query("SELECT 1").await.is_err(),
        "a killed server still answers"
    );
    assert!(
        connect_postgres(&url).await.is_err(),
        "a killed server still accepts"
    );
    server.restart().unwrap();

    let client = connect_postgres(&url).await.unwrap();
    let row = client.query_one("SELECT id FROM confirmed", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
    assert_eq!(server.url("postgres"), url);
}

#[tokio::test]
async fn a_paused_postgres_answers_nothing_on_open_connections_until_it_is_resumed() {
    let directory = temporary_directory();
    let server = PostgresServer::start(directory.path(), postgres_options()).unwrap();
    let client = connect_postgres(&server.url("postgres")).await.unwrap();

    server.pause().unwrap();
    let query = client.simple_query("SELECT 1");
    tokio::pin!(query);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut query).await;
    assert!(early.is_err(), "a paused server answered");

    server.resume().unwrap();
    query.await.unwrap();
}

#[tokio::test]
async fn servers_from_one_template_share_nothing_else() {
    let directory = temporary_directory();
    let first = PostgresServer::start(directory.path(), postgres_options()).unwrap();
    connect_postgres(&first.url("postgres"))
        .await
        .unwrap()
        .batch_execute("CREATE TABLE only_here (id int)")
        .await
        .unwrap();
    let other_directory = temporary_directory();
    let second = PostgresServer::start(other_directory.path(), postgres_options()).unwrap();
    let client = connect_postgres(&second.url("postgres")).await.unwrap();
    let row = client
        .query_one("SELECT to_regclass('only_here') IS NULL", &[])
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0));
    assert_ne!(first.port(), second.port());
}

#[tokio::test]
async fn a_private_postgres_is_closed_to_other_users_of_the_machine() {
    let directory = temporary_directory();
    let server = PostgresServer::start(directory.path(), postgres_options()).unwrap();
    let guess = format!("postgres://postgres:guess@127.0.0.1:{}/postgres", server.port());
    let error = connect_postgres(&guess).await.err().unwrap();
    assert_eq!(
        error.code(),
        Some(&tokio_postgres::error::SqlState::INVALID_PASSWORD)
    );
}

#[test]
fn a_server_that_cannot_start_is_an_error_with_the_end_of_its_log() {
    let directory = temporary_directory();
    let options = RedisOptions {
        config: vec!["no-such-setting 1".into()],
        ..RedisOptions::default()
    };
    let error = RedisServer::start(directory.path(), options).err().unwrap();
    assert!(format!("{error:#}").contains("no-such-setting"), "{error:#}");
}

/// Tells the child process below where to write its servers' ports.
const HOLDER: &str = "PRIVATE_SERVERS_HELD_IN";

/// The test starts itself as a process that holds servers, kills that process, and sees the servers go.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "this is no setting, but how a process tells its copy what to be"
)]
async fn servers_end_when_their_parent_is_killed() {
    if let Some(directory) = std::env::var_os(HOLDER) {
        hold_servers(directory);
    }
    let directory = temporary_directory();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "private_servers::servers_end_when_their_parent_is_killed",
        ])
        .env(HOLDER, directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ports = content_of(&directory.path().join("ports")).await;
    let ports: Vec<u16> = ports.split(' ').map(|port| port.parse().unwrap()).collect();
    assert_eq!(ports.len(), 2);
    for port in &ports {
        TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).unwrap();
    }

    holder.kill().unwrap(); // SIGKILL: no destructor runs
    holder.wait().unwrap();

    for port in ports {
        wait_until_closed(port).await;
    }
}

fn hold_servers(directory: OsString) -> ! {
    let directory = Path::new(&directory);
    let redis = RedisServer::start(&directory.join("redis"), RedisOptions::default()).unwrap();
    let postgres = PostgresServer::start(&directory.join("postgres"), postgres_options()).unwrap();
    let ports = directory.join("ports");
    std::fs::write(
        ports.with_extension("new"),
        format!("{} {}", redis.port(), postgres.port()),
    )
    .unwrap();
    std::fs::rename(ports.with_extension("new"), ports).unwrap();
    loop {
        std::thread::park();
    }
}

async fn wait_until_closed(port: u16) {
    for _ in 0..1_500 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a server still listens on port {port}, 30 s after its parent was killed");
}

async fn connect_redis(url: &str) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    redis::Client::open(url)?.get_multiplexed_async_connection().await
}

async fn connect_postgres(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection); // ends with the client
    Ok(client)
}

fn read_line(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") && stream.read(&mut byte)? == 1 {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
