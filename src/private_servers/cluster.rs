//! The files of a private Postgres: made by `initdb`, or copied from a template made earlier.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use uuid::Uuid;

use super::owner::Owner;
use super::programs::PostgresPrograms;

/// Name of the data directory within a server's directory.
pub(super) const DATA: &str = "data";
/// Name of the file with the password of the account `postgres`, beside the data directory.
const PASSWORD: &str = "password";

/// Sees to it that `directory` holds a cluster, and returns the password of its account `postgres`.
///
/// A cluster that is there already is kept. With a `cache`, the first cluster of a Postgres version is kept
/// there and later ones are copies of it, which takes a tenth of the time.
pub(super) fn provide(
    directory: &Path,
    programs: &PostgresPrograms,
    owner: Option<&Owner>,
    cache: Option<&Path>,
) -> anyhow::Result<String> {
    if !directory.join(DATA).exists() {
        match cache {
            Some(cache) => provide_by_template(directory, programs, owner, cache)?,
            None => initialize(directory, programs, owner)?,
        }
    }
    let password = directory.join(PASSWORD);
    std::fs::read_to_string(&password).with_context(|| format!("cannot read {}", password.display()))
}

fn provide_by_template(
    directory: &Path,
    programs: &PostgresPrograms,
    owner: Option<&Owner>,
    cache: &Path,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let template = cache.join(template_name(&programs.version, owner));
    if !template.exists() {
        // Several test processes start at once; one makes the template and the others wait for it.
        let lock = File::create(cache.join("postgres.lock"))?;
        lock.lock().context("cannot lock the directory of templates")?;
        if !template.exists() {
            // Made in the server's directory, which its account can reach; the cache may be out of its reach.
            initialize(directory, programs, owner)?;
            let unfinished = template.with_extension("unfinished");
            let _ = std::fs::remove_dir_all(&unfinished);
            std::fs::create_dir(&unfinished)?;
            copy_cluster(directory, &unfinished)?;
            std::fs::rename(&unfinished, &template)?;
            return Ok(());
        }
    }
    copy_cluster(&template, directory)
}

/// Another version cannot open the files, another account may not.
fn template_name(version: &str, owner: Option<&Owner>) -> String {
    let version: String = version
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let owner = owner.map_or("self", |owner| owner.name.as_str());
    format!("cluster-{version}-{owner}")
}

fn copy_cluster(from: &Path, to: &Path) -> anyhow::Result<()> {
    for name in [PASSWORD, DATA] {
        run(Command::new("cp")
            .arg("-pR")
            .arg(from.join(name))
            .arg(to.join(name)))?;
    }
    Ok(())
}

fn initialize(directory: &Path, programs: &PostgresPrograms, owner: Option<&Owner>) -> anyhow::Result<()> {
    let password = directory.join(PASSWORD);
    let _ = std::fs::remove_file(&password);
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&password)
        .and_then(|mut file| file.write_all(Uuid::new_v4().simple().to_string().as_bytes()))
        .with_context(|| format!("cannot write {}", password.display()))?;
    let mut initdb = Command::new(&programs.initdb);
    initdb
        // Not synced to the disk: a cluster that a power cut spoils at its birth holds nothing yet.
        .args([
            "--username=postgres",
            "--auth=password",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
            // Copied with the rest, and as many zeros are written for each: in MB.
            "--wal-segsize=1",
        ])
        .arg("--pwfile")
        .arg(&password)
        .arg("--pgdata")
        .arg(directory.join(DATA))
        .current_dir("/")
        .env("LC_ALL", "C");
    if let Some(owner) = owner {
        owner.take(&password)?;
        initdb.uid(owner.uid).gid(owner.gid);
    }
    run(&mut initdb).context("cannot make a private Postgres cluster")
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
