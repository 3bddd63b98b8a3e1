//! `dead list`: the latest of them in a table.

use clap::Args;
use serde_json::{Value, json};

use super::super::exit::ExitStatus;
use super::super::text::{self, Align};
use super::selection::Selection;
use super::shown::Shown;
use crate::db::{Db, DeadPackage};
use crate::plain_text::{cut, plain};
use crate::queue::{Redis, SetAside};

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

pub(super) async fn run(arguments: ListArguments, db: &Db, redis: &Redis) -> anyhow::Result<ExitStatus> {
    let set_aside = match arguments.selection.is_all() {
        true => redis.set_aside(0, arguments.limit.into()).await,
        false => Ok(Vec::new()),
    };
    let filter = arguments
        .selection
        .filter(None, arguments.all, redis.keys().inbox());
    let selection = db.select_dead(filter).await?;
    let (packages, has_more) = selection.newest_first(arguments.limit, false).await?;
    if arguments.json {
        let dead = packages.iter().map(|package| json!(Shown::from(package)));
        let set_aside = set_aside?;
        let set_aside = set_aside.iter().map(|package| json!({"setAside": package}));
        let shown: Vec<Value> = dead.chain(set_aside).collect();
        text::print(&format!("{}\n", serde_json::to_string_pretty(&shown)?))?;
        return Ok(ExitStatus::Done);
    }
    if packages.is_empty() {
        text::print("no dead package matches\n")?;
    } else {
        text::print(&table(&packages, text::line_width()))?;
    }
    match set_aside {
        Ok(set_aside) if set_aside.is_empty() => {}
        Ok(set_aside) => text::print(&table_of_set_aside(&set_aside, text::line_width()))?,
        Err(error) => text::print(&format!("what was set aside cannot be told: {error}\n"))?,
    }
    if has_more {
        text::print(&format!(
            "there are more than these {}; choose, or raise --limit\n",
            packages.len()
        ))?;
    }
    Ok(ExitStatus::Done)
}

fn table_of_set_aside(packages: &[SetAside], width: Option<usize>) -> String {
    let columns = [
        ("bytes", Align::Right),
        ("job", Align::Right),
        ("begins with", Align::Left),
    ];
    let rows: Vec<Vec<String>> = packages
        .iter()
        .map(|package| {
            let beginning = cut(&plain(&package.beginning), REASON_CHARS);
            let job = package
                .job_id
                .map_or_else(|| "-".to_owned(), |job_id| job_id.to_string());
            vec![package.bytes.to_string(), job, beginning]
        })
        .collect();
    format!(
        "set aside unread, as they are larger than MAX_PACKAGE_BYTES:\n{}",
        text::table(&columns, &rows, width)
    )
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
                cut(&format!("{retried}{}", plain(&package.reason)), REASON_CHARS),
            ]
        })
        .collect();
    text::table(&columns, &rows, width)
}
