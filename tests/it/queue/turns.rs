//! Whose turn it is: lists get their shares, and nobody's backlog holds up everybody else.

use std::collections::BTreeMap;

use generative_ai_worker::queue::{Depths, Fairness, Queue, Weights};
use redis::AsyncCommands;
use serde_json::json;

use super::{CRITICAL, HIGH, LOW, claim, key, payloads, push, settings};
use crate::harness::stack::{QUEUE, Stack};

async fn join(stack: &Stack, fairness: Fairness) -> Queue {
    let settings = generative_ai_worker::queue::QueueSettings {
        fairness,
        ..settings(stack)
    };
    Queue::check(&settings).await.service.unwrap()
}

fn package(job_id: usize, collection: usize, user: usize) -> String {
    json!({"jobId": job_id, "collectionType": "group", "collectionId": collection, "userId": user})
        .to_string()
}

async fn push_all(stack: &Stack, list: &str, packages: &[String]) {
    let mut redis = stack.redis().await;
    for chunk in packages.chunks(1000) {
        let _: i64 = redis.lpush(list, chunk).await.unwrap();
    }
}

/// Claims one by one, and says from which lists.
async fn lists(queue: &Queue, count: usize) -> Vec<String> {
    let mut lists = Vec::new();
    for _ in 0..count {
        for delivery in claim(queue, 1).await {
            lists.push(delivery.id.split('.').next_back().unwrap().to_owned());
        }
    }
    lists
}

