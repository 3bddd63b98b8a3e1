//! What a producer writes stays one line, of bounded length, that no terminal obeys: in rows, events, logs and on screens.

use serde_json::json;

use crate::harness::command::command_on;
use crate::harness::stack::{BUILTIN, Stack, logo, with};

/// A line that forges another one, a terminal's orders, and a character that turns a line around.
const FORGED: &str = "x\n2026-01-01T00:00:00Z ERROR forged line\r\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}gnp.exe\u{2028}y";
/// Most characters of a sentence for a person.
const MESSAGE_CHARS: usize = 1_000;

#[track_caller]
fn is_plain(what: &str, text: &str) {
    let bad = |c: char| c.is_control() && c != '\n' || ['\u{202e}', '\u{2028}', '\u{9b}'].contains(&c);
    assert!(!text.contains(bad), "{what}: {text:?}");
}

/// As [`is_plain`], and no line of it was written by somebody else.
#[track_caller]
fn is_honest(what: &str, text: &str) {
    is_plain(what, text);
    assert!(
        !text.lines().any(|line| line.starts_with("2026-01-01")),
        "{what}: {text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_producer_writes_is_a_plain_line_wherever_people_read_it() {
    let stack = Stack::start().await;
    let replica = stack
        .replica(&[BUILTIN, ("LOG_FORMAT", "pretty"), ("RUST_LOG", "debug")])
        .await;
    let long = format!("{FORGED}{}", "z".repeat(200_000));
    let jobs = stack.jobs(5).await;
    for (job_id, field, value) in [
        (jobs[0], "imageProvider", FORGED),
        (jobs[1], "imageModel", FORGED),
        (jobs[2], "imageProvider", &*long),
        (jobs[3], "type", &*long),
        (jobs[4], "replyTo", FORGED),
    ] {
        stack.push(&with(logo(job_id), field, value)).await;
        let error = stack.ended(job_id).await.error.expect("it is refused");
        is_plain(field, &error);
        assert!(
            !error.contains('\n') && error.chars().count() <= MESSAGE_CHARS,
            "{field}: {error:?}"
        );
        for arguments in [
            vec!["jobs", "show", &*job_id.to_string()],
            vec!["dead", "list"],
            vec!["dead", "show", "--job", &*job_id.to_string()],
            vec!["cancel", &*job_id.to_string()],
        ] {
            let said = command_on(&stack, &arguments, &[]).await;
            is_honest(&format!("{arguments:?}"), &format!("{}{}", said.out, said.err));
        }
    }
    let letters = stack.dead_letters().await;
    for letter in &letters {
        is_plain("a dead letter's reason", letter["reason"].as_str().unwrap());
    }
    is_honest("the log", &replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_or_the_application_writes_is_plain_as_well() {
    let stack = Stack::start().await;
    let paused = command_on(&stack, &["pause", "--by", FORGED], &[]).await;
    assert_eq!(paused.status, Some(0), "{paused:?}");
    let again = command_on(&stack, &["pause"], &[]).await;
    let status = command_on(&stack, &["status"], &[]).await;
    is_honest("pause", &again.out);
    is_honest("status", &status.out);

    let job_id = stack.job().await;
    let cancel = ["cancel", &job_id.to_string(), "--by", FORGED, "--reason", FORGED];
    let said = command_on(&stack, &cancel, &[]).await;
    is_honest("cancel", &said.out);
    let error = stack.job_row(job_id).await.error.unwrap();
    is_plain("the row", &error);
    assert!(!error.contains('\n'), "{error:?}");

    // The row is the application's: somebody else may have written into it.
    let shown = stack.job().await;
    stack
        .sql(
            "UPDATE ac_background_jobs SET error = $2, data = $3::text::jsonb WHERE id = $1",
            &[&shown, &FORGED, &json!({"imageId": FORGED}).to_string()],
        )
        .await;
    let said = command_on(&stack, &["jobs", "show", &shown.to_string()], &[]).await;
    is_honest("jobs show", &format!("{}{}", said.out, said.err));
}
