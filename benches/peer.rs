//! A program under measurement: the worker, or a rival that this program becomes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::machine;
use crate::stand::{QUEUE, Stand};

/// Waits at the end of a pipe; when the driver is gone, however it went, so is the peer.
const WATCHDOG: &str = r#"read -r _; kill -s KILL "$1""#;

/// What goes wrong, and that a worker is ready.
const LOG_FILTER: &str = "warn,generative_ai_worker::worker::lifecycle=info";

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    Worker,
    /// BLMOVE, two statements, LREM.
    Naive,
    /// BRPOP, two statements: loses what it has in hand when it dies.
    NaivePop,
    /// Batches straight at Redis and Postgres.
    Ceiling,
    /// The naive loop with a whole picture job in it.
    Plain,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Naive => "naive loop",
            Self::NaivePop => "naive loop, BRPOP",
            Self::Ceiling => "ceiling",
            Self::Plain => "plain Rust worker",
        }
    }
}

/// What a rival is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) kind: Kind,
    pub(crate) redis_url: String,
    pub(crate) database_url: String,
    pub(crate) queue: String,
    pub(crate) concurrency: usize,
    /// Of the fakes.
    pub(crate) services_url: Option<String>,
}

/// A running program. Ends when dropped.
pub(crate) struct Peer {
    child: Child,
    watchdog: Child,
    /// Between being started and being ready.
    pub(crate) start_time: Duration,
    _lifelines: (Option<ChildStdin>, Option<ChildStdin>),
}

impl Peer {
    /// Starts a peer and waits until it takes packages.
    pub(crate) fn start(
        kind: Kind,
        worker: &Path,
        stand: &Stand,
        concurrency: usize,
        services_url: Option<&str>,
    ) -> anyhow::Result<Self> {
        if kind == Kind::Worker {
            return Self::start_worker(worker, stand, concurrency, services_url);
        }
        let orders = Orders {
            kind,
            redis_url: stand.redis_url(),
            database_url: stand.database_url(),
            queue: QUEUE.to_owned(),
            concurrency,
            services_url: services_url.map(str::to_owned),
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("rival");
        Self::start_own(command, stand, &serde_json::to_string(&orders)?).map(|(peer, _)| peer)
    }

    /// Starts this program in another role. Returns also what it says when it is ready.
    pub(crate) fn start_own(
        mut command: Command,
        stand: &Stand,
        orders: &str,
    ) -> anyhow::Result<(Self, String)> {
        let begun = Instant::now();
        let errors = File::options()
            .create(true)
            .append(true)
            .open(stand.directory().join("rivals.log"))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()?;
        let mut stdin = child.stdin.take();
        if let Some(stdin) = &mut stdin {
            writeln!(stdin, "{orders}")?;
        }
        let output = child.stdout.take().context("it has no output")?;
        let mut peer = Self::guard(child, stdin)?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let log = || std::fs::read_to_string(stand.directory().join("rivals.log")).unwrap_or_default();
        let said = line
            .trim()
            .strip_prefix("READY")
            .with_context(|| format!("it did not get ready: {}", log()))?;
        peer.start_time = begun.elapsed();
        Ok((peer, said.trim().to_owned()))
    }

    /// Starts the worker as it is by default, but for its log, which has no line for each job, as rivals have none.
    fn start_worker(
        program: &Path,
        stand: &Stand,
        concurrency: usize,
        services_url: Option<&str>,
    ) -> anyhow::Result<Self> {
        let log = stand.directory().join("worker.log");
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("REDIS_URL", stand.redis_url())
            .env("DATABASE_URL", stand.database_url())
            .env("QUEUE_NAME", QUEUE)
            .env("WORKER_CONCURRENCY", concurrency.to_string())
            .env("HTTP_ADDR", "127.0.0.1:0")
            .env("STORAGE_URL", "memory://")
            .env("IMAGE_PROVIDER", "blank")
            .env("RUST_LOG", LOG_FILTER);
        if let Some(url) = services_url {
            command
                .env("IMAGE_PROVIDER", "openai")
                .env("OPENAI_API_KEY", "sk-bench")
                .env("OPENAI_BASE_URL", format!("{url}/v1"))
                .env("STORAGE_URL", "s3://bench")
                .env("S3_ENDPOINT", url)
                .env("S3_REGION", "us-east-1")
                .env("AWS_ACCESS_KEY_ID", "bench")
                .env("AWS_SECRET_ACCESS_KEY", "bench-secret");
        }
        let begun = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut peer = Self::guard(child, None)?;
        while !std::fs::read_to_string(&log)?.contains("waiting for packages") {
            let is_running = peer.child.try_wait()?.is_none() && begun.elapsed() < Duration::from_secs(20);
            ensure!(
                is_running,
                "the worker did not get ready: {}",
                std::fs::read_to_string(&log)?
            );
            std::thread::sleep(Duration::from_micros(500));
        }
        peer.start_time = begun.elapsed();
        Ok(peer)
    }

    fn guard(child: Child, lifeline: Option<ChildStdin>) -> anyhow::Result<Self> {
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", &child.id().to_string()])
            .stdin(Stdio::piped())
            .spawn()?;
        let pipe = watchdog.stdin.take();
        Ok(Self {
            child,
            watchdog,
            start_time: Duration::ZERO,
            _lifelines: (lifeline, pipe),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::STOP)?)
    }

    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    pub(crate) fn peak_mib(&self) -> f64 {
        machine::memory_mib(self.pid(), "VmHWM")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Its watchdog first: a pid that has been waited for may become somebody else's.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