fn tally(lists: &[String]) -> BTreeMap<&str, usize> {
    let mut tally = BTreeMap::new();
    for list in lists {
        *tally.entry(list.as_str()).or_default() += 1;
    }
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_all_full_get_shares_as_their_weights_are() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack, Fairness::Off).await;
    for list in [LOW, QUEUE, HIGH, CRITICAL] {
        push(&stack, list, &["{}"; 100]).await;
    }
    let taken = lists(&queue, 72).await;
    let shares = BTreeMap::from([("critical", 40), ("high", 20), ("normal", 10), ("low", 2)]);
    assert_eq!(tally(&taken), shares, "{taken:?}");
    // The same in batches.
    let taken: Vec<String> = claim(&queue, 36)
        .await
        .into_iter()
        .map(|delivery| delivery.id.split('.').next_back().unwrap().to_owned())
        .collect();
    let shares = BTreeMap::from([("critical", 20), ("high", 10), ("normal", 5), ("low", 1)]);
    assert_eq!(tally(&taken), shares, "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_as_configured() {
    let stack = Stack::start_without_tables().await;
    let configured = generative_ai_worker::queue::QueueSettings {
        weights: Weights([2, 1, 1, 1]),
        ..settings(&stack)
    };
    let queue = Queue::check(&configured).await.service.unwrap();
    for list in [LOW, CRITICAL] {
        push(&stack, list, &["{}"; 100]).await;
    }
    let taken = lists(&queue, 30).await;
    assert_eq!(tally(&taken), BTreeMap::from([("critical", 20), ("low", 10)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_package_goes_before_a_hundred_thousand_others() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack, Fairness::Off).await;
    push_all(&stack, LOW, &vec!["{}".to_owned(); 100_000]).await;
    assert_eq!(lists(&queue, 50).await, vec!["low"; 50]);
    for _ in 0..20 {
        push(&stack, CRITICAL, &["{}"]).await;
        assert_eq!(lists(&queue, 2).await, ["critical", "low"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_empty_saves_nothing_up() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack, Fairness::Off).await;
    push(&stack, QUEUE, &["{}"; 400]).await;
    lists(&queue, 300).await;
    push(&stack, LOW, &["{}"; 10]).await;
    let taken = lists(&queue, 12).await;
    assert_eq!(tally(&taken), BTreeMap::from([("normal", 10), ("low", 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_one_collection_does_not_hold_up_nine_others() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack, Fairness::Collection).await;
    let mut packages: Vec<String> = (0..10_000).map(|job| package(job, 1, 1)).collect();
    packages.extend((2..=10).map(|collection| package(20_000 + collection, collection, 1)));
    push_all(&stack, QUEUE, &packages).await;
    let mut taken = payloads(&claim(&queue, 10).await);
    while taken.len() < 100 {
        taken.extend(payloads(&claim(&queue, 1).await));
    }
    for other in &packages[10_000..] {
        assert!(
            taken.contains(other),
            "{other} has waited for more than a hundred others"
        );
    }
    // The order within the collection is kept, and so is every package.
    taken.retain(|package| package.contains(r#""collectionId":1,"#));
    while taken.len() < 10_000 {
        let more = claim(&queue, 500).await;
        assert!(!more.is_empty(), "packages are missing");
        taken.extend(payloads(&more));
    }
    assert!(
        taken == packages[..10_000],
        "the order of the collection has changed"
    );
    let keys: Vec<String> = stack.redis().await.keys("*sorted*").await.unwrap();
    let tags: Vec<String> = stack.redis().await.keys("*group-tags*").await.unwrap();
    assert_eq!((keys, tags), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_take_turns_too_and_what_cannot_be_read_has_its_own() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack, Fairness::User).await;
    let mut packages: Vec<String> = (0..30).map(|job| package(job, 1, 1)).collect();
    packages.push("no JSON: at all".to_owned());
    packages.push("[]".to_owned());
    packages.push(package(40, 1, 2));
    push_all(&stack, LOW, &packages).await;
    let taken = payloads(&claim(&queue, 4).await);
    assert!(taken.contains(&packages[32]), "{taken:?}");
    assert!(taken.contains(&packages[30]), "{taken:?}");
    let mut all = taken;
    all.extend(payloads(&claim(&queue, 100).await));
    let (mut all, mut expected) = (all, packages);
    all.sort();
    expected.sort();
    assert_eq!(all, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_goes_before_what_is_sorted() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack, Fairness::Collection).await;
    let packages: Vec<String> = (0..50).map(|job| package(job, 1, 1)).collect();
    push_all(&stack, QUEUE, &packages).await;
    let first = claim(&queue, 2).await;
    assert_eq!(payloads(&first), packages[..2]);
    for delivery in first {
        let due = generative_ai_worker::queue::Due::In(std::time::Duration::ZERO);
        assert!(queue.run(delivery.delay(due, None)).await.unwrap());
    }
    assert_eq!(queue.tick(&[]).await.unwrap().brought_back, 2);
    let Depths { waiting, .. } = queue.redis().depths().await.unwrap();
    assert_eq!((waiting[2].count, waiting[2].next_job_id), (50, Some(0)));
    assert_eq!(payloads(&claim(&queue, 3).await), packages[..3]);
    // Also for a replica that sorts nothing, after the configuration has changed.
    let other = join(&stack, Fairness::Off).await;
    assert_eq!(payloads(&claim(&other, 47).await), packages[3..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_gives_nothing_and_loses_nothing() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack, Fairness::Off).await;
    push(&stack, QUEUE, &["1", "2", "3"]).await;
    let mut landing = queue.landing();
    landing
        .wait(std::time::Duration::from_secs(2), |_| ())
        .await
        .unwrap();
    assert!(queue.redis().pause("anna").await.unwrap());
    assert!(!queue.redis().pause("bert").await.unwrap());
    let adopted = queue.adopt(10).await.unwrap();
    assert!(adopted.is_paused && adopted.deliveries.is_empty());
    let mut redis = stack.redis().await;
    let lengths: (i64, i64) = redis::pipe()
        .llen(QUEUE)
        .llen(key("landing", &queue))
        .query_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(lengths, (3, 0), "what had landed went back");
    assert!(queue.redis().depths().await.unwrap().is_paused);
    let note = queue.redis().paused_by().await.unwrap().unwrap();
    assert_eq!(note.by.as_deref(), Some("anna"));
    assert!(queue.redis().resume().await.unwrap());
    assert!(!queue.redis().resume().await.unwrap());
    assert_eq!(payloads(&claim(&queue, 10).await), ["1", "2", "3"]);
}
