//! One server process that cannot outlive this one. Knows nothing of what the server serves.
//!
//! The server is a direct child, so signals and exit states concern no other process by accident. Beside it
//! runs a watchdog, a tiny `sh` that waits at the end of a pipe: when this process ends in whatever way,
//! SIGKILL included, the kernel closes the pipe and the watchdog ends the server. (`PR_SET_PDEATHSIG` would
//! need unsafe code, and fires already when the *thread* that started the server ends.)

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::owner::Owner;

/// How often an event is looked for. Loops count their looks instead of reading a clock, which may be paused.
pub(super) const POLL: Duration = Duration::from_millis(5);

/// Looks until a server that does not end, or does not get ready, is given up: 30 s.
pub(super) const POLLS: usize = 6_000;

/// Reads the server's pid, then nothing until the pipe closes. CONT first: a stopped process keeps most signals waiting.
const WATCHDOG: &str = r#"read -r pid || exit 0; read -r _; kill -s CONT "$pid"; kill -s "$1" "$pid""#;

/// Tells the watchdog the pid *before* it becomes the server under that very pid: there is no moment at which
/// a server runs that the watchdog does not know. Closing the pipe's copy is part of the redirection.
const BECOME_SERVER: &str = r#"echo $$; exec "$@" 1>&2"#;

/// What to start.
pub(super) struct Launch<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: Vec<OsString>,
    /// Written to the server's standard input: keeps passwords out of the process list.
    pub(super) input: String,
    /// Gets both output streams; appended to.
    pub(super) log: &'a Path,
    pub(super) owner: Option<&'a Owner>,
    /// Ends the server when nobody asks for anything gentler.
    pub(super) end_signal: EndSignal,
}

/// The signal by which a server ends when its owner is gone.
#[derive(Clone, Copy)]
pub(super) enum EndSignal {
    /// SIGKILL: nothing is worth saving.
    Kill,
    /// SIGQUIT: for Postgres, ends its child processes and frees shared memory.
    Quit,
}

impl EndSignal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Quit => "QUIT",
        }
    }

    fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::Quit => Signal::QUIT,
        }
    }
}

/// A running server. Dropping it ends the server and waits for that.
pub(super) struct ServerProcess {
    server: Child,
    /// `None` once the server's end has been seen to.
    watchdog: Option<Watchdog>,
    end_signal: EndSignal,
    log: PathBuf,
}

impl ServerProcess {
    pub(super) fn spawn(launch: Launch<'_>) -> anyhow::Result<Self> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(launch.log)
            .with_context(|| format!("cannot open the log file {}", launch.log.display()))?;
        let watchdog = Watchdog::spawn(launch.end_signal)?;
        let mut command = Command::new("sh");
        command
            .args(["-c", BECOME_SERVER, "sh"])
            .arg(launch.program)
            .args(&launch.arguments)
            .current_dir("/")
            .env("LC_ALL", "C") // messages are searched for words
            .process_group(0) // Ctrl-C is meant for this process, which ends its servers in its own order
            .stdin(Stdio::piped())
            .stdout(watchdog.lifeline.as_fd().try_clone_to_owned()?)
            .stderr(log);
        if let Some(owner) = launch.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        let server = command
            .spawn()
            .with_context(|| format!("cannot start {}", launch.program.display()))?;
        let mut process = Self {
            server,
            watchdog: Some(watchdog),
            end_signal: launch.end_signal,
            log: launch.log.to_owned(),
        };
        if let Some(mut input) = process.server.stdin.take() {
            // A server that has died already says why in its log; the broken pipe says nothing.
            let _ = input.write_all(launch.input.as_bytes());
        }
        Ok(process)
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.server)
    }

    /// Whether the server has not ended. Leaves the exit state in place: while nobody takes it, the pid
    /// belongs to nobody else, and the watchdog's knowledge stays true.
    pub(super) fn is_running(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.watchdog.is_some() && matches!(waitid(WaitId::Pid(self.pid()), options), Ok(None))
    }

    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        anyhow::ensure!(self.watchdog.is_some(), "the server has been ended before");
        kill_process(self.pid(), signal).context("cannot send a signal to the server")
    }

    /// Ends the server by `signal`, or by SIGKILL when that has no effect within 30 s, and waits for its end.
    pub(super) fn end_by(&mut self, signal: Signal) {
        let Some(watchdog) = self.watchdog.take() else {
            return;
        };
        for signal in [signal, Signal::KILL] {
            let _ = kill_process(self.pid(), signal);
            let _ = kill_process(self.pid(), Signal::CONT);
            if self.ends() {
                break;
            }
        }
        // The watchdog goes first: once the exit state is taken, the pid may become somebody else's.
        drop(watchdog);
        let _ = self.server.wait();
    }

    fn ends(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        for _ in 0..POLLS {
            if !matches!(waitid(WaitId::Pid(self.pid()), options), Ok(None)) {
                return true;
            }
            std::thread::sleep(POLL);
        }
        false
    }

    /// Waits until `is_ready` says so; `is_ready` is asked about this process alone.
    ///
    /// # Errors
    /// [`NotReady`] with the last lines of the log when the server ends first or takes longer than 30 s.
    pub(super) fn wait_until(&self, mut is_ready: impl FnMut(Pid) -> bool) -> Result<(), NotReady> {
        for _ in 0..POLLS {
            if is_ready(self.pid()) {
                return Ok(());
            }
            if !self.is_running() {
                return Err(NotReady {
                    what: "ended right after its start",
                    log_tail: log_tail(&self.log),
                });
            }
            std::thread::sleep(POLL);
        }
        Err(NotReady {
            what: "was not ready within 30 s",
            log_tail: log_tail(&self.log),
        })
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.end_by(self.end_signal.signal());
    }
}

/// A server that did not get as far as serving.
#[derive(Debug, thiserror::Error)]
#[error("the server {what}; the end of its log:\n{log_tail}")]
pub(super) struct NotReady {
    what: &'static str,
    log_tail: String,
}

impl NotReady {
    /// Whether another port, or a little later, may go better: the port is taken, or what a killed
    /// predecessor held is not yet free.
    pub(super) fn is_collision(&self) -> bool {
        self.log_tail.contains("in use")
    }
}

fn log_tail(log: &Path) -> String {
    const BYTES: u64 = 2_000;
    let mut tail = Vec::new();
    let read = std::fs::File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
        file.read_to_end(&mut tail)
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&tail).trim().to_owned(),
        Err(error) => format!("(cannot read {}: {error})", log.display()),
    }
}

/// The `sh` at the other end of the pipe. Dropping it ends it without any effect on the server.
struct Watchdog {
    shell: Child,
    /// Only this process and, until it has become the server, its child hold this end.
    lifeline: ChildStdin,
}

impl Watchdog {
    fn spawn(end_signal: EndSignal) -> anyhow::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", end_signal.name()])
            .current_dir("/")
            .process_group(0) // what ends this process's group must not end the watchdog before its work
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sh")?;
        let lifeline = shell.stdin.take().context("sh was started without its pipe")?;
        Ok(Self { shell, lifeline })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
