//! Where a server is away the page names it first, says nothing that rests on what it could not ask, and advises nothing that is wrong.

use redis::AsyncCommands as _;

use super::{ON, actions};
use crate::harness::aftermath::key;
use crate::harness::page::Page;
use crate::harness::s3::S3Server;
use crate::harness::stack::Stack;

/// The first of what needs somebody.
fn first(text: &str) -> &str {
    let list = text.split("<ul class=\"warnings\">").nth(1).unwrap_or_default();
    list.split("</li>").next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_the_page_says_so_first_and_does_what_the_commands_do() {
    let mut stack = Stack::start().await;
    let variables = [ON, ("BUDGETS", "openai:5/day")];
    let replica = stack.replica(&variables).await;
    let page = Page::of(&replica).await;
    let mut redis = stack.redis().await;
    for number in 0..3 {
        let _: () = redis
            .zadd(key("delayed"), number, 9_999_999_999_999_i64)
            .await
            .unwrap();
    }
    stack
        .until("the replica is able", async || {
            page.get("/").await.text().contains(">running<").then_some(())
        })
        .await;
    stack.postgres.stop();
    let text = stack
        .until("the page knows and the replica does not ping", async || {
            let text = page.get("/").await.text();
            (first(&text).contains("Postgres does not answer since ") && text.contains("waits for Postgres"))
                .then_some(text)
        })
        .await;
    assert!(text.contains("<dt>Delayed</dt><dd>3</dd>"), "{text}");
    assert!(
        text.contains("Not known meanwhile: which jobs are held or left by their replicas; which callbacks wait; what is used of budgets"),
        "{text}"
    );
    for wrong in ["eplica pings", "start one", "not able", "Nothing needs you"] {
        assert!(!text.contains(wrong), "{wrong}: {text}");
    }

    let shut = [
        ("why", "failing"),
        ("until", "9999999999999"),
        ("began", "1"),
        ("faults", "5"),
    ];
    let _: () = redis.hset_multiple(key("provider:openai"), &shut).await.unwrap();
    for (path, said) in [
        ("/pause", "is paused: no replica takes new work"),
        ("/resume", "is resumed: replicas take new work"),
        ("/providers/openai/resume", "openai is resumed"),
    ] {
        page.post(path)
            .await
            .is(200)
            .has(said)
            .has("this is not written down in generative_ai.operator_actions: ");
    }
    page.post("/resume").await.is(200).has("is not paused");
    stack.postgres.restart().unwrap();
    stack
        .until("the page is answered again", async || {
            (!page.get("/").await.text().contains("does not answer")).then_some(())
        })
        .await;
    assert!(actions(&stack).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_page_says_so_first_and_counts_nothing_as_none() {
    let mut stack = Stack::start().await;
    let held = "INSERT INTO generative_ai.jobs (job_id, state, queue, package, worker_id) VALUES
        (7, 'held', 'generative-ai', '{}', NULL), (8, 'begun', 'generative-ai', '{}', 'gone')";
    stack.sql(held, &[]).await;
    let variables = [ON, ("BUDGETS", "openai:5/day")];
    let replica = stack.replica(&variables).await;
    let page = Page::of(&replica).await;
    page.get("/providers")
        .await
        .is(200)
        .has("data-label=\"Waiting\">0</td>");
    stack.redis.stop();
    let text = stack
        .until("the page knows", async || {
            let text = page.get("/").await.text();
            first(&text)
                .contains("Redis does not answer since ")
                .then_some(text)
        })
        .await;
    assert!(text.contains("Not known meanwhile: what waits"), "{text}");
    // What Postgres knows is said all the same, and nothing about leases.
    assert!(text.contains("1 job is held"), "{text}");
    for wrong in ["eplica pings", "replica that is gone", "start one"] {
        assert!(!text.contains(wrong), "{wrong}: {text}");
    }
    page.get("/providers")
        .await
        .is(200)
        .has("data-label=\"Waiting\">?</td>");
    page.post("/pause").await.is(503);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_the_page_says_so_first_as_long_as_it_is_away() {
    let stack = Stack::start().await;
    let store = S3Server::start("pictures").await;
    let endpoint = store.endpoint();
    let variables = [&store.variables(&endpoint)[..], &[ON]].concat();
    let replica = stack.replica(&variables).await;
    let page = Page::of(&replica).await;
    store.fail_next(usize::MAX);
    let text = page.get("/").await.is(200).text();
    assert!(
        first(&text).contains("The store of pictures does not answer: bring it back."),
        "{text}"
    );
    store.fail_next(0);
    stack
        .until("the page knows that it is back", async || {
            let text = page.get("/").await.text();
            (!text.contains("The store of pictures")).then_some(())
        })
        .await;
}
