//! `schema`: prints the JSON Schema of work packages.

use super::exit::ExitStatus;
use crate::config::Environment;
use crate::work_package::{PackageLimits, json_schema};

pub(super) fn run(environment: &Environment) -> anyhow::Result<ExitStatus> {
    let limits = PackageLimits::from_environment(environment)?;
    println!(
        "{}",
        serde_json::to_string_pretty(&json_schema(&limits.reply_prefix))?
    );
    Ok(ExitStatus::Done)
}
