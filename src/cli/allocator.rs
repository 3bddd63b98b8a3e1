//! The C library's allocator, told what pictures are like.
//!
//! A picture and the answer that it came in are a few megabytes that live for a moment. glibc begins by asking the kernel
//! for such blocks one by one and giving them back at once, and then learns to keep them, between other things, for ever.
//! With 50 pictures in hand that doubles what the process holds. It reads its settings once, before `main`, so the process
//! starts itself again with them: same process id, same everything else, a millisecond later.
//!
//! Source: glibc, `mallopt(3)`, "Environment variables", and what it says of the dynamic mmap threshold.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::config::Environment;

/// Setting it ends the learning, whatever the value.
const THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";
/// Above all that is no picture, below all that is one.
const THRESHOLD_BYTES: &str = "262144";
/// What small blocks leave free at the end of the heap; the default gives back, and asks again, all the time.
const TRIM: &str = "MALLOC_TRIM_THRESHOLD_";
const TRIM_BYTES: &str = "2097152";

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
    let _ = again
        .args(arguments)
        .env(THRESHOLD, THRESHOLD_BYTES)
        .env(TRIM, TRIM_BYTES)
        .exec();
}
