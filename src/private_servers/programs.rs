//! Where the servers' programs are installed, and what to say when they are not.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

/// Valkey speaks the same protocol, takes the same settings, and is what newer distributions ship instead.
const REDIS_PROGRAMS: [&str; 8] = [
    "redis-server",
    "valkey-server",
    "/usr/sbin/redis-server",
    "/usr/local/bin/redis-server",
    "/opt/homebrew/bin/redis-server",
    "/usr/sbin/valkey-server",
    "/usr/local/bin/valkey-server",
    "/opt/homebrew/bin/valkey-server",
];

/// Parents of one directory per version, with the prefix of its name and where its programs are:
/// Debian, PGDG for Fedora and its relatives, Alpine, Homebrew on Apple and on Intel processors.
const POSTGRES_PLACES: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
];

/// The programs of one Postgres installation, all of one version.
#[derive(Debug)]
pub(super) struct PostgresPrograms {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
    /// As `postgres --version` says it.
    pub(super) version: String,
}

/// The Redis server, or Valkey's.
///
/// # Errors
/// One sentence that names the packages to install.
pub(super) fn redis_server() -> anyhow::Result<PathBuf> {
    REDIS_PROGRAMS
        .into_iter()
        .map(PathBuf::from)
        .find(|program| version_of(program).is_some())
        .context(
            "redis-server was not found, neither was valkey-server; install it: \
             Debian, Ubuntu: apt-get install redis-server; Fedora: dnf install valkey; \
             Alpine: apk add redis; macOS: brew install redis",
        )
}

/// The newest Postgres.
///
/// # Errors
/// One sentence that names the packages to install.
pub(super) fn postgres() -> anyhow::Result<PostgresPrograms> {
    let mut directories: Vec<(u32, PathBuf)> = POSTGRES_PLACES
        .into_iter()
        .flat_map(|(parent, prefix, programs)| versions_in(Path::new(parent), prefix, programs))
        .collect();
    directories.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    directories
        .into_iter()
        .map(|(_, directory)| directory)
        .chain([PathBuf::new()]) // a bare name is looked for on PATH
        .find_map(|directory| {
            let (initdb, postgres) = (directory.join("initdb"), directory.join("postgres"));
            version_of(&initdb)?;
            let version = version_of(&postgres)?;
            Some(PostgresPrograms {
                initdb,
                postgres,
                version,
            })
        })
        .context(
            "postgres and initdb were not found; install them: \
             Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; \
             Alpine: apk add postgresql; macOS: brew install postgresql@17",
        )
}

/// Directories below `parent` named `prefix` and a number, with that number.
fn versions_in(parent: &Path, prefix: &str, programs: &str) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = parent.read_dir() else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(programs)))
        })
        .collect()
}

/// `None` when there is no such program, or it does not run.
fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(AsRef::<OsStr>::as_ref(program))
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers_and_other_names_are_left_out() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["postgresql@9", "postgresql@17", "postgresql", "postgresql@x"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        let mut found = versions_in(parent.path(), "postgresql@", "bin");
        found.sort();
        assert_eq!(
            found,
            [
                (9, parent.path().join("postgresql@9/bin")),
                (17, parent.path().join("postgresql@17/bin")),
            ]
        );
    }

    #[test]
    fn a_program_that_is_missing_has_no_version() {
        assert_eq!(version_of(Path::new("/nonexistent/redis-server")), None);
    }
}
