//! Mutated answers of services, read as every service's are.

use super::reading::{Dialect, outcome_of};
use crate::mutations::{lines, run};

#[test]
fn a_mutated_answer_is_a_picture_or_a_reason() {
    let words: [&[u8]; 13] = [
        b"\"b64_json\":",
        b"\"url\":",
        b"\"error\":",
        b"data:image/png;base64,",
        b"data: ",
        b"event: ",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"NaN",
        b"-Infinity",
        b"[[[[",
        b"\\u0000",
        b"\x89PNG\r\n\x1a\n",
    ];
    run(
        &lines("answers.txt"),
        &words,
        |_| (),
        |input| outcome_of(input, Dialect::PLAIN).is_ok(),
    );
}
