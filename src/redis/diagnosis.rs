//! What is so when a server cannot be used: asked once more, in another way, where the library's error does not tell.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisConnectionInfo, RedisResult,
};

use super::RedisFailure;

const PATIENCE: Duration = Duration::from_secs(1);
/// It says so at once, or not at all.
const GREETING: Duration = Duration::from_millis(250);
const LONGEST_LINE: u64 = 1_000;

/// What the server says to this account, in its own words: the library calls whatever it answers to AUTH a wrong password,
/// a server that is full or protects itself too. `None`: it says nothing.
pub(super) async fn why_shut_out(info: &ConnectionInfo) -> Option<RedisFailure> {
    let login = info.redis_settings();
    // Without one there is nothing to be wrong with.
    login.password()?;
    let mut auth = redis::cmd("AUTH");
    auth.arg(login.username()).arg(login.password());
    ask(info.clone(), &auth).await.err().map(RedisFailure::from)
}

/// What the server says before it is asked anything: one that is full of clients, or protects itself, then closes the
/// connection, and its words can be lost on whoever has spoken meanwhile. `None`: it says nothing.
pub(super) async fn says_unasked(info: &ConnectionInfo) -> Option<RedisFailure> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return None;
    };
    let hearing = async {
        let connection = TcpStream::connect((host.as_str(), *port)).await?;
        let mut line = String::new();
        BufReader::new(connection)
            .take(LONGEST_LINE)
            .read_line(&mut line)
            .await?;
        std::io::Result::Ok(line)
    };
    let line = timeout(GREETING, hearing).await.ok()?.ok()?;
    let (code, details) = line.trim_end().strip_prefix('-')?.split_once(' ')?;
    Some(RedisFailure::of_answer(code, details))
}

/// Whether a server that is spoken to with TLS does not speak it, or the reverse: either way it seems not to answer.
/// `None`: it is about something else.
pub(super) async fn wrong_encryption(info: &ConnectionInfo) -> Option<RedisFailure> {
    let (other, why) = match info.addr().clone() {
        ConnectionAddr::Tcp(host, port) => {
            let other = ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            };
            (other, "it speaks TLS on this port: write rediss://")
        }
        ConnectionAddr::TcpTls { host, port, .. } => (
            ConnectionAddr::Tcp(host, port),
            "it does not speak TLS on this port: write redis:// or name its port for TLS",
        ),
        _ => return None,
    };
    let speaks = match ask(info.clone().set_addr(other), &redis::cmd("PING")).await {
        Ok(()) => true,
        // It has answered, if only that it wants a password, or with a certificate that nobody vouches for.
        Err(error) => error.to_string().contains("certificate") || error.into_server_errors().is_some(),
    };
    speaks.then(|| RedisFailure::Failed(why.to_owned()))
}

/// Whether something else than a Redis listens there, by what it says to a PING. `None`: it is one, or nobody is there.
pub(super) async fn no_redis(info: &ConnectionInfo) -> Option<RedisFailure> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return None;
    };
    let mut connection = timeout(PATIENCE, TcpStream::connect((host.as_str(), *port)))
        .await
        .ok()?
        .ok()?;
    let asking = async {
        connection.write_all(b"PING\r\n").await?;
        let mut line = Vec::new();
        BufReader::new(connection)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .await?;
        std::io::Result::Ok(line)
    };
    let variable = super::variable();
    match timeout(PATIENCE, asking).await {
        Ok(Ok(line)) if line.first().is_some_and(|byte| !b"+-:$*".contains(byte)) => {
            let said: String = String::from_utf8_lossy(&line)
                .trim_end()
                .chars()
                .take(80)
                .collect();
            Some(RedisFailure::ShutOut(format!(
                "it says {said:?} to a PING; mend host and port in {variable}"
            )))
        }
        Ok(Ok(line)) if !line.is_empty() => None,
        Ok(_) => Some(RedisFailure::Failed(format!(
            "it takes connections and ends them without a word; see whether a Redis listens there, or mend host and port in {variable}"
        ))),
        Err(_) => Some(RedisFailure::Failed(format!(
            "it takes connections and says nothing; see whether a Redis listens there, or mend host and port in {variable}"
        ))),
    }
}

/// Asks without a login.
async fn ask(info: ConnectionInfo, command: &redis::Cmd) -> RedisResult<()> {
    let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
    let client = Client::open(info.set_redis_settings(nobody))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let opening = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = Box::pin(opening).await?;
    command.query_async(&mut connection).await
}
