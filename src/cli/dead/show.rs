//! `dead show`: all that is known of one, or of those of a job.

use std::fmt::Write;

use base64::Engine;
use clap::Args;

use super::super::exit::ExitStatus;
use super::super::text;
use super::selection::{Which, which};
use super::shown::Shown;
use crate::db::{Db, DeadFilter, DeadPackage};
use crate::plain_text::plain;

/// More than that of one job are not of interest.
const MOST: u32 = 20;

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// Id, or its beginning as `dead list` shows it, or a job id
    #[arg(value_name = "ID", value_parser = which)]
    which: Which,
    /// Also print the package, prompt included; base64 where it is no text
    #[arg(long)]
    payload: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &ShowArguments, db: &Db) -> anyhow::Result<ExitStatus> {
    let mut filter = DeadFilter {
        with_retried: true,
        ..DeadFilter::default()
    };
    arguments.which.clone().add_to(&mut filter);
    let selection = db.select_dead(filter).await?;
    let (packages, _) = selection.newest_first(MOST, arguments.payload).await?;
    if packages.is_empty() {
        match &arguments.which {
            Which::Job(job_id) => eprintln!("generative-ai-worker: job {job_id} has no dead package"),
            Which::Id(id) => {
                eprintln!("generative-ai-worker: there is no dead package whose id begins with {id}");
            }
        }
        return Ok(ExitStatus::Failed);
    }
    if arguments.json {
        let shown: Vec<Shown<'_>> = packages.iter().map(Shown::from).collect();
        text::print(&format!("{}\n", serde_json::to_string_pretty(&shown)?))?;
    } else {
        let shown: Vec<String> = packages.iter().map(describe).collect();
        text::print(&shown.join("\n"))?;
    }
    Ok(ExitStatus::Done)
}

fn describe(package: &DeadPackage) -> String {
    let mut text = format!("dead package {}\n", package.id);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    let job_id = package.job_id.map(|job_id| job_id.to_string());
    line("job", job_id.as_deref().unwrap_or("none could be read"));
    line("class", &package.error_class);
    line("reason", &plain(&package.reason));
    if let Some(details) = &package.details {
        line("details", &plain(details));
    }
    line("attempts", &package.attempts.to_string());
    line("worker", &package.worker_id);
    let age = text::age_of_seconds(package.age_s);
    line("dead at", &format!("{}, {age} ago", text::time(package.dead_at)));
    if let Some(retried_at) = package.retried_at {
        line("retried", &text::time(retried_at));
    }
    match &package.provider {
        Some(provider) if package.was_asked => line("provider", &format!("{provider}, asked last")),
        Some(provider) => line("provider", &format!("{provider}, named by the package")),
        None => line("provider", "none was asked or named"),
    }
    match &package.payload {
        None => line(
            "package",
            &format!("{} bytes, see --payload", package.payload_bytes),
        ),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(package) => line("package", &plain(package)),
            Err(_) => line(
                "package",
                &format!(
                    "base64 {}",
                    base64::engine::general_purpose::STANDARD.encode(bytes)
                ),
            ),
        },
    }
    text
}
