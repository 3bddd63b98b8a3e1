//! A replica that dies, or a Redis that loses everything, between the end of a job and its being told.

use std::time::Duration;

use wiremock::ResponseTemplate;

use crate::chaos::tally::rounds;
use crate::harness::openai::{OpenAi, Reply};
use crate::harness::receiver::{Post, Receiver, SECRET};
use crate::harness::stack::{Stack, logo, with};

use super::told;

/// What a receiver does with what is posted to it, until the last kill is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Takes its time.
    Slow,
    /// Fails at first.
    Failing,
    /// Is not wanted any more.
    Gone,
    /// Leads to a host that is not allowed.
    Moved,
    /// Nobody listens.
    Down,
}

const MANNERS: [Manner; 5] = [
    Manner::Slow,
    Manner::Failing,
    Manner::Gone,
    Manner::Moved,
    Manner::Down,
];

/// Kills: two for each manner in each round. A hundred in `make chaos`.
fn kill_rounds() -> u64 {
    rounds().div_ceil(2)
}

/// A job whose ends are to be told: it fails, and is done with another package, and after each commit a replica dies.
struct Told {
    manner: Manner,
    path: String,
    job_id: i32,
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_die_right_after_the_commit_leave_nobody_untold_whatever_receivers_do() {
    let stack = Stack::start().await;
    let (receiver, refused) = (Receiver::start().await, Receiver::start().await);
    let later = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = later.local_addr().unwrap();
    drop(later);
    let hosts = format!("{},http://{address}", receiver.url(""));
    let refusal = serde_json::json!({"message": "no", "code": "moderation_blocked"});
    let openai = OpenAi::start(Reply::Error(400, refusal, vec![])).await;
    let own = openai.variables();
    let mut variables: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    variables.extend([("CALLBACK_HOSTS", &*hosts), ("WORKER_CONCURRENCY", "1")]);

    let mut all = Vec::new();
    for round in 0..kill_rounds() {
        for manner in MANNERS {
            let path = format!("/{round}-{manner:?}");
            let url = match manner {
                Manner::Down => format!("http://{address}{path}"),
                _ => receiver.url(&path),
            };
            match manner {
                Manner::Slow => receiver.always(
                    &path,
                    ResponseTemplate::new(204).set_delay(Duration::from_millis(700)),
                ),
                Manner::Failing => receiver.then(&path, ResponseTemplate::new(500)),
                Manner::Gone => receiver.always(&path, ResponseTemplate::new(410)),
                Manner::Moved => {
                    let to = refused.url(&path);
                    receiver.always(&path, ResponseTemplate::new(307).insert_header("location", &*to));
                }
                Manner::Down => {}
            }
            let job_id = stack.job().await;
            let package = with(logo(job_id), "callbackUrl", url);
            for (fault, package) in [
                ("dead-committed:1", package.clone()),
                ("recorded:1", with(package, "imageProvider", "blank")),
            ] {
                let mut variables = variables.clone();
                variables.push(("FAULT_POINT", fault));
                let mut victim = stack.replica_for(&receiver, &variables).await;
                if fault == "recorded:1" && manner != Manner::Down {
                    // The one before is told by this one, before it dies too.
                    receiver.told(&stack, &path, 1).await;
                }
                stack.push(&package).await;
                victim.exit().await;
            }
            all.push(Told { manner, path, job_id });
        }
    }

    let _heir = stack.replica_for(&receiver, &variables).await;
    let down = std::net::TcpListener::bind(address).unwrap();
    let back = Receiver::start_at(down).await;
    for told in all.iter().filter(|told| told.manner == Manner::Moved) {
        receiver.always(&told.path, ResponseTemplate::new(204));
    }
    stack.idle().await;
    // The pauses are tested beside the schedule; here hours pass at once.
    let passed =
        "UPDATE generative_ai.callbacks SET due_at = now() WHERE state = 'waiting' AND leased_until IS NULL";
    stack
        .until("everybody is told", async || {
            stack.sql(passed, &[]).await;
            let waiting = "SELECT count(*) FROM generative_ai.callbacks WHERE state = 'waiting'";
            (stack.count(waiting).await == 0).then_some(())
        })
        .await;
    for told in &all {
        let place = if told.manner == Manner::Down {
            &back
        } else {
            &receiver
        };
        has_been_told(told, &place.posts(&told.path).await);
    }
    assert_eq!(refused.count().await, 0, "a host that is not allowed was asked");
    assert_eq!(
        stack.count("SELECT count(*) FROM images").await,
        i64::try_from(all.len()).unwrap()
    );
}

/// Both ends arrive in their order, the first one not where nobody listened until the job had ended anew. Each has one id, whoever posts
/// it and however often.
fn has_been_told(told: &Told, posts: &[Post]) {
    let mut ids: Vec<(&str, &str)> = Vec::new();
    for post in posts {
        assert!(post.is_signed_with(SECRET), "{}", told.path);
        assert_eq!(post.body["jobId"], told.job_id, "{}", told.path);
        let end = (post.body["status"].as_str().unwrap(), &*post.id);
        if ids.last() != Some(&end) {
            ids.push(end);
        }
    }
    let statuses: Vec<&str> = ids.iter().map(|(status, _)| *status).collect();
    let is_in_order =
        statuses == ["failed", "completed"] || told.manner == Manner::Down && statuses == ["completed"];
    assert!(is_in_order, "{}: {ids:?}", told.path);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_posted_by_a_replica_that_died_of_it_is_posted_again_under_the_same_id() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let mut victim = stack.replica_for(&receiver, &[("FAULT_POINT", "posted:1")]).await;
    let job_id = stack.job().await;
    stack.push(&told(&receiver, job_id, "/a")).await;
    victim.exit().await;
    let _heir = stack.replica_for(&receiver, &[]).await;
    // Nobody else has it before its lease ends.
    let posts = receiver.told(&stack, "/a", 2).await;
    assert_eq!((&posts[0].id, &posts[0].body), (&posts[1].id, &posts[1].body));
    stack.outbox_has("state = 'delivered' AND tries = 1", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_told_although_redis_has_lost_the_package() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let mut victim = stack
        .replica_for(&receiver, &[("FAULT_POINT", "recorded:1")])
        .await;
    let job_id = stack.job().await;
    stack.push(&told(&receiver, job_id, "/a")).await;
    victim.exit().await;
    let _: () = redis::cmd("FLUSHALL")
        .query_async(&mut stack.redis().await)
        .await
        .unwrap();
    let _heir = stack.replica_for(&receiver, &[]).await;
    let posts = receiver.told(&stack, "/a", 1).await;
    assert_eq!(
        (&posts[0].body["jobId"], &posts[0].body["status"]),
        (&job_id.into(), &"completed".into())
    );
    stack.outbox_has("state = 'delivered'", 1).await;
    assert_eq!(receiver.posts("/a").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_post_each_end_once() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(stack.replica_for(&receiver, &[]).await);
    }
    let jobs = stack.jobs(100).await;
    for job_id in &jobs {
        stack.push(&told(&receiver, *job_id, &format!("/{job_id}"))).await;
    }
    for job_id in &jobs {
        receiver.told(&stack, &format!("/{job_id}"), 1).await;
    }
    stack.outbox_has("state = 'delivered' AND tries = 1", 100).await;
    let posts = receiver.all_posts().await;
    assert_eq!(posts.len(), 100);
    assert!(posts.values().all(|told| told.len() == 1));
}
