//! Places at which tests let this process die. Only in builds with the feature `fault-points`; in all others
//! nothing of it is left.
//!
//! The environment variable `FAULT_POINT` names a place and the pass through it that is the last, counted from 1:
//! `stored:3`. What a crash there leaves behind, and who repairs it, is told in `docs/guarantees.md`.

/// Where the process may be told to die. Each stands right after the step that it names.
pub const POINTS: [&str; 14] = [
    "landed",
    "adopted",
    "begun",
    "intended",
    "accepted-unsaved",
    "accepted",
    "drawn",
    "stored",
    "recorded",
    "settled",
    "retry-committed",
    "dead-committed",
    "recovering",
    "promoted",
];

/// Dies here when it was told to.
#[cfg(feature = "fault-points")]
pub fn point(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PLANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let planted = crate::config::Environment::of_process()
            .get("FAULT_POINT")?
            .to_owned();
        let (name, pass) = planted.split_once(':')?;
        Some((name.to_owned(), pass.parse().ok()?))
    });
    static PASSES: AtomicU64 = AtomicU64::new(0);

    debug_assert!(
        POINTS.contains(&name),
        "{name} is not in the list of fault points"
    );
    if let Some((planted, pass)) = &*PLANTED
        && planted == name
        && PASSES.fetch_add(1, Ordering::Relaxed) + 1 == *pass
    {
        std::process::abort();
    }
}

/// Does nothing.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub const fn point(_: &str) {}
