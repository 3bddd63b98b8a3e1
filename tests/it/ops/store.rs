//! What a replica counts of its store.

use crate::harness::operator::Operator;
use crate::harness::s3::S3Server;
use crate::harness::stack::{Stack, logo};

fn calls(operation: &str, outcome: &str) -> String {
    format!(r#"generative_ai_store_calls_total{{operation="{operation}",outcome="{outcome}"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_is_seen_with_the_reason_and_the_time() {
    let stack = Stack::start().await;
    let store = S3Server::start("pictures").await;
    let endpoint = store.endpoint();
    let replica = stack.replica(&store.variables(&endpoint)).await;
    let operator = Operator::of(&replica).await;
    let before = operator.scrape().await;
    for operation in ["store", "look up", "read", "remove"] {
        for outcome in [
            "refused",
            "missing",
            "full",
            "settings",
            "busy",
            "unreachable",
            "other",
        ] {
            let series = calls(operation, outcome);
            assert_eq!(
                before.get(&series),
                Some(0.0),
                "{series} is there before it rises"
            );
        }
    }
    let stored = before.get(&calls("store", "succeeded")).unwrap();
    // One call, and its resends.
    store.fail_next(4);
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    operator.shows(&stack, &calls("store", "busy"), 1.0).await;
    stack.each_done_once(&[job_id]).await;
    let after = operator
        .shows(&stack, &calls("store", "succeeded"), stored + 1.0)
        .await;
    let timed = |scrape: &crate::harness::operator::Scrape| {
        let series = r#"generative_ai_store_call_duration_seconds_count{operation="store"}"#;
        scrape.get(series).unwrap_or_default()
    };
    assert_eq!(timed(&after) - timed(&before), 2.0);
}
