//! What is refused is kept, explained and never retried.

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::events::Events;
use crate::harness::files_below;
use crate::harness::stack::{BUILTIN, Stack, logo, with};

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

/// A package that a provider refuses without a call.
fn refused_by_provider(job_id: i32) -> Value {
    with(logo(job_id), "imageModel", "no-such-model")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_cannot_be_read_is_kept_to_the_byte() {
    let stack = Stack::start().await;
    let job_id = stack.job().await;
    let mut events = Events::of(&stack).await;
    let replica = stack.replica(&[]).await;
    let cases: [(&[u8], &str, Option<i32>); 6] = [
        (
            b"{\"type\": \"collection-image\", ",
            "The package is not valid JSON: ",
            None,
        ),
        (b"", "The package is not valid JSON: ", None),
        (
            b"[{\"jobId\": 1}]",
            "The package is a list; a JSON object is accepted",
            Some(1),
        ),
        (b"\"1\"", "The package is a text; a JSON object is accepted", None),
        (
            b"{\"jobId\": 1, \"prompt\": \"\xff\"}",
            "The package is not UTF-8 text (first wrong byte at 24)",
            Some(1),
        ),
        (b"\0\0", "The package is not valid JSON: ", None),
    ];
    assert_eq!(job_id, 1);
    for (number, (package, reason, told)) in cases.iter().copied().enumerate() {
        stack.push_raw(package).await;
        let event = events.next("failed").await;
        let kept = kept(&stack).await.pop().unwrap();
        assert_eq!(kept.payload, package, "{kept:?}");
        assert!(kept.reason.starts_with(reason), "{kept:?}");
        assert_eq!((kept.job_id, kept.attempts), (told, 0));
        assert_eq!(kept.error_class, "invalid_package");
        assert_eq!(kept.worker_id, replica.worker_id());
        assert_eq!(
            (&event["jobId"], &event["error"]),
            (&json!(told), &json!(kept.reason))
        );
        assert_eq!(event["errorClass"], "invalid_package");
        let shown = String::from_utf8_lossy(&package[..package.len().min(1024)]);
        let letters = stack.dead_letters().await;
        assert_eq!(letters.len(), number + 1);
        assert!(letters.contains(&mirror(&kept, &shown)), "{letters:?}");
    }
    stack.idle().await;
    let error = stack.job_row(job_id).await.error;
    assert!(error.is_some_and(|error| error.starts_with(cases[4].1)));
    assert_eq!(
        stack
            .count("SELECT count(*) FROM generative_ai.dead_packages")
            .await,
        6
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
            "Unknown type for workPackage: text-to-speech; this version knows collection-image and delete-image",
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
    let mut job_id = 0;
    for (name, value, reason) in cases {
        job_id = stack.job().await;
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

    // The right package is welcome afterwards.
    stack.push(&with(logo(job_id), "replyTo", REPLY_TO)).await;
    assert_eq!(reply(&stack).await["status"], "completed");
    let job = stack.job_row(job_id).await;
    assert_eq!((job.progress, job.error), (Some(100), None));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_package_changes_nothing_of_a_job_with_a_story_of_its_own() {
    let stack = Stack::start().await;
    let mut events = Events::of(&stack).await;
    let replica = stack.replica(&[BUILTIN]).await;
    let (done, dead, given_back) = (stack.job().await, stack.job().await, stack.job().await);
    stack.push(&logo(done)).await;
    stack.push(&refused_by_provider(dead)).await;
    // As a replica leaves a job that it gives back when it stops.
    stack
        .sql(
            "INSERT INTO generative_ai.jobs (job_id, state, package) VALUES ($1, 'waiting', '{}')",
            &[&given_back],
        )
        .await;
    stack.ended(done).await;
    stack.ended(dead).await;
    events.next("failed").await;
    for job_id in [done, dead, given_back] {
        let before = stack.job_row(job_id).await;
        stack.push(&with(logo(job_id), "prompt", "")).await;
        let event = events.next("failed").await;
        assert_eq!(event["jobId"], job_id);
        assert_eq!(stack.job_row(job_id).await, before);
    }
    // The event comes before the line.
    stack
        .until("each is warned of", async || {
            (replica.log().matches("a package was refused").count() == 3).then_some(())
        })
        .await;
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_for_a_dead_job_is_buried_as_the_same_member() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[BUILTIN]).await;
    let job_id = stack.job().await;
    let package = with(refused_by_provider(job_id), "replyTo", REPLY_TO);
    stack.push(&package).await;
    let first = reply(&stack).await;
    let letters = stack.dead_letters().await;
    let buried = kept(&stack).await.pop().unwrap();
    assert_eq!(letters, [mirror(&buried, &package.to_string())]);
    assert_eq!(
        (buried.attempts, buried.error_class.as_str()),
        (1, "invalid_request")
    );
    let job = stack.job_row(job_id).await;
    assert_eq!(job.error.as_deref(), first["error"].as_str());

    stack.push(&package).await;
    let second = reply(&stack).await;
    for name in ["jobId", "status", "error", "errorClass"] {
        assert_eq!(second[name], first[name], "{name}");
    }
    assert_eq!(stack.dead_letters().await, letters);

    // Another package for the job that is refused in between is another story.
    stack.push(&with(package.clone(), "prompt", "")).await;
    assert_eq!(reply(&stack).await["errorClass"], "invalid_package");
    stack.push(&package).await;
    assert_eq!(reply(&stack).await["error"], first["error"]);
    let letters_now = stack.dead_letters().await;
    assert_eq!(letters_now.len(), 2, "{letters_now:?}");
    assert!(letters_now.contains(&letters[0]));

    stack.idle().await;
    assert_eq!(kept(&stack).await.len(), 2);
    assert_eq!(stack.job_row(job_id).await, job);
    assert_eq!(
        stack
            .count("SELECT attempts::bigint FROM generative_ai.jobs")
            .await,
        1
    );
}
