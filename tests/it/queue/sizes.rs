//! What is too large is set aside unread wherever it waits, and no script reads more than some MB in one call.

use std::time::Duration;

use generative_ai_worker::queue::{Fairness, Landed, Limit, Queue, QueueSettings};
use redis::AsyncCommands;
use serde_json::json;

use super::{CRITICAL, DELAYED, claim, join, key, payloads, push, recover, settings};
use crate::harness::aftermath::key as of_queue;
use crate::harness::stack::{QUEUE, Stack};

const SET_ASIDE: &str = "{generative-ai}:set-aside";

fn large(name: &str) -> String {
    format!("{name}:{}", "x".repeat(400_000))
}

/// Claims until nothing more comes, and returns what came and the sizes of what was set aside.
async fn claim_all(queue: &Queue) -> (Vec<String>, Vec<u64>) {
    let (mut packages, mut set_aside) = (Vec::new(), Vec::new());
    loop {
        let adopted = queue.adopt(10).await.unwrap();
        packages.extend(payloads(&adopted.deliveries));
        set_aside.extend(adopted.set_aside);
        if adopted.deliveries.is_empty() && !adopted.has_more {
            return (packages, set_aside);
        }
    }
}

/// The names of what is set aside, the first one first.
async fn set_aside(stack: &Stack) -> Vec<String> {
    let packages: Vec<String> = stack.redis().await.lrange(SET_ASIDE, 0, -1).await.unwrap();
    let name = |package: &String| {
        let (name, padding) = package.split_once(':').unwrap();
        assert_eq!(padding.len(), 400_000, "it was changed");
        name.to_owned()
    };
    packages.iter().rev().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_set_aside_as_it_is_from_whatever_place_it_comes() {
    let stack = Stack::start_without_tables().await;
    let mut redis = stack.redis().await;
    for fairness in [Fairness::Off, Fairness::Collection] {
        let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
        let settings = QueueSettings {
            fairness,
            ..settings(&stack)
        };
        let (queue, dead) = (
            Queue::check(&settings).await.service.unwrap(),
            Queue::check(&settings).await.service.unwrap(),
        );
        push(&stack, QUEUE, &[&large("landed")]).await;
        let landed = queue.landing().wait(Duration::from_secs(2), |_| ()).await;
        assert_eq!(landed, Ok(Landed::Package));
        push(
            &stack,
            CRITICAL,
            &["1", &large("critical"), "2", &large("critical too")],
        )
        .await;
        push(&stack, QUEUE, &["3", &large("waits"), "4"]).await;
        let sorted = of_queue("sorted:low");
        let _: i64 = redis
            .zadd_multiple(
                &sorted,
                &[
                    (1, "1:g:5"),
                    (2, &format!("2:g:{}", large("sorted"))),
                    (3, "3:g:6"),
                ],
            )
            .await
            .unwrap();
        let _: i64 = redis
            .zadd(DELAYED, format!("w/1.high:{}", large("delayed")), 1)
            .await
            .unwrap();
        let _: i64 = redis
            .rpush(of_queue("parked:p"), format!("w/2.low:{}", large("parked")))
            .await
            .unwrap();
        let _: i64 = redis
            .rpush(key("landing", &dead), large("landed there"))
            .await
            .unwrap();
        let _: i64 = redis
            .hset(key("processing", &dead), "1.normal", large("in hand there"))
            .await
            .unwrap();
        let _: i64 = redis.sadd(of_queue("workers"), dead.worker_id()).await.unwrap();
        recover(&queue).await;
        let left = queue.leave_provider("p", Limit::default(), 9, &[], &[]).await;
        assert_eq!(left.unwrap().woken, 1);

        let (mut packages, sizes) = claim_all(&queue).await;
        packages.sort();
        assert_eq!(packages, ["1", "2", "3", "4", "5", "6"]);
        let mut names = set_aside(&stack).await;
        assert_eq!(names.len(), sizes.len());
        assert!(sizes.iter().all(|bytes| *bytes > 400_000), "{sizes:?}");
        assert_eq!(names[0], "landed");
        names.sort();
        assert_eq!(
            names,
            [
                "critical",
                "critical too",
                "delayed",
                "in hand there",
                "landed",
                "landed there",
                "parked",
                "sorted",
                "waits"
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_counted_and_shown_without_a_look_into_what_is_too_large() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    push(&stack, CRITICAL, &[r#"{"jobId":7}"#]).await;
    push(
        &stack,
        QUEUE,
        &[&format!(r#"{{"jobId":8,"prompt":"{}"}}"#, large(""))],
    )
    .await;
    let depths = queue.redis().depths().await.unwrap();
    let next: Vec<_> = depths
        .waiting
        .iter()
        .map(|list| (list.count, list.next_job_id))
        .collect();
    assert_eq!(next, [(1, Some(7)), (0, None), (1, None), (0, None)]);
    claim_all(&queue).await;
    let depths = queue.redis().depths().await.unwrap();
    assert_eq!((depths.set_aside, depths.waiting[2].count), (1, 0));
    let shown = queue.redis().set_aside(0, 10).await.unwrap();
    assert_eq!((shown.len(), shown[0].place, shown[0].job_id), (1, 0, Some(8)));
    assert!(shown[0].beginning.starts_with(r#"{"jobId":8,"#), "{shown:?}");
    let whole = queue.redis().set_aside_package(0).await.unwrap().unwrap();
    assert_eq!(whole.len() as u64, shown[0].bytes);
    assert_eq!(queue.redis().set_aside_package(1).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_many_large_packages_comes_in_parts_and_in_order() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    let packages: Vec<String> = (0..40)
        .map(|number| format!("{number:02}:{}", "x".repeat(300_000)))
        .collect();
    for package in &packages {
        push(&stack, QUEUE, &[package]).await;
    }
    let first = queue.adopt(40).await.unwrap();
    assert!(first.has_more);
    assert!(
        (10..20).contains(&first.deliveries.len()),
        "{}",
        first.deliveries.len()
    );
    let mut taken = payloads(&first.deliveries);
    while taken.len() < 40 {
        let more = claim(&queue, 40).await;
        assert!(!more.is_empty());
        taken.extend(payloads(&more));
    }
    assert!(taken == packages, "the order has changed");
    assert_eq!(queue.leave().await.unwrap(), 40);
    let mut back = Vec::new();
    while back.len() < 40 {
        back.extend(payloads(&claim(&queue, 40).await));
    }
    assert!(back == packages, "the order has changed on the way back");
}

#[tokio::test(flavor = "multi_thread")]
async fn fairness_among_large_packages_holds_redis_up_for_none_of_them() {
    let stack = Stack::start_without_tables().await;
    let queue = Queue::check(&QueueSettings {
        fairness: Fairness::Collection,
        ..settings(&stack)
    })
    .await
    .service
    .unwrap();
    let mut redis = stack.redis().await;
    // Twelve MB, where one call may decode one.
    let nested = vec![json!([]); 20_000];
    let package = |job_id: usize, collection: usize| {
        json!({"a": nested, "jobId": job_id, "collectionType": "group", "collectionId": collection})
            .to_string()
    };
    let mut packages: Vec<String> = (0..200).map(|job_id| package(job_id, 1)).collect();
    packages.push(package(200, 2));
    for package in &packages {
        push(&stack, QUEUE, &[package]).await;
    }
    let most = 1_000_000 / packages[0].len() as u64;
    let mut waiting = packages.len() as u64;
    let mut taken = Vec::new();
    while taken.len() < packages.len() {
        let more = claim(&queue, 1).await;
        assert!(!more.is_empty());
        taken.extend(payloads(&more));
        let left: u64 = redis.llen(QUEUE).await.unwrap();
        assert!(waiting - left <= most, "one call has decoded {}", waiting - left);
        waiting = left;
    }
    taken.sort();
    packages.sort();
    assert!(taken == packages, "packages are missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_of_a_package_that_is_too_long_to_be_decoded_is_read_all_the_same() {
    let stack = Stack::start_without_tables().await;
    let queue = Queue::check(&QueueSettings {
        fairness: Fairness::Collection,
        ..settings(&stack)
    })
    .await
    .service
    .unwrap();
    let padding = "x".repeat(100_000);
    for job_id in 0..12 {
        let collection = if job_id < 9 { 1 } else { 2 };
        let package =
            json!({"a": padding, "jobId": job_id, "collectionType": "group", "collectionId": collection});
        push(&stack, QUEUE, &[&package.to_string()]).await;
    }
    let mut taken = Vec::new();
    for _ in 0..6 {
        taken.extend(payloads(&claim(&queue, 1).await));
    }
    let others = taken
        .iter()
        .filter(|package| package.contains(r#""collectionId":2"#));
    assert!(others.count() >= 2, "the second collection has had no turn");
}
