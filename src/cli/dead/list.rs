//! `dead list`: the latest of them in a table.

use clap::Args;

use super::super::exit::ExitStatus;
use super::super::text::{self, Align};
use super::selection::Selection;
use super::shown::Shown;
use crate::db::{Db, DeadPackage};

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    selection: Selection,
    /// So many at the most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Also those that have been pushed again
    #[arg(long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// An id's first two groups: enough to tell packages apart, and never to be taken for a job's.
const ID_CHARS: usize = 13;
/// As much of a reason as is shown, also where lines may be longer.
const REASON_CHARS: usize = 100;

pub(super) async fn run(arguments: ListArguments, db: &Db, queue: &str) -> anyhow::Result<ExitStatus> {
    let filter = arguments.selection.filter(None, arguments.all, queue);
    let selection = db.select_dead(filter).await?;
    let (packages, has_more) = selection.newest_first(arguments.limit, false).await?;
    if arguments.json {
        let shown: Vec<Shown<'_>> = packages.iter().map(Shown::from).collect();
        text::print(&format!("{}\n", serde_json::to_string_pretty(&shown)?))?;
        return Ok(ExitStatus::Done);
    }
    if packages.is_empty() {
        text::print("no dead package matches\n")?;
        return Ok(ExitStatus::Done);
    }
    text::print(&table(&packages, text::line_width()))?;
    if has_more {
        text::print(&format!(
            "there are more than these {}; choose, or raise --limit\n",
            packages.len()
        ))?;
    }
    Ok(ExitStatus::Done)
}

fn table(packages: &[DeadPackage], width: Option<usize>) -> String {
    let columns = [
        ("id", Align::Left),
        ("job", Align::Right),
        ("class", Align::Left),
        ("attempts", Align::Right),
        ("age", Align::Right),
        ("reason", Align::Left),
    ];
    let rows: Vec<Vec<String>> = packages
        .iter()
        .map(|package| {
            let id: String = package.id.to_string().chars().take(ID_CHARS).collect();
            let retried = if package.retried_at.is_some() {
                "[retried] "
            } else {
                ""
            };
            vec![
                id,
                package
                    .job_id
                    .map_or_else(|| "-".to_owned(), |job_id| job_id.to_string()),
                package.error_class.clone(),
                package.attempts.to_string(),
                text::age_of_seconds(package.age_s),
                text::cut(
                    &format!("{retried}{}", text::plain(&package.reason)),
                    REASON_CHARS,
                ),
            ]
        })
        .collect();
    text::table(&columns, &rows, width)
}
