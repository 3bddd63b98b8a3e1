//! The library's connections, to the server that is the right one now.

use bullmq::WorkerOptions;
use bullmq::options::{RedisConnectionOptions, TlsCerts};
use redis::ConnectionAddr;

use super::BullmqQueue;
use crate::redis::Server;

/// A job is in hand for some milliseconds. One whose replica has died is back after twice as long.
const LOCK_MS: u64 = 10_000;
/// For so long at the most the library waits for a job without looking around.
const WAIT_S: u64 = 5;

/// How the library works on the queue, one job at a time.
pub(super) fn options(queue: &BullmqQueue, server: &Server, name: &str) -> WorkerOptions {
    WorkerOptions {
        connection: connection(server),
        prefix: queue.settings.prefix.clone(),
        // Whoever asks BullMQ for its workers sees who this is.
        name: Some(name.to_owned()),
        concurrency: 1,
        lock_duration: LOCK_MS,
        stalled_interval: LOCK_MS,
        // A job is not at fault when a replica dies, and BullMQ would fail it the second time.
        max_stalled_count: u32::MAX,
        drain_delay: WAIT_S,
        run_retry_delay: 1_000,
        autorun: false,
        ..WorkerOptions::default()
    }
}

fn connection(server: &Server) -> RedisConnectionOptions {
    let info = server.info();
    let login = info.redis_settings();
    let mut options = RedisConnectionOptions {
        username: login.username().map(ToOwned::to_owned),
        password: login.password().map(ToOwned::to_owned),
        db: u8::try_from(login.db()).ok(),
        ..RedisConnectionOptions::default()
    };
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => (options.host, options.port) = (Some(host.clone()), Some(*port)),
        ConnectionAddr::TcpTls { host, port, .. } => {
            (options.host, options.port) = (Some(host.clone()), Some(*port));
            options.tls = true;
            options.tls_certs = server.certificates.clone().map(|certificates| TlsCerts {
                root_cert: certificates.root_cert,
                client_cert: certificates
                    .client_tls
                    .as_ref()
                    .map(|client| client.client_cert.clone()),
                client_key: certificates.client_tls.map(|client| client.client_key),
            });
        }
        // The library has no fields for one.
        address => options.url = socket(address, &options),
    }
    options
}

fn socket(address: &ConnectionAddr, options: &RedisConnectionOptions) -> String {
    let mut url = format!("redis+unix://{address}?db={}", options.db.unwrap_or_default());
    for (name, value) in [("user", &options.username), ("pass", &options.password)] {
        if let Some(value) = value {
            let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            url.push_str(&format!("&{name}={value}"));
        }
    }
    url
}
