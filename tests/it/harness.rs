//! What the tests stand on: servers of our own and ways to look at them.

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
