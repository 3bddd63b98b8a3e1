//! The contract, judged by tools that others have made.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::node::node;
use crate::harness::stack::{icon, logo, with};
use crate::harness::temporary_directory;

#[tokio::test]
async fn tools_of_others_read_the_contract_as_the_worker_does() {
    let events: Vec<Value> = [
        json!({"status": "started", "progress": 10, "attempt": 1}),
        json!({"status": "completed", "progress": 100, "imageId": 7, "imageUrl": "https://h/x.png"}),
        json!({"status": "failed", "jobId": null, "error": "It is no JSON.", "errorClass": "invalid_package"}),
    ]
    .into_iter()
    .map(|mut event| {
        event["at"] = json!("2026-11-30T08:00:00.000Z");
        if event.get("jobId").is_none() {
            event["jobId"] = json!(42);
        }
        event
    })
    .collect();
    let input = json!({
        "good": [icon(1), with(logo(1), "jobId", "42"), with(logo(1), "deadline", 1_900_000_000), with(logo(1), "mine", 1)],
        "bad": [with(logo(1), "prompt", " "), json!({"type": "collection-image"}), with(logo(1), "collectionId", "a/b")],
        "events": events,
    });
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("contract");
    let scratch = temporary_directory();
    let folders = [contract.to_str().unwrap(), scratch.path().to_str().unwrap()];
    node("contract.cjs", &folders, &input.to_string()).await;
}
