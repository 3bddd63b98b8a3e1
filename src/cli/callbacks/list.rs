//! `callbacks list`: the latest of them in a table.

use chrono::{DateTime, Utc};
use clap::Args;

use super::super::exit::ExitStatus;
use super::super::text::{self, Align};
use super::shown::as_json;
use crate::db::{CallbackChoice, CallbackRow, Db};
use crate::notify::Receivers;
use crate::ops::words::{end_of, next_try, target};
use crate::plain_text::{cut, plain};

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Only those that were given up
    #[arg(long)]
    failed: bool,
    /// So many at the most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// An id's first two groups: enough to tell them apart, and never to be taken for a job's.
const ID_CHARS: usize = 13;
const WHY_CHARS: usize = 100;

/// `receivers`: to whom ends may be posted.
pub(super) async fn run(
    arguments: &ListArguments,
    db: &Db,
    queue: &str,
    receivers: &Receivers,
) -> anyhow::Result<ExitStatus> {
    let choice = CallbackChoice {
        failed: arguments.failed,
        ..CallbackChoice::default()
    };
    let mut rows = db
        .callbacks(queue, &choice, i64::from(arguments.limit) + 1)
        .await?;
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    if arguments.json {
        let shown: Vec<_> = rows.iter().map(as_json).collect();
        text::print(&format!("{}\n", serde_json::to_string_pretty(&shown)?))?;
        return Ok(ExitStatus::Done);
    }
    if rows.is_empty() {
        text::print("no callback waits, and none was given up\n")?;
        return Ok(ExitStatus::Done);
    }
    text::print(&table(&rows, receivers))?;
    if has_more {
        text::print(&format!("there are more than these {limit}; raise --limit\n"))?;
    }
    Ok(ExitStatus::Done)
}

fn table(rows: &[CallbackRow], receivers: &Receivers) -> String {
    let columns = [
        ("id", Align::Left),
        ("job", Align::Right),
        ("end", Align::Left),
        ("age", Align::Right),
        ("tries", Align::Right),
        ("next", Align::Left),
        ("to", Align::Left),
        ("last answer", Align::Left),
    ];
    let now = Utc::now();
    let age = |from: DateTime<Utc>| text::age((now - from).to_std().unwrap_or_default());
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let next = match row.state.as_str() {
                "waiting" => next_try(row, receivers.refuse(&row.url), now),
                state => state.to_owned(),
            };
            vec![
                row.id.to_string().chars().take(ID_CHARS).collect(),
                row.job_id
                    .map_or_else(|| "-".to_owned(), |job_id| job_id.to_string()),
                end_of(&row.outcome).to_owned(),
                age(row.ended_at),
                row.tries.to_string(),
                next,
                target(&row.url),
                cut(&plain(row.last_error.as_deref().unwrap_or("-")), WHY_CHARS),
            ]
        })
        .collect();
    text::table(&columns, &rows, text::line_width())
}
