//! What the machine does meanwhile: CPU by process, memory, and what nobody here has asked for.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::time::Instant;

/// Of the kernel's counters in `/proc/*/stat`. Source: Linux `proc(5)`; `getconf CLK_TCK` is 100 everywhere.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds that a process has used, those of its ended children included.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    ticks(pid, 11..15)
}

/// `utime stime cutime cstime` are fields 11 to 14 after the name.
fn ticks(pid: u32, which: std::ops::Range<usize>) -> f64 {
    stat(pid).map_or(0.0, |fields| {
        fields[which]
            .iter()
            .filter_map(|field| field.parse::<f64>().ok())
            .sum::<f64>()
            / TICKS_PER_SECOND
    })
}

/// The same with the children that are still there.
pub(crate) fn cpu_seconds_of_family(pid: u32) -> f64 {
    cpu_seconds(pid) + children(pid).into_iter().map(cpu_seconds).sum::<f64>()
}

/// The fields of `/proc/<pid>/stat` after the name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid)?[1].parse().ok()
}

fn children(parent_pid: u32) -> Vec<u32> {
    let Ok(processes) = Path::new("/proc").read_dir() else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid| parent(*pid) == Some(parent_pid))
        .collect()
}

/// A line of `/proc/<pid>/status` in MiB: `VmRSS` (now) or `VmHWM` (at the most so far).
pub(crate) fn memory_mib(pid: u32, line: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|l| {
            l.strip_prefix(line)?
                .strip_prefix(':')?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse::<f64>()
                .ok()
        })
        .map_or(f64::NAN, |kib| kib / 1024.0)
}

pub(crate) fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

/// CPU seconds of the whole machine since it was started, what a hypervisor has taken included.
fn busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|i| fields.get(*i))
        .sum::<f64>()
        / TICKS_PER_SECOND
}

/// CPU seconds by who used them, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    at: Instant,
    busy: f64,
    ours: BTreeMap<&'static str, f64>,
}

/// What passed between two moments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Used {
    pub(crate) seconds: BTreeMap<&'static str, f64>,
    /// The share of the machine that none of ours has used.
    pub(crate) others: f64,
}

impl Usage {
    /// `pids` are named; the driver itself is added.
    pub(crate) fn now(pids: &[(&'static str, u32)]) -> Self {
        let mut ours: BTreeMap<_, _> = pids
            .iter()
            .map(|(name, pid)| (*name, cpu_seconds_of_family(*pid)))
            .collect();
        // Without its children, which have names of their own.
        ours.insert("driver", ticks(std::process::id(), 11..13));
        Self {
            at: Instant::now(),
            busy: busy_seconds(),
            ours,
        }
    }

    pub(crate) fn until(&self, later: &Self) -> Used {
        let seconds: BTreeMap<_, _> = later
            .ours
            .iter()
            .map(|(name, used)| {
                (
                    *name,
                    (used - self.ours.get(name).copied().unwrap_or_default()).max(0.0),
                )
            })
            .collect();
        let machine = (later.at - self.at).as_secs_f64() * cores();
        let others = later.busy - self.busy - seconds.values().sum::<f64>();
        Used {
            others: (others / machine).clamp(0.0, 1.0),
            seconds,
        }
    }
}

/// The share of the machine that is in use during a moment.
pub(crate) async fn busy_share() -> f64 {
    let (at, busy) = (Instant::now(), busy_seconds());
    tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    (busy_seconds() - busy) / (at.elapsed().as_secs_f64() * cores())
}

/// What matters of this machine.
pub(crate) fn facts() -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(": ")
                .map(|(_, name)| name)
        })
        .unwrap_or("a processor")
        .to_owned();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_gib = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse::<f64>()
                .ok()
        })
        .map_or(f64::NAN, |kib| kib / 1024.0 / 1024.0);
    format!(
        "{} cores of {model}, {memory_gib:.0} GiB, Linux {}",
        cores(),
        kernel.trim()
    )
}
