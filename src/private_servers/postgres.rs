//! A private Postgres.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::cluster::{self, DATA};
use super::owner::Owner;
use super::port::free_port;
use super::process::{EndSignal, Launch, POLL, ServerProcess};
use super::programs::{self, PostgresPrograms};

/// How a private Postgres is to behave.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Waits for the disk at each commit, as a real one does. Without it a power cut may ruin the cluster;
    /// a killed server loses no commit either way.
    pub durable: bool,
    /// Directory that keeps a pristine cluster per Postgres version, to copy instead of running `initdb`
    /// (0.5 s) each time. Shared by any number of processes.
    pub template_cache: Option<PathBuf>,
    /// Further settings, such as `max_connections=20`. Later ones win over earlier ones.
    pub settings: Vec<String>,
}

/// A Postgres server of our own on 127.0.0.1; ends when dropped, at the latest with this process.
pub struct PostgresServer {
    directory: PathBuf,
    programs: PostgresPrograms,
    owner: Option<Owner>,
    options: PostgresOptions,
    port: u16,
    password: String,
    /// `None` while stopped.
    process: Option<ServerProcess>,
}

impl PostgresServer {
    /// Starts a server that keeps its cluster in `directory`, and returns when it accepts connections.
    ///
    /// A cluster that an earlier server left in `directory` is used on. Under root the server runs as the
    /// account `postgres`, else `nobody`, which becomes the owner of `directory` and must be able to enter
    /// the directories above it.
    ///
    /// # Errors
    /// The programs are not installed (the sentence names the packages), `directory` cannot be made or
    /// entered, or the server ends at once (the end of its log is part of the error).
    pub fn start(directory: &Path, options: PostgresOptions) -> anyhow::Result<Self> {
        let programs = programs::postgres()?;
        let owner = Owner::for_postgres()?;
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        if let Some(owner) = &owner {
            owner.check_reachable(&directory)?;
            owner.take(&directory)?;
        }
        let password = cluster::provide(
            &directory,
            &programs,
            owner.as_ref(),
            options.template_cache.as_deref(),
        )?;
        let mut server = Self {
            directory,
            programs,
            owner,
            options,
            port: 0,
            password,
            process: None,
        };
        server.process = Some(server.launch(true)?);
        Ok(server)
    }

    /// `postgres://postgres:<password>@127.0.0.1:<port>/<database>`; a fresh cluster has the database
    /// `postgres`. Stays the same across [`restart`](Self::restart).
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server as an operator would (SIGINT, "fast"): open transactions are rolled back.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.end_by(Signal::INT);
        }
    }

    /// Ends the server and its connections' processes without a warning (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Stopped first, it neither starts children nor takes their exit states: the pids stay theirs.
            let _ = process.signal(Signal::STOP);
            let children = children_of(process.pid());
            let _ = process.signal(Signal::KILL);
            for child in children {
                let _ = kill_process(child, Signal::KILL);
            }
            process.end_by(Signal::KILL);
        }
    }

    /// Starts the server again on the same port with its data; stops it first if it runs.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop();
        self.process = Some(self.launch(false)?);
        Ok(())
    }

    /// Freezes the server and its connections' processes (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// The server is not running.
    pub fn pause(&self) -> anyhow::Result<()> {
        let process = self.running()?;
        process.signal(Signal::STOP)?;
        for child in children_of(process.pid()) {
            let _ = kill_process(child, Signal::STOP);
        }
        Ok(())
    }

    /// Undoes [`pause`](Self::pause).
    ///
    /// # Errors
    /// The server is not running.
    pub fn resume(&self) -> anyhow::Result<()> {
        let process = self.running()?;
        for child in children_of(process.pid()) {
            let _ = kill_process(child, Signal::CONT);
        }
        process.signal(Signal::CONT)
    }

    fn running(&self) -> anyhow::Result<&ServerProcess> {
        self.process.as_ref().context("this Postgres is stopped")
    }

    fn launch(&mut self, choose_port: bool) -> anyhow::Result<ServerProcess> {
        let mut tries = 0;
        loop {
            if choose_port {
                self.port = free_port()?;
            }
            let process = ServerProcess::spawn(Launch {
                program: &self.programs.postgres,
                arguments: self.arguments(),
                input: String::new(),
                log: &self.directory.join("postgres.log"),
                owner: self.owner.as_ref(),
                end_signal: EndSignal::Quit,
            })?;
            match process.wait_until(|pid| self.is_ready(pid)) {
                Ok(()) => return Ok(process),
                // Also what a killed predecessor leaves for a moment: "pre-existing shared memory block … is still in use".
                Err(error) if error.is_collision() && tries < 20 => tries += 1,
                Err(error) => return Err(error).context("cannot start a private Postgres"),
            }
            std::thread::sleep(POLL * 10);
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut settings = vec![
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "shared_buffers=64MB",
            "max_connections=100",
            // In the data directory instead of /dev/shm, where a killed server would leave it for ever.
            "dynamic_shared_memory_type=mmap",
        ];
        if !self.options.durable {
            // Not synchronous_commit: off, it would let a killed server forget what it has confirmed.
            settings.extend(["fsync=off", "full_page_writes=off"]);
        }
        settings.extend(self.options.settings.iter().map(String::as_str));
        let mut arguments: Vec<OsString> = vec!["-D".into(), self.directory.join(DATA).into()];
        arguments.extend(["-p".into(), self.port.to_string().into()]);
        for setting in settings {
            arguments.extend(["-c".into(), setting.into()]);
        }
        arguments
    }

    /// Whether the process `pid` says of itself that it accepts connections.
    ///
    /// Source: PostgreSQL, `src/include/utils/pidfile.h`: line 1 is the pid, line 8 the state.
    fn is_ready(&self, pid: Pid) -> bool {
        let file = self.directory.join(DATA).join("postmaster.pid");
        let Ok(text) = std::fs::read_to_string(file) else {
            return false;
        };
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.first() == Some(&pid.as_raw_nonzero().to_string().as_str()) && lines.get(7) == Some(&"ready")
    }
}

/// The processes that `parent` started and that are still there.
fn children_of(parent: Pid) -> Vec<Pid> {
    let listed = match Path::new("/proc").read_dir() {
        Ok(processes) => processes
            .flatten()
            .filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok())
            .filter_map(|stat| {
                // `pid (name) state ppid …`; the name may hold spaces and brackets.
                let (before, after) = (stat.split_once(' ')?.0, stat.rsplit_once(") ")?.1);
                Some((before.parse().ok()?, after.split(' ').nth(1)?.parse().ok()?))
            })
            .collect(),
        Err(_) => list_by_ps(),
    };
    listed
        .into_iter()
        .filter(|(_, its_parent)| *its_parent == parent.as_raw_nonzero().get())
        .filter_map(|(pid, _)| Pid::from_raw(pid))
        .collect()
}

/// Pid and parent's pid of every process, where there is no `/proc` (macOS).
fn list_by_ps() -> Vec<(i32, i32)> {
    let output = std::process::Command::new("ps")
        .args(["-A", "-o", "pid=,ppid="])
        .output();
    let text = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect()
}
