//! A worker as a process of its own, to be stopped, frozen and killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::stack::PATIENCE;

/// The worker that is tested. `WORKER_PROGRAM` names another one than that which was built for the tests: what is
/// shipped, for example, which has no fault points.
#[expect(
    clippy::disallowed_methods,
    reason = "it is asked of the tests, not of the worker"
)]
pub(crate) fn program() -> std::ffi::OsString {
    std::env::var_os("WORKER_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_generative-ai-worker").into())
}

/// Adds a row to the file that `MEASURED` names: a table of what was measured, for the documents.
#[expect(
    clippy::disallowed_methods,
    reason = "it is asked of the tests, not of the worker"
)]
pub(crate) fn measured(row: &str) {
    let Some(path) = std::env::var_os("MEASURED") else {
        return;
    };
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    writeln!(file, "{row}").unwrap();
}

/// Runs a command of the worker to its end, with these variables and no others.
pub(crate) async fn run(arguments: &[&str], environment: &BTreeMap<String, String>) -> Output {
    let running = tokio::process::Command::new(program())
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(PATIENCE, running)
        .await
        .unwrap_or_else(|_| panic!("{arguments:?} goes on after {PATIENCE:?}"))
        .unwrap()
}

/// What the code of the optimised program takes in memory, with room to grow.
const CODE_KIB: u64 = 16 * 1024;

/// A running process. Killed when dropped.
pub(crate) struct Replica {
    process: Child,
    log: PathBuf,
}

impl Replica {
    pub(crate) fn start(arguments: &[&str], environment: &BTreeMap<String, String>, log: PathBuf) -> Self {
        Self::spawn(Command::new(program()).args(arguments), environment, log)
    }

    /// Starts the worker in the hands of another program, such as Valgrind, which gets it as its last arguments.
    pub(crate) fn start_under(
        watcher: &[&str],
        arguments: &[&str],
        environment: &BTreeMap<String, String>,
        log: PathBuf,
    ) -> Self {
        let mut watched = Command::new(watcher[0]);
        watched.args(&watcher[1..]).arg(program()).args(arguments);
        Self::spawn(&mut watched, environment, log)
    }

    fn spawn(command: &mut Command, environment: &BTreeMap<String, String>, log: PathBuf) -> Self {
        let file = File::create(&log).unwrap();
        let process = command
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { process, log }
    }

    /// Everything that it has logged, and what it has printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until a log line contains `text`.
    pub(crate) async fn said(&self, text: &str) {
        let waiting = async {
            while !self.log().contains(text) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("waited in vain for the log to say \"{text}\":\n{}", self.log());
        }
    }

    /// How many lines of its log contain `text`.
    pub(crate) fn times_said(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// `<WORKER_NAME>-<random part>`, from the log.
    pub(crate) fn worker_id(&self) -> String {
        let log = self.log();
        let line = log
            .lines()
            .find(|line| line.contains("waiting for packages"))
            .unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        line["worker_id"].as_str().unwrap().to_owned()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// SIGKILL: it ends without a word.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM, without waiting.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGHUP, as a terminal that is closed sends it, without waiting.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGINT, as Ctrl-C sends it, without waiting.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// SIGSTOP: it freezes.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it has ended.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let waiting = async {
            loop {
                if let Some(status) = self.process.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("the replica ends in time")
    }

    /// How many TCP sockets of it listen (Linux).
    pub(crate) fn listens_on(&self) -> usize {
        let process = PathBuf::from(format!("/proc/{}", self.process.id()));
        let listening: Vec<String> = ["net/tcp", "net/tcp6"]
            .iter()
            .filter_map(|table| std::fs::read_to_string(process.join(table)).ok())
            .flat_map(|table| {
                let rows = table
                    .lines()
                    .map(|row| row.split_whitespace().collect::<Vec<_>>());
                // 0A is LISTEN.
                rows.filter(|row| row.get(3) == Some(&"0A"))
                    .map(|row| format!("socket:[{}]", row[9]))
                    .collect::<Vec<_>>()
            })
            .collect();
        let open = std::fs::read_dir(process.join("fd")).unwrap();
        open.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok())
            .filter(|target| listening.iter().any(|socket| target.as_os_str() == &**socket))
            .count()
    }

    /// How many files and sockets it has open (Linux).
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id()))
            .unwrap()
            .count()
    }

    /// Whether it runs with this variable, written `NAME=value`, by now (Linux).
    pub(crate) fn has_variable(&self, variable: &str) -> bool {
        let environment = std::fs::read(format!("/proc/{}/environ", self.process.id())).unwrap();
        environment
            .split(|byte| *byte == 0)
            .any(|found| found == variable.as_bytes())
    }

    /// The most memory that it has had, in KiB (Linux). The program's own code is counted as the [`CODE_KIB`] that what is shipped
    /// takes: without optimisation it is three times as large.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        kib("VmHWM:").saturating_sub(kib("RssFile:")) + CODE_KIB
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // What it said is what a failed test has to show.
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.log.display(), self.log());
        }
    }
}
