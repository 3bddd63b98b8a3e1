//! Where the log goes: standard error, by way of a thread of its own.
//!
//! A pipe that nobody reads blocks whoever writes to it, and a full disk or a pipe whose reader is gone refuses. None
//! of that is a reason to stop drawing: lines wait in memory, up to [`WAITING_LINES`], and what comes beyond that, or
//! is refused, is dropped and counted. The log says so when it is read again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Some MB at the most.
const WAITING_LINES: usize = 8_192;

static GUARD: Mutex<Option<WorkerGuard>> = Mutex::new(None);
static OVERFLOWED: OnceLock<ErrorCounter> = OnceLock::new();
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Starts the thread.
pub(super) fn start(format: super::LogFormat) -> NonBlocking {
    let builder = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log");
    let (writer, guard) = builder.finish(Counting {
        format,
        told: 0,
        line: Vec::new(),
    });
    // A second start, in a test of this process, comes to nothing: its log is not the one that is used.
    if OVERFLOWED.set(writer.error_counter()).is_ok() {
        *lock() = Some(guard);
    }
    writer
}

fn lock() -> std::sync::MutexGuard<'static, Option<WorkerGuard>> {
    GUARD.lock().expect("nothing panics while it holds this lock")
}

/// Writes what still waits, for a second at the most. Lines that come later are lost.
pub(super) fn end() {
    drop(lock().take());
}

/// Lines that nobody will read.
pub(super) fn dropped() -> u64 {
    let overflowed = OVERFLOWED.get().map_or(0, ErrorCounter::dropped_lines);
    overflowed as u64 + REFUSED.load(Ordering::Relaxed)
}

/// Standard error, which says what it has not said.
struct Counting {
    format: super::LogFormat,
    /// How many dropped lines the log has told of.
    told: u64,
    line: Vec<u8>,
}

impl Counting {
    /// A line that says how many are missing before it.
    fn note(&mut self, dropped: u64) -> &[u8] {
        let count = dropped - self.told;
        self.told = dropped;
        self.line.clear();
        let message =
            format!("{count} lines of this log were dropped, as nobody read it or it could not be written");
        let line = match self.format {
            super::LogFormat::Pretty => format!(" WARN {message} dropped={count}\n"),
            super::LogFormat::Json => {
                let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
                let line = serde_json::json!({
                    "timestamp": time, "level": "WARN", "message": message, "dropped": count,
                    "target": module_path!(),
                });
                format!("{line}\n")
            }
        };
        self.line.extend(line.into_bytes());
        &self.line
    }
}

impl Write for Counting {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    /// One whole line.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let mut out = io::stderr().lock();
        if out.write_all(line).is_err() {
            REFUSED.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let dropped = dropped();
        if dropped > self.told {
            let told = self.told;
            if out.write_all(self.note(dropped)).is_err() {
                self.told = told;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
