//! Mutated packages.

use super::{PackageLimits, WorkPackage};
use crate::mutations::{lines, run};

#[test]
fn a_mutated_package_is_one_or_is_rejected_with_a_sentence() {
    let words: [&[u8]; 12] = [
        b"\"jobId\":",
        b"\"prompt\":",
        b"null",
        b"{",
        b"[",
        b"1e999",
        b"\\ud800",
        b"\\u0000",
        b"\xff",
        b"-0",
        b"9999999999",
        b",",
    ];
    let limits = PackageLimits {
        max_bytes: 262_144,
        reply_prefix: "{generative-ai}:reply:".to_owned(),
        callback_origins: ["https://x.invalid".to_owned()].into_iter().collect(),
    };
    run(
        &lines("packages.txt"),
        &words,
        |_| (),
        |input| {
            let read = WorkPackage::parse(input, &limits);
            if let Err(rejection) = &read {
                assert!(!rejection.message.is_empty());
            }
            read.is_ok()
        },
    );
}
