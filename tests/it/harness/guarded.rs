//! Servers of others that tests start, and that end with the test in whatever way it ends.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ends the server when its own standard input ends, which it does with the process that started it.
const GUARD: &str = r#""$@" </dev/null & server=$!; cat >/dev/null; kill -s INT "$server"; wait "$server""#;

/// A running server. Ends with this value, and with this process.
pub(crate) struct Guarded(Child);

impl Guarded {
    /// Starts a program, wherever a package of the system has put it. What it says goes to the file `log`.
    pub(crate) fn start(program: &str, arguments: &[impl AsRef<OsStr>], log: &Path) -> Self {
        let log = File::create(log).unwrap();
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard", program])
            .args(arguments)
            .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/bin:/opt/homebrew/bin")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(guard)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
