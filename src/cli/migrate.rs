//! `migrate`: brings the database up to date.

use clap::Args;

use super::exit::ExitStatus;
use crate::config::Environment;
use crate::db::{self, DbSettings};

#[derive(Debug, Args)]
pub(super) struct MigrateArguments {
    /// Only list what would be applied
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(
    arguments: &MigrateArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let settings = DbSettings::from_environment(environment)?;
    let (names, done) = if arguments.dry_run {
        (db::pending(&settings).await?, "would apply")
    } else {
        (db::migrate(&settings).await?, "applied")
    };
    for name in &names {
        println!("{done} {name}");
    }
    if names.is_empty() {
        println!("the database is up to date");
    }
    Ok(ExitStatus::Done)
}
