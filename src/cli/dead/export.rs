//! `dead export`: all of them to the byte, for other tools or before a purge.

use clap::Args;

use super::super::exit::ExitStatus;
use super::super::text;
use super::selection::Selection;
use super::shown::{Shown, ShownSetAside};
use crate::db::Db;
use crate::queue::Redis;

/// Packages that are read at once.
const CHUNK: u32 = 100;

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    selection: Selection,
    /// So many at the most, the oldest first; default: all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Also those that have been pushed again
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(arguments: ExportArguments, db: &Db, redis: &Redis) -> anyhow::Result<ExitStatus> {
    let with_set_aside = arguments.limit.is_none() && arguments.selection.is_all();
    let filter = arguments
        .selection
        .filter(arguments.limit, arguments.all, redis.keys().inbox());
    let mut selection = db.select_dead(filter).await?;
    loop {
        let packages = selection.next(CHUNK).await?;
        if packages.is_empty() {
            break;
        }
        for package in &packages {
            text::print(&format!("{}\n", serde_json::to_string(&Shown::from(package))?))?;
        }
    }
    let mut place = 0;
    while with_set_aside && let Some(payload) = redis.set_aside_package(place).await? {
        let shown = ShownSetAside::new(place, &payload);
        text::print(&format!("{}\n", serde_json::to_string(&shown)?))?;
        place += 1;
    }
    Ok(ExitStatus::Done)
}
