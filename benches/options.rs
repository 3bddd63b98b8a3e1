//! What can be asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Measures the worker beside simpler ways to do the same work. The full run takes some 20 minutes.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// One round of everything, with fewer jobs: three minutes, and good for no more than an impression
    #[arg(long)]
    quick: bool,
    /// Rounds [default: 5, quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    /// Measure only these
    #[arg(long, value_delimiter = ',', value_parser = ["overhead", "latency", "pictures", "idle", "backlog", "icon", "parts"])]
    pub(crate) only: Vec<String>,
    /// Overhead at these concurrencies only
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000")]
    pub(crate) concurrency: Vec<usize>,
    /// Where the servers keep their files: should be a disk like the one in production
    #[arg(long)]
    directory: Option<PathBuf>,
    /// The worker to be measured [default: the one beside this program]
    #[arg(long)]
    worker: Option<PathBuf>,
    /// Further settings of Postgres, such as log_min_duration_statement=10
    #[arg(long = "postgres", value_name = "SETTING")]
    pub(crate) postgres: Vec<String>,
    /// Seconds that each run waits for the machine to be quiet
    #[arg(long, default_value_t = 2)]
    patience: u64,
    /// Do not compare with sharp
    #[arg(long)]
    pub(crate) no_sharp: bool,
    /// Write docs/performance.md [default for a full run]
    #[arg(long)]
    write: bool,
    /// Do not write docs/performance.md
    #[arg(long, conflicts_with = "write")]
    no_write: bool,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// What this program is when it has started itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    #[command(hide = true)]
    Rival,
    #[command(hide = true)]
    Fakes,
    #[command(hide = true)]
    Icon { picture: PathBuf, seconds: f64 },
    #[command(hide = true)]
    Parts { max_seconds: f64 },
}

impl Options {
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// So many jobs: fewer where it is to be quick.
    pub(crate) fn jobs(&self, full: usize) -> usize {
        if self.quick { full / 2 } else { full }
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    /// After this long no noisy run is repeated any more.
    pub(crate) fn budget(&self) -> Duration {
        Duration::from_secs(if self.quick { 100 } else { 18 * 60 })
    }

    pub(crate) fn is_written(&self) -> bool {
        self.write || !(self.quick || self.no_write || self.rounds.is_some() || !self.only.is_empty())
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// As it was given, for whoever wants to run it again.
    pub(crate) fn command(&self) -> String {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if arguments.is_empty() {
            return "make bench".to_owned();
        }
        format!("make bench BENCH_ARGS=\"{}\"", arguments.join(" "))
    }

    pub(crate) fn worker(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.worker {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("generative-ai-worker"),
        };
        path.canonicalize()
            .with_context(|| format!("{} is not there; run make build first", path.display()))
    }
}
