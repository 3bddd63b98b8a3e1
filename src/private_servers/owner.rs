//! Whom a server runs as. Postgres refuses to run as root.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};

/// An account to drop to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    /// `None` for an ordinary user, who runs servers as himself; for root `postgres`, else `nobody`.
    pub(super) fn for_postgres() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let accounts = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Self::find(&accounts, name))
            .map(Some)
            .context(
                "Postgres does not run as root, and /etc/passwd has neither an account postgres nor nobody to run it as; \
                 start this program as an ordinary user",
            )
    }

    fn find(accounts: &str, name: &str) -> Option<Self> {
        accounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let (uid, gid) = (fields.get(2)?, fields.get(3)?);
            (fields[0] == name).then_some(())?;
            Some(Self {
                name: name.to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
            })
        })
    }

    /// Makes `path` this account's.
    pub(super) fn take(&self, path: &Path) -> anyhow::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("cannot give {} to the account {}", path.display(), self.name))
    }

    /// Checks that this account can get to `directory` at all.
    pub(super) fn check_reachable(&self, directory: &Path) -> anyhow::Result<()> {
        for ancestor in directory.ancestors().skip(1) {
            let metadata = ancestor
                .metadata()
                .with_context(|| format!("cannot look at {}", ancestor.display()))?;
            let mode = metadata.permissions().mode();
            let enters = mode & 0o001 != 0
                || (metadata.uid() == self.uid && mode & 0o100 != 0)
                || (metadata.gid() == self.gid && mode & 0o010 != 0);
            if !enters {
                bail!(
                    "Postgres runs as the account {account} here, which may not enter {directory} (mode {mode:04o}); \
                     run `chmod o+x {directory}`, or choose another directory",
                    account = self.name,
                    directory = ancestor.display(),
                    mode = mode & 0o7777,
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\npostgresql:x:7:8::/:/bin/sh\npostgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        let owner = Owner::find(accounts, "postgres").unwrap();
        assert_eq!((owner.uid, owner.gid), (101, 104));
        assert_eq!(Owner::find(accounts, "nobody"), None);
    }

    #[test]
    fn a_directory_behind_a_closed_one_is_refused_with_the_closed_ones_name() {
        let closed = tempfile::tempdir().unwrap();
        std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let inner = closed.path().join("postgres");
        let stranger = Owner {
            name: "stranger".into(),
            uid: u32::MAX - 7,
            gid: u32::MAX - 7,
        };
        let error = stranger.check_reachable(&inner).unwrap_err().to_string();
        assert!(
            error.contains(&format!("enter {} (mode 0700)", closed.path().display())),
            "{error}"
        );
    }
}
