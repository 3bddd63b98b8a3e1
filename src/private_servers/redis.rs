//! A private Redis.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal};
use uuid::Uuid;

use super::port::free_port;
use super::process::{EndSignal, Launch, POLL, ServerProcess};
use super::programs;

/// How a private Redis is to behave.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// Keeps the data on disk (`appendfsync everysec`), so that it survives [`RedisServer::kill`].
    pub append_only: bool,
    /// Further lines of its configuration, such as `maxmemory 3mb`. Later lines win over earlier ones.
    pub config: Vec<String>,
    /// Asked for by the server; a random one when `None`. Servers that copy each other share one.
    pub password: Option<String>,
    /// Makes it a Sentinel, which watches the masters that `config` names.
    pub is_sentinel: bool,
}

/// A Redis server of our own on 127.0.0.1; ends when dropped, at the latest with this process.
pub struct RedisServer {
    directory: PathBuf,
    program: PathBuf,
    options: RedisOptions,
    port: u16,
    password: String,
    /// `None` while stopped.
    process: Option<ServerProcess>,
}

impl RedisServer {
    /// Starts a server that keeps its files in `directory`, and returns when it answers.
    ///
    /// # Errors
    /// The program is not installed (the sentence names the packages), `directory` cannot be made, or the
    /// server ends at once (the end of its log is part of the error).
    pub fn start(directory: &Path, options: RedisOptions) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let password = options.password.clone();
        let mut server = Self {
            directory: directory.canonicalize()?,
            program: programs::redis_server()?,
            options,
            port: 0,
            password: password.unwrap_or_else(|| Uuid::new_v4().simple().to_string()),
            process: None,
        };
        server.process = Some(server.launch(true)?);
        Ok(server)
    }

    /// `redis://default:<password>@127.0.0.1:<port>`, which redis-cli takes as well. Stays the same across [`restart`](Self::restart).
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://default:{}@127.0.0.1:{}", self.password, self.port)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server as an operator would (SIGTERM); with `append_only` everything is on disk then.
    pub fn stop(&mut self) {
        self.end_by(Signal::TERM);
    }

    /// Ends the server without a warning (SIGKILL).
    pub fn kill(&mut self) {
        self.end_by(Signal::KILL);
    }

    /// Starts the server again on the same port, with the data that is on disk; stops it first if it runs.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop();
        self.process = Some(self.launch(false)?);
        Ok(())
    }

    /// Freezes the server (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// The server is not running.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Undoes [`pause`](Self::pause).
    ///
    /// # Errors
    /// The server is not running.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process
            .as_ref()
            .context("this Redis is stopped")?
            .signal(signal)
    }

    fn end_by(&mut self, signal: Signal) {
        if let Some(mut process) = self.process.take() {
            process.end_by(signal);
        }
    }

    fn launch(&mut self, choose_port: bool) -> anyhow::Result<ServerProcess> {
        let mut tries = 0;
        loop {
            if choose_port {
                self.port = free_port()?;
            }
            let (arguments, input) = if self.options.is_sentinel {
                (
                    vec![self.sentinel_file(choose_port)?, "--sentinel".into()],
                    String::new(),
                )
            } else {
                (vec!["-".into()], self.configuration())
            };
            let process = ServerProcess::spawn(Launch {
                program: &self.program,
                arguments,
                input,
                log: &self.directory.join("redis.log"),
                owner: None,
                end_signal: EndSignal::Kill,
            })?;
            match process.wait_until(|pid| self.is_ready(pid)) {
                Ok(()) => return Ok(process),
                Err(error) if error.is_collision() && tries < 20 => tries += 1,
                Err(error) => return Err(error).context("cannot start a private Redis"),
            }
            std::thread::sleep(POLL * 10);
        }
    }

    /// A Sentinel keeps what it learns in the file that it was configured by.
    fn sentinel_file(&self, is_new: bool) -> anyhow::Result<OsString> {
        let file = self.directory.join("sentinel.conf");
        if is_new {
            let mut lines = self.common_lines();
            lines.extend(self.options.config.iter().cloned());
            lines.push(String::new());
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options
                .open(&file)
                .and_then(|mut file| file.write_all(lines.join("\n").as_bytes()))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(file.into())
    }

    /// Read from standard input: on the command line other users would see the password.
    fn configuration(&self) -> String {
        let mut lines = self.common_lines();
        lines.extend([
            "save \"\"".to_owned(),
            format!(
                "appendonly {}",
                if self.options.append_only { "yes" } else { "no" }
            ),
            "appendfsync everysec".to_owned(),
            "maxmemory-policy noeviction".to_owned(),
        ]);
        lines.extend(self.options.config.iter().cloned());
        lines.push(String::new());
        lines.join("\n")
    }

    fn common_lines(&self) -> Vec<String> {
        let directory = self
            .directory
            .to_string_lossy()
            .replace('\\', "\\\\")
            .replace('"', "\\\"");
        vec![
            "bind 127.0.0.1".to_owned(),
            format!("port {}", self.port),
            format!("requirepass {}", self.password),
            format!("dir \"{directory}\""),
            "daemonize no".to_owned(),
        ]
    }

    /// Whether the process `pid` itself, and not another one on the same port, has loaded its data and answers.
    fn is_ready(&self, pid: Pid) -> bool {
        self.ask(b"INFO server\r\nPING\r\n", &["+PONG\r\n", "-LOADING"])
            .is_ok_and(|reply| {
                reply.contains(&format!("process_id:{}\r\n", pid.as_raw_nonzero()))
                    && reply.ends_with("+PONG\r\n")
            })
    }

    fn ask(&self, commands: &[u8], ends: &[&str]) -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let limit = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(format!("AUTH {}\r\n", self.password).as_bytes())?;
        stream.write_all(commands)?;
        let mut reply = String::new();
        let mut chunk = [0; 4096];
        while !ends.iter().any(|end| reply.contains(end)) && reply.len() < 64 * 1024 {
            let count = stream.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            reply.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
        Ok(reply)
    }
}
