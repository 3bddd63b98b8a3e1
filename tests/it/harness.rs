//! What the tests stand on: servers of our own and ways to look at them.

pub(crate) mod aftermath;
pub(crate) mod authority;
pub(crate) mod cloudflare;
pub(crate) mod collector;
pub(crate) mod command;
pub(crate) mod events;
pub(crate) mod guarded;
pub(crate) mod hostile;
pub(crate) mod load;
pub(crate) mod node;
pub(crate) mod odd_store;
pub(crate) mod openai;
pub(crate) mod operator;
pub(crate) mod page;
pub(crate) mod pgbouncer;
pub(crate) mod picture;
pub(crate) mod polled;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod replica;
pub(crate) mod s3;
pub(crate) mod stack;
pub(crate) mod standby;
pub(crate) mod terminal;
pub(crate) mod topology;
pub(crate) mod users;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use generative_ai_worker::private_servers::PostgresOptions;
use tempfile::TempDir;

/// A directory that is gone with the test. Others may pass through it: under root, Postgres is another account.
pub(crate) fn temporary_directory() -> TempDir {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o711))
        .tempdir()
        .unwrap()
}

/// Postgres as most tests want it: fast, and copied from a cluster that is made once per target directory.
pub(crate) fn postgres_options() -> PostgresOptions {
    PostgresOptions {
        template_cache: Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("postgres-templates")),
        ..PostgresOptions::default()
    }
}

/// Chooses the one TLS implementation, as `main` does. HTTP clients are made with it even for plain HTTP.
pub(crate) fn use_ring() {
    // Fails when another test was first, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Path below `directory`, with slashes, and bytes of every file; not of those that go away meanwhile.
pub(crate) fn files_below(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in next.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                match std::fs::read(&path) {
                    Ok(bytes) => _ = files.insert(name, bytes),
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{name}"),
                }
            }
        }
    }
    files
}

/// Looks until `file` has content and returns it. Bounded at 30 s.
pub(crate) async fn content_of(file: &Path) -> String {
    for _ in 0..3_000 {
        match std::fs::read_to_string(file) {
            Ok(text) if !text.is_empty() => return text,
            _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
    panic!("{} stayed empty for 30 s", file.display());
}
