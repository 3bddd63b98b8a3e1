//! Ends that nobody was told of, packages that nobody reads, and who did what about them.

use redis::AsyncCommands as _;
use wiremock::ResponseTemplate;

use super::{ON, actions};
use crate::harness::aftermath::key;
use crate::harness::page::Page;
use crate::harness::receiver::Receiver;
use crate::harness::stack::{Stack, logo, with};

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_that_were_given_up_are_shown_told_again_and_dropped() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    receiver.always("/gone", ResponseTemplate::new(410));
    receiver.always("/down", ResponseTemplate::new(503));
    let replica = stack.replica_for(&receiver, &[ON]).await;
    let page = Page::of(&replica).await;
    page.get("/callbacks")
        .await
        .is(200)
        .has("No callback waits, and none was given up.")
        .has("No package is too large.");
    page.get("/actions")
        .await
        .is(200)
        .has("Nothing has been changed yet.");
    let jobs = stack.jobs(3).await;
    for (job_id, path) in jobs
        .iter()
        .zip(["/gone?token=heron", "/gone?token=heron", "/down"])
    {
        let package = with(logo(*job_id), "callbackUrl", receiver.url(path));
        stack.push(&package).await;
    }
    stack.outbox_has("state = 'failed'", 2).await;
    stack.outbox_has("state = 'waiting' AND tries > 0", 1).await;
    page.get("/")
        .await
        .has("2 callbacks were given up")
        .has("<a href=\"/callbacks\">Callbacks</a>");
    let answer = page.get("/callbacks").await;
    answer
        .has(&format!("href=\"/jobs/{}\"", jobs[0]))
        .has("given up")
        .has("answered 410")
        .has("answered 503");
    assert!(!answer.text().contains("heron"), "{}", answer.text());
    let rows = stack
        .sql(
            "SELECT job_id, id::text FROM generative_ai.callbacks ORDER BY job_id",
            &[],
        )
        .await;
    let ids: Vec<String> = rows.iter().map(|row| row.get(1)).collect();
    page.get(&format!("/search?q={}", ids[0]))
        .await
        .has(&format!("href=\"/jobs/{}\"", jobs[0]))
        .has(">callback</td>");

    receiver.always("/gone", ResponseTemplate::new(200));
    for nonsense in ["", "id=x", "id=%25", "all="] {
        page.post_form("/callbacks/retry", nonsense).await.is(400);
        page.post_form("/callbacks/drop", nonsense).await.is(400);
    }
    page.post_form("/callbacks/drop", "all=1").await.is(400);
    page.post_form("/callbacks/retry", &format!("id={}", ids[0]))
        .await
        .is(200)
        .has("1 callback is tried again at once");
    stack.outbox_has("state = 'delivered'", 1).await;
    page.post_form("/callbacks/drop", &format!("id={}", ids[2]))
        .await
        .is(200)
        .has("1 callback is forgotten; nobody is told");
    page.post_form("/callbacks/drop", &format!("id={}", ids[2]))
        .await
        .is(409);
    page.post_form("/callbacks/retry", "all=1")
        .await
        .is(200)
        .has("1 callback is tried again at once");
    stack.outbox_has("state = 'delivered'", 2).await;
    let done = actions(&stack).await;
    let done: Vec<_> = done
        .iter()
        .map(|(_, action, subject)| format!("{action}: {subject}"))
        .collect();
    assert_eq!(
        done,
        [
            format!("callbacks retry: callbacks: {}", ids[0]),
            format!("callbacks drop: callbacks: {}", ids[2]),
            format!("callbacks drop: callbacks: {}", ids[2]),
            "callbacks retry: all callbacks that were given up".to_owned(),
        ]
    );
    page.get("/actions")
        .await
        .is(200)
        .has("operator (dashboard)")
        .has("callbacks drop")
        .has("1 callback is forgotten; nobody is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_that_were_set_aside_are_shown_without_a_word_of_them() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[ON]).await;
    let page = Page::of(&replica).await;
    let package = r#"{"jobId":4711,"prompt":"tell nobody of the heron","type":"collection-image"}"#;
    let mut redis = stack.redis().await;
    let _: i64 = redis.lpush(key("set-aside"), package).await.unwrap();
    let _: i64 = redis.lpush(key("set-aside"), "a heron").await.unwrap();
    stack
        .until("the page knows", async || {
            let text = page.get("/").await.text();
            text.contains("2 packages are larger than MAX_PACKAGE_BYTES")
                .then_some(())
        })
        .await;
    let answer = page.get("/callbacks").await;
    answer
        .is(200)
        .has("href=\"/jobs/4711\"")
        .has(&format!("data-label=\"Bytes\">{}</td>", package.len()))
        .has("a JSON object")
        .has("a text that is no JSON");
    assert!(!answer.text().contains("heron"), "{}", answer.text());
}
