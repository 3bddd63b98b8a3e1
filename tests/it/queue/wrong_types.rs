//! A key that somebody has made another type stops work at the most: when it is mended, every package is there.

use std::time::Duration;

use generative_ai_worker::queue::{CallEnd, DeadLetter, Due, Fairness, Limit, Queue, QueueSettings};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

use super::{CRITICAL, DELAYED, HIGH, LOW, failed, letter, settings};
use crate::harness::aftermath::key;
use crate::harness::stack::{QUEUE, Stack};

const LIMIT: Limit = Limit {
    open: 1,
    per_replica: 0,
    per_minute: 100,
};
const LISTS: [&str; 4] = [QUEUE, CRITICAL, HIGH, LOW];
const PACKAGES: usize = 48;
pub(super) const MAX_BYTES: usize = 1000;

/// Pushes packages, every seventh of which is too large, and returns their names.
pub(super) async fn push_to_all_lists(redis: &mut MultiplexedConnection) -> Vec<String> {
    let all: Vec<String> = (0..PACKAGES)
        .map(|number| format!("package {number:02}"))
        .collect();
    for (number, list) in (0..PACKAGES).zip(LISTS.into_iter().cycle()) {
        let padding = if number % 7 == 3 {
            "x".repeat(2 * MAX_BYTES) + ":"
        } else {
            String::new()
        };
        let _: i64 = redis
            .lpush(list, format!("{padding}{}", all[number]))
            .await
            .unwrap();
    }
    all
}

/// Every way that a package can take, whatever error there is.
pub(super) async fn every_way(queue: &Queue, dead: &Queue) {
    let most = Duration::from_millis(5);
    let _ = queue.landing().wait(most, |_| ()).await;
    let _ = queue.adopt(0).await;
    let _ = queue.landing().wait(most, |_| ()).await;
    for free in [1, 3] {
        let _ = queue.adopt(free).await;
    }
    let _ = dead.landing().wait(most, |_| ()).await;
    let _ = dead.adopt(2).await;
    let dead = [dead.worker_id().to_owned()];
    let _ = queue.recover_dead(&dead, queue.server_number()).await;
    for (i, delivery) in queue.in_hand().await.unwrap_or_default().iter().enumerate() {
        let _ = queue.note_suspect(delivery).await;
        match i % 4 {
            0 => _ = queue.run(delivery.delay(Due::In(Duration::ZERO), None)).await,
            1 => _ = queue.enter_provider("p", LIMIT, delivery, 1, true, false).await,
            2 => {
                let payload = String::from_utf8(delivery.payload.clone()).unwrap();
                let letter = DeadLetter {
                    id: Uuid::new_v4(),
                    payload,
                    ..letter(1)
                };
                _ = queue.run(delivery.bury(letter, failed(), None)).await;
            }
            _ => {}
        }
        let _ = queue.end_suspect(delivery, true).await;
    }
    let _ = queue.tick(&[("p".to_owned(), LIMIT)]).await;
    let took = Duration::from_millis(1);
    let _ = queue.report_call("p", LIMIT, 2, CallEnd::Failing, "", took).await;
    let _ = queue.leave_provider("p", LIMIT, 2, &[], &[]).await;
    let _ = queue.adopt(2).await;
}

/// The packages of all places, sorted.
pub(super) async fn packages(redis: &mut MultiplexedConnection) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for list in LISTS {
        found.extend(redis.lrange::<_, Vec<String>>(list, 0, -1).await.unwrap());
    }
    // Without the padding of those that are too large.
    found.iter_mut().for_each(|package| *package = name_of(package));
    for name in redis.keys::<_, Vec<String>>(key("*")).await.unwrap() {
        let kind = name.split(':').nth(1).unwrap();
        let members: Vec<String> = match kind {
            "landing" | "parked" | "set-aside" => redis.lrange(name, 0, -1).await.unwrap(),
            "processing" => redis.hvals(name).await.unwrap(),
            "sorted" | "delayed" => redis.zrange(name, 0, -1).await.unwrap(),
            "dead" => {
                let letters: Vec<String> = redis.zrange(name, 0, -1).await.unwrap();
                let payload = |letter: &String| serde_json::from_str::<DeadLetter>(letter).unwrap().payload;
                letters.iter().map(payload).collect()
            }
            _ => Vec::new(),
        };
        found.extend(members.iter().map(|member| name_of(member)));
    }
    found.sort();
    found
}

fn name_of(member: &str) -> String {
    member.rsplit(':').next().unwrap().to_owned()
}

async fn loses_nothing_while_it_is_wrong(stack: &Stack, fairness: Fairness, wrong: &str) {
    let mut redis = stack.redis().await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    let settings = QueueSettings {
        fairness,
        max_package_bytes: MAX_BYTES,
        dead_letter_max: 1000,
        dead_letter_max_bytes: 1 << 26,
        ..settings(stack)
    };
    let queue = Queue::check(&settings).await.service.unwrap();
    let dead = Queue::check(&settings).await.service.unwrap();
    let all = push_to_all_lists(&mut redis).await;
    every_way(&queue, &dead).await;
    assert_eq!(packages(&mut redis).await, all, "before {wrong} is wrong");

    let wrong = wrong
        .replace('*', queue.worker_id())
        .replace('+', dead.worker_id());
    let is_there: bool = redis.exists(&wrong).await.unwrap();
    if is_there {
        let _: () = redis.rename(&wrong, "aside").await.unwrap();
    }
    // No key of the queue is a stream.
    let _: String = redis::cmd("XADD")
        .arg(&[&wrong, "*", "a", "b"])
        .query_async(&mut redis)
        .await
        .unwrap();
    for _ in 0..2 {
        every_way(&queue, &dead).await;
    }
    let _: i64 = redis.del(&wrong).await.unwrap();
    if is_there {
        let _: () = redis.rename("aside", &wrong).await.unwrap();
    }
    assert_eq!(packages(&mut redis).await, all, "{wrong} was wrong");
    every_way(&queue, &dead).await;
    assert_eq!(packages(&mut redis).await, all, "{wrong} is mended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_wrong_type_costs_no_package() {
    let stack = Stack::start_without_tables().await;
    let others = [
        "landing:*",
        "landing:+",
        "processing:*",
        "processing:+",
        "in-flight",
        "workers",
        "sorted:normal",
        "sorted:high",
        "group-tags:normal",
        "group-tags:low",
        "delayed",
        "dead",
        "parked:p",
        "open-calls:p",
        "recent-calls:p",
        "provider:p",
        "woken:p",
        "set-aside",
        "paused",
        "lease:*",
        "lease:+",
        "suspects",
        "suspect:*",
        "suspect:+",
    ];
    assert!(others.map(key).contains(&DELAYED.to_owned()));
    for fairness in [Fairness::Off, Fairness::Collection] {
        for wrong in LISTS.map(str::to_owned).into_iter().chain(others.map(key)) {
            loses_nothing_while_it_is_wrong(&stack, fairness, &wrong).await;
        }
    }
}
