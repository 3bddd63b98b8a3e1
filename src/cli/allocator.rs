//! The C library's allocator, told what pictures are like.
//!
//! A picture and the answer that it came in are a few megabytes that live for a moment, in memory that the kernel clears page by page
//! before it gives it out. glibc begins by asking for such blocks one by one and giving them back at once: a third of what a picture
//! costs. Then it learns to keep them between other things, for ever, and once for each of the threads that take turns at pictures:
//! with 50 pictures in hand that doubles what the process holds. So it is told to keep them from the start, in one place for all
//! threads, where they use the same memory one after the other; few blocks are asked for, so nobody waits there. It reads its settings
//! once, before `main`, so the process starts itself again with them: same process id, same everything else, a millisecond later.
//!
//! Source: glibc, `mallopt(3)`, "Environment variables", and what it says of the dynamic mmap threshold.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::config::Environment;

/// Setting it ends the learning, whatever the value.
const THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";

const SETTINGS: [(&str, &str); 3] = [
    // Above pictures of usual sizes, as base64 too. What is larger, or decoded and large, is given back at once.
    (THRESHOLD, "4194304"),
    // What is free at the end of the heap; the default gives back, and asks again, all the time.
    ("MALLOC_TRIM_THRESHOLD_", "2097152"),
    ("MALLOC_ARENA_MAX", "1"),
];

/// Starts this process again with the settings, unless an operator has some of their own. Returns where that is not
/// possible: it works without as well.
pub(super) fn prepare(environment: &Environment) {
    let is_glibc = cfg!(all(target_os = "linux", target_env = "gnu"));
    let is_settled = [THRESHOLD, "GLIBC_TUNABLES", "LD_PRELOAD"]
        .iter()
        .any(|name| environment.get(name).is_some());
    if !is_glibc || is_settled {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Comes back only with an error.
    let _ = again.args(arguments).envs(SETTINGS).exec();
}
