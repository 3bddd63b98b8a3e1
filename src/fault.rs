//! Places at which tests let this process die. Only in builds with the feature `fault-points`; in all others
//! nothing of it is left.
//!
//! The environment variable `FAULT_POINT` names a place and the pass through it that is the last, counted from 1:
//! `stored:3`. `to-be-drawn:package=<text>` stands for a package that kills whoever works on it: any pass with this
//! text in its package is the last. What a crash there leaves behind, and who repairs it, is told in
//! `docs/guarantees.md`.

/// Where the process may be told to die. Each stands right after the step that it names.
pub const POINTS: [&str; 23] = [
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
    "revived",
    "posted",
    "to-be-read",
    "to-be-drawn",
    "image-marked",
    "objects-removed",
    "cache-purged",
    "bullmq-taken",
    "bullmq-kept",
];

/// Dies here when it was told to, or stops every thread of the runtime (`begun:1:wedge`).
#[cfg(feature = "fault-points")]
pub fn point(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PLANTED: LazyLock<Option<(String, u64, bool)>> = LazyLock::new(|| {
        let planted = crate::environment::Environment::of_process()
            .get("FAULT_POINT")?
            .to_owned();
        let mut parts = planted.split(':');
        let (name, pass) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        Some((name, pass, parts.next() == Some("wedge")))
    });
    static PASSES: AtomicU64 = AtomicU64::new(0);

    debug_assert!(
        POINTS.contains(&name),
        "{name} is not in the list of fault points"
    );
    if let Some((planted, pass, wedges)) = &*PLANTED
        && planted == name
        && PASSES.fetch_add(1, Ordering::Relaxed) + 1 == *pass
    {
        if !wedges {
            die();
        }
        let stop = || std::thread::sleep(std::time::Duration::from_secs(600));
        for _ in 0..256 {
            tokio::spawn(async move { stop() });
        }
        stop();
    }
}

/// What the log has said before is what the test looks at.
#[cfg(feature = "fault-points")]
fn die() -> ! {
    crate::telemetry::end();
    std::process::abort()
}

/// Dies here when it was told to, and this package has what it was told to die of.
#[cfg(feature = "fault-points")]
pub fn point_of(name: &str, package: &[u8]) {
    let environment = crate::environment::Environment::of_process();
    let planted = environment
        .get("FAULT_POINT")
        .and_then(|planted| planted.split_once(":package="));
    if let Some((_, text)) = planted.filter(|(planted, _)| *planted == name)
        && String::from_utf8_lossy(package).contains(text)
    {
        die();
    }
}

/// Does nothing.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub const fn point_of(_: &str, _: &[u8]) {}

/// Does nothing.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub const fn point(_: &str) {}
