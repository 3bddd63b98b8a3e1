//! Receivers that are down, slow, wrong or gone.

use std::time::Duration;

use tokio::net::TcpListener;
use wiremock::ResponseTemplate;

use super::told;
use crate::harness::receiver::{Receiver, SECRET};
use crate::harness::stack::{Stack, logo, with};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_answers_decides_whether_it_is_told_again() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let elsewhere = receiver.url("/elsewhere");
    receiver.then(
        "/again",
        ResponseTemplate::new(500).set_body_string("no token=heron-4471"),
    );
    receiver.then(
        "/busy",
        ResponseTemplate::new(429).insert_header("retry-after", "6"),
    );
    receiver.always("/gone", ResponseTemplate::new(410));
    receiver.always(
        "/moved",
        ResponseTemplate::new(308).insert_header("location", &*elsewhere),
    );
    receiver.always(
        "/long",
        ResponseTemplate::new(200).set_body_bytes(vec![b'x'; 5_000_000]),
    );
    let replica = stack.replica_for(&receiver, &[]).await;
    let jobs = stack.jobs(5).await;
    for (job_id, path) in jobs
        .iter()
        .zip(["/again?key=heron-4471", "/busy", "/gone", "/moved", "/long"])
    {
        stack.push(&told(&receiver, *job_id, path)).await;
    }
    for path in ["/again", "/busy"] {
        let posts = receiver.told(&stack, path, 2).await;
        assert_eq!(posts[0].id, posts[1].id, "{path}");
        assert_eq!(posts[0].body, posts[1].body, "{path}");
        assert!(posts.iter().all(|post| post.is_signed_with(SECRET)), "{path}");
    }
    receiver.told(&stack, "/long", 1).await;
    stack.outbox_has("state = 'delivered'", 3).await;
    stack
        .outbox_has("state = 'failed' AND last_status = 410", 1)
        .await;
    stack
        .outbox_has(
            "state = 'waiting' AND last_status = 308 AND last_error LIKE '%is not followed%'",
            1,
        )
        .await;
    assert!(receiver.posts("/elsewhere").await.is_empty());
    assert_eq!(receiver.posts("/gone").await.len(), 1);
    assert!(!replica.log().contains("heron-4471"), "{}", replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_and_one_that_is_silent_hold_up_nobody_else() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    // One that takes connections and says nothing, and a port where nobody listens.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let down = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down_url = format!("http://{}", down.local_addr().unwrap());
    drop(down);
    let hosts = format!("{},{silent_url},{down_url}", receiver.url(""));
    let _replica = stack.replica_for(&receiver, &[("CALLBACK_HOSTS", &hosts)]).await;
    let jobs = stack.jobs(90).await;
    let (silent_jobs, rest) = jobs.split_at(30);
    let (down_jobs, good_jobs) = rest.split_at(30);
    for (jobs, url) in [(silent_jobs, &silent_url), (down_jobs, &down_url)] {
        for job_id in jobs {
            stack
                .push(&with(logo(*job_id), "callbackUrl", format!("{url}/x")))
                .await;
        }
    }
    let held = format!("origin = '{silent_url}' AND leased_until IS NOT NULL");
    stack.outbox_has(&held, 8).await;
    for job_id in good_jobs {
        stack.push(&told(&receiver, *job_id, &format!("/{job_id}"))).await;
    }
    for job_id in good_jobs {
        receiver.told(&stack, &format!("/{job_id}"), 1).await;
    }
    // Waiting behind them would have meant behind all of them.
    let tried =
        format!("SELECT count(*) FROM generative_ai.callbacks WHERE origin = '{silent_url}' AND tries > 0");
    assert!(stack.count(&tried).await < 30, "the silent ones came first");
    let refused = format!("origin = '{down_url}' AND state = 'waiting' AND tries > 0");
    stack.outbox_has(&refused, 30).await;
    stack
        .until("a silent receiver is left for now", async || {
            (stack.count(&tried).await > 0).then_some(())
        })
        .await;
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_comes_back_is_told_and_one_that_does_not_is_given_up() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    receiver.always("/down", ResponseTemplate::new(503));
    let replica = stack.replica_for(&receiver, &[]).await;
    let job_id = stack.job().await;
    stack.push(&told(&receiver, job_id, "/down")).await;
    for tries in 1..10_i32 {
        stack
            .outbox_has(&format!("state = 'waiting' AND tries = {tries}"), 1)
            .await;
        // The pauses are tested beside the schedule; here days pass at once.
        let passed = "UPDATE generative_ai.callbacks SET due_at = now()";
        stack.sql(passed, &[]).await;
    }
    stack
        .outbox_has("state = 'failed' AND tries = 10 AND settled_at IS NOT NULL", 1)
        .await;
    replica.said("generative-ai-worker callbacks retry").await;
    let posts = receiver.posts("/down").await;
    assert!(posts.windows(2).all(|pair| pair[0].id == pair[1].id));
    receiver.always("/down", ResponseTemplate::new(200));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(receiver.posts("/down").await.len(), 10, "it is left to operators");
}
