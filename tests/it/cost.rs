//! `cost` says what was spent, however somebody asks.

use serde_json::{Value, json};

use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::stack::{Stack, logo, with};

async fn costs(stack: &Stack, by: &str) -> Vec<Value> {
    let output = stack.command(&["cost", "--by", by, "--json"], &[]).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Name, calls, pictures and cents of each sum.
fn sums(costs: &[Value]) -> Vec<(Option<&str>, i64, i64, i64)> {
    let cents = |sum: &Value| (sum["usd"].as_f64().unwrap() * 100.0).round();
    costs
        .iter()
        .map(|sum| {
            (
                sum["name"].as_str(),
                sum["calls"].as_i64().unwrap(),
                sum["pictures"].as_i64().unwrap(),
                cents(sum) as i64,
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_is_summed_by_whatever_somebody_asks_for() {
    let stack = Stack::start().await;
    let said = stack.command(&["cost"], &[]).await;
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        "no call that costs money was made since then\n"
    );
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.jobs(3).await;
    for (job_id, user, collection) in [(jobs[0], 7, "7"), (jobs[1], 7, "8"), (jobs[2], 9, "8")] {
        let package = with(with(logo(job_id), "userId", user), "collectionId", collection);
        stack.push(&package).await;
        assert_eq!(stack.ended(job_id).await.error, None);
    }
    // A call that was refused and one that nobody knows the end of.
    stack
        .sql(
            "INSERT INTO generative_ai.provider_calls (job_id, call_no, state, provider, model, worker_id, fence, deadline_at)
             VALUES (1, 8, 'failed', 'openai', 'gpt-image-2', 'w', 1, now()), (1, 9, 'unknown', 'openai', 'gpt-image-2', 'w', 1, now())",
            &[],
        )
        .await;
    assert_eq!(
        sums(&costs(&stack, "provider").await),
        [(Some("openai"), 5, 3, 14)]
    );
    assert_eq!(
        sums(&costs(&stack, "model").await),
        [(Some("openai gpt-image-2"), 5, 3, 14)]
    );
    assert_eq!(
        sums(&costs(&stack, "user").await),
        [(Some("7"), 2, 2, 10), (Some("9"), 1, 1, 5), (None, 2, 0, 0)]
    );
    assert_eq!(
        sums(&costs(&stack, "collection").await),
        [
            (Some("group/8"), 2, 2, 10),
            (Some("group/7"), 1, 1, 5),
            (None, 2, 0, 0)
        ]
    );
    let days = costs(&stack, "day").await;
    let today: String = stack
        .sql("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')", &[])
        .await[0]
        .get(0);
    assert!(days.last().unwrap()["name"] == json!(today), "{days:?}");

    let output = stack.command(&["cost"], &[]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("openai        5         3  0.14"), "{text}");
    assert!(
        text.contains(
            "1 call brought nothing that could be used, or nobody knows what: it may be billed beyond"
        ),
        "{text}"
    );
    let output = stack
        .command(&["cost", "--csv", "--since", "2026-01-01"], &[])
        .await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("provider,calls,pictures,usd,"), "{text}");
    assert!(text.contains("\nopenai,5,3,0.14"), "{text}");
    let wrong = stack.command(&["cost", "--since", "yesterday"], &[]).await;
    assert_eq!(wrong.status.code(), Some(64));
}
