//! What is refused is kept, explained and never retried.

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::events::Events;
use crate::harness::files_below;
use crate::harness::stack::{Stack, logo, with};

const REPLY_TO: &str = "{generative-ai}:reply:test";

/// A row of `generative_ai.dead_packages`.
#[derive(Debug)]
struct Kept {
    id: String,
    job_id: Option<i32>,
    payload: Vec<u8>,
    reason: String,
    error_class: String,
    attempts: i32,
    worker_id: String,
    dead_at_ms: i64,
}

/// Rows in the order of their burial.
async fn kept(stack: &Stack) -> Vec<Kept> {
    let rows = stack
        .sql(
            "SELECT id::text, job_id, payload, reason, error_class, attempts, worker_id,
                floor(extract(epoch FROM dead_at) * 1000)::bigint
             FROM generative_ai.dead_packages ORDER BY dead_at",
            &[],
        )
        .await;
    rows.iter()
        .map(|row| Kept {
            id: row.get(0),
            job_id: row.get(1),
            payload: row.get(2),
            reason: row.get(3),
            error_class: row.get(4),
            attempts: row.get(5),
            worker_id: row.get(6),
            dead_at_ms: row.get(7),
        })
        .collect()
}

/// The member of the dead set that mirrors the row, with all its fields.
fn mirror(kept: &Kept, payload: &str) -> Value {
    json!({
        "id": kept.id,
        "payload": payload,
        "reason": kept.reason,
        "errorClass": kept.error_class,
        "jobId": kept.job_id,
        "attempts": kept.attempts,
        "workerId": kept.worker_id,
        "deadAt": kept.dead_at_ms,
    })
}

async fn reply(stack: &Stack) -> Value {
    let (_, reply): (String, String) = stack.redis().await.blpop(REPLY_TO, 30.0).await.unwrap();
    serde_json::from_str(&reply).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_cannot_be_read_is_kept_to_the_byte() {
    let stack = Stack::start().await;
    let job_id = stack.job().await;
    // The limit falls into the middle of a character.
    let too_big = format!("{{\"prompt\":\"{}\"}}", "ü".repeat(600));
    assert!(!too_big.is_char_boundary(1024));
    let mut events = Events::of(&stack).await;
    let replica = stack.replica(&[("MAX_PACKAGE_BYTES", "1KiB")]).await;
    let cases: [(&[u8], &str); 7] = [
        (
            b"{\"type\": \"collection-image\", ",
            "The package is not valid JSON: ",
        ),
        (b"", "The package is not valid JSON: "),
        (
            b"[{\"jobId\": 1}]",
            "The package is a list; a JSON object is accepted",
        ),
        (b"\"1\"", "The package is a text; a JSON object is accepted"),
        (
            b"{\"jobId\": 1, \"prompt\": \"\xff\"}",
            "The package is not UTF-8 text (first wrong byte at 24)",
        ),
        (b"\0\0", "The package is not valid JSON: "),
        (
            too_big.as_bytes(),
            "The package has 1213 bytes; at most 1024 are accepted (MAX_PACKAGE_BYTES)",
        ),
    ];
    for (number, (package, reason)) in cases.into_iter().enumerate() {
        stack.push_raw(package).await;
        let event = events.next("failed").await;
        let kept = kept(&stack).await.pop().unwrap();
        assert_eq!(kept.payload, package, "{kept:?}");
        assert!(kept.reason.starts_with(reason), "{kept:?}");
        assert_eq!((kept.job_id, kept.attempts), (None, 0));
        assert_eq!(kept.error_class, "invalid_package");
        assert_eq!(kept.worker_id, replica.worker_id());
        assert_eq!(
            (&event["jobId"], &event["error"]),
            (&Value::Null, &json!(kept.reason))
        );
        assert_eq!(event["errorClass"], "invalid_package");
        let shown = String::from_utf8_lossy(&package[..package.len().min(1024)]);
        let letters = stack.dead_letters().await;
        assert_eq!(letters.len(), number + 1);
        assert!(letters.contains(&mirror(&kept, &shown)), "{letters:?}");
    }
    stack.idle().await;
    assert_eq!(stack.job_row(job_id).await.error, None);
    assert_eq!(
        stack
            .count("SELECT count(*) FROM generative_ai.dead_packages")
            .await,
        7
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_package_is_refused_says_why_and_is_never_begun() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[]).await;
    let cases = [
        (
            "type",
            json!("text-to-speech"),
            "Unknown type for workPackage: text-to-speech; this version knows collection-image",
        ),
        ("type", Value::Null, "type: nothing was found; "),
        ("prompt", json!(""), "prompt: nothing was found; "),
        ("prompt", json!([1]), "prompt: a list was found; "),
        (
            "collectionId",
            json!("../7"),
            "collectionId: \"../7\" was found; ",
        ),
        ("userId", json!("abc"), "userId: \"abc\" was found; "),
        ("deadline", json!("soon"), "deadline: \"soon\" was found; "),
    ];
    for (name, value, reason) in cases {
        let job_id = stack.job().await;
        let package = with(logo(job_id), name, value);
        let package = with(package, "replyTo", REPLY_TO);
        stack.push(&package).await;
        let event = reply(&stack).await;
        assert_eq!(
            (&event["jobId"], &event["status"]),
            (&json!(job_id), &json!("failed"))
        );
        assert_eq!(event["errorClass"], "invalid_package");
        let job = stack.job_row(job_id).await;
        let error = job.error.unwrap();
        assert!(error.starts_with(reason), "{name}: {error}");
        assert_eq!((job.progress, job.data), (Some(5), json!({})));
        assert_eq!(event["error"], error);
        let kept = kept(&stack).await.pop().unwrap();
        assert_eq!((kept.job_id, &kept.reason), (Some(job_id), &error));
        let payload = package.to_string();
        assert_eq!(kept.payload, payload.as_bytes());
        let letters = stack.dead_letters().await;
        assert!(letters.contains(&mirror(&kept, &payload)), "{letters:?}");
    }
    stack.idle().await;
    assert_eq!(stack.count("SELECT count(*) FROM generative_ai.jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_for_a_job_that_does_not_exist_is_refused() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[]).await;
    stack.push(&with(logo(4711), "replyTo", REPLY_TO)).await;
    let event = reply(&stack).await;
    let reason = "jobId: there is no row 4711 in ac_background_jobs";
    assert_eq!(
        (&event["status"], &event["error"]),
        (&json!("failed"), &json!(reason))
    );
    let kept = kept(&stack).await.pop().unwrap();
    assert_eq!((kept.job_id, kept.reason.as_str()), (Some(4711), reason));
    stack.idle().await;
    assert_eq!(stack.dead_letters().await.len(), 1);
    assert_eq!(stack.count("SELECT count(*) FROM generative_ai.jobs").await, 0);
    assert!(files_below(stack.pictures.path()).is_empty());
}
