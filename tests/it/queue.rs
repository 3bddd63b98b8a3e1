//! Packages keep their order, their list and their bytes on every way that they can take through Redis.

mod refused;
mod server;
mod sizes;
mod suspects;
mod turns;
mod wrong_types;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use generative_ai_worker::failure::ErrorClass;
use generative_ai_worker::queue::{
    DeadLetter, Delivery, Due, Event, Fairness, Queue, QueueSettings, Weights,
};
use redis::AsyncCommands;
use secrecy::SecretString;
use uuid::Uuid;

use crate::harness::events::Events;
use crate::harness::stack::{QUEUE, Stack};

const CRITICAL: &str = "{generative-ai}:critical";
const HIGH: &str = "{generative-ai}:high";
const LOW: &str = "{generative-ai}:low";
const DELAYED: &str = "{generative-ai}:delayed";

async fn join(stack: &Stack) -> Queue {
    Queue::check(&settings(stack)).await.service.unwrap()
}

fn settings(stack: &Stack) -> QueueSettings {
    QueueSettings {
        url: SecretString::from(stack.redis.url()),
        variable: "REDIS_URL",
        name: QUEUE.to_owned(),
        // Looks like the parts of a delivery's name, which must lead nobody astray.
        worker_name: "7.low-1.high".to_owned(),
        lease_ttl: Duration::from_secs(2),
        ping_interval: Duration::from_millis(500),
        max_package_bytes: 400_000,
        dead_letter_max: 3,
        dead_letter_max_bytes: 1 << 26,
        weights: Weights::default(),
        fairness: Fairness::Off,
        rooms: Vec::new(),
    }
}

async fn push(stack: &Stack, list: &str, packages: &[&str]) {
    let _: i64 = stack.redis().await.lpush(list, packages).await.unwrap();
}

async fn claim(queue: &Queue, free: usize) -> Vec<Delivery> {
    queue.adopt(free).await.unwrap().deliveries
}

/// Takes back what other workers hold whose lease has ended.
async fn recover(queue: &Queue) -> Vec<(String, u64)> {
    let mut workers = queue.tick(&[]).await.unwrap().workers;
    workers.retain(|worker_id| worker_id != queue.worker_id());
    let dead = queue.recover_dead(&workers, queue.server_number());
    dead.await.unwrap()
}

const HOUR_MS: i64 = 3_600_000;

/// All that waits for a time is due two hours earlier.
async fn two_hours_pass(stack: &Stack) {
    let mut redis = stack.redis().await;
    let members: Vec<Vec<u8>> = redis.zrange(DELAYED, 0, -1).await.unwrap();
    for member in members {
        let _: f64 = redis.zincr(DELAYED, member, -2 * HOUR_MS).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_a_time_has_come_is_for_redis_to_say() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    push(&stack, QUEUE, &["past", "future"]).await;
    let taken = claim(&queue, 2).await;
    let now_ms = queue.tick(&[]).await.unwrap().now_ms.cast_signed();
    let at = |ms| Due::At(DateTime::from_timestamp_millis(ms).unwrap());
    assert!(!queue.run(taken[0].delay(at(now_ms), None)).await.unwrap());
    assert!(
        queue
            .run(taken[1].delay(at(now_ms + HOUR_MS), None))
            .await
            .unwrap()
    );
    assert_eq!(queue.in_hand().await.unwrap(), taken[..1]);
}

fn key(kind: &str, queue: &Queue) -> String {
    format!("{{{QUEUE}}}:{kind}:{}", queue.worker_id())
}

fn payloads(deliveries: &[Delivery]) -> Vec<String> {
    deliveries
        .iter()
        .map(|delivery| String::from_utf8_lossy(&delivery.payload).into_owned())
        .collect()
}

fn letter(number: i64) -> DeadLetter {
    DeadLetter {
        id: Uuid::from_u128(number.unsigned_abs().into()),
        payload: "{}".to_owned(),
        reason: "no".to_owned(),
        error_class: ErrorClass::Moderation,
        job_id: Some(1),
        attempts: 1,
        worker_id: "w".to_owned(),
        dead_at: number,
    }
}

fn failed() -> Event {
    Event::failed(Some(1), ErrorClass::Moderation, "no".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_landed_comes_first_then_the_most_urgent_each_list_in_its_order() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    push(&stack, LOW, &["low 1", "low 2"]).await;
    push(&stack, QUEUE, &["normal 1", "normal 2", "normal 3"]).await;
    push(&stack, HIGH, &["high 1", "high 2"]).await;
    push(&stack, CRITICAL, &["critical 1", "critical 2"]).await;
    queue
        .landing()
        .wait(Duration::from_secs(2), |_| ())
        .await
        .unwrap();
    let landed: Vec<String> = stack
        .redis()
        .await
        .lrange(key("landing", &queue), 0, -1)
        .await
        .unwrap();
    assert_eq!(landed, ["normal 1"]);

    let first = claim(&queue, 4).await;
    assert_eq!(
        payloads(&first),
        ["normal 1", "critical 1", "critical 2", "high 1"]
    );
    let rest = claim(&queue, 10).await;
    assert_eq!(
        payloads(&rest),
        ["high 2", "normal 2", "normal 3", "low 1", "low 2"]
    );
    assert!(claim(&queue, 10).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_packages_are_different_deliveries_on_every_way() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    push(&stack, QUEUE, &["same"; 3]).await;
    let taken = claim(&queue, 3).await;
    let ids: BTreeSet<_> = taken.iter().map(|delivery| &delivery.id).collect();
    assert_eq!(ids.len(), 3);
    for delivery in &taken[..2] {
        let command = delivery.delay(Due::In(Duration::ZERO), None);
        assert!(queue.run(command).await.unwrap());
    }
    assert_eq!(queue.in_hand().await.unwrap(), [taken[2].clone()]);
    assert_eq!(queue.tick(&[]).await.unwrap().brought_back, 2);
    assert_eq!(payloads(&claim(&queue, 3).await), ["same"; 2]);
    assert!(queue.run(taken[2].settle(None, None)).await.unwrap());
    assert_eq!(queue.in_hand().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_of_somebody_else_is_left_alone() {
    let stack = Stack::start_without_tables().await;
    let (mine, others) = (join(&stack).await, join(&stack).await);
    push(&stack, QUEUE, &["package"]).await;
    let delivery = claim(&others, 1).await.remove(0);
    let mut redis = stack.redis().await;
    let keys = async |redis: &mut redis::aio::MultiplexedConnection| -> BTreeSet<String> {
        redis
            .keys::<_, Vec<String>>("*")
            .await
            .unwrap()
            .into_iter()
            .collect()
    };
    let before = keys(&mut redis).await;

    let reply_to = Some("{generative-ai}:reply:x".to_owned());
    for command in [
        delivery.settle(Some(failed()), reply_to.clone()),
        delivery.delay(Due::In(Duration::ZERO), Some(failed())),
        delivery.bury(letter(1), failed(), reply_to.clone()),
    ] {
        assert!(!mine.run(command.clone()).await.unwrap(), "{command:?}");
    }
    assert_eq!(keys(&mut redis).await, before);
    assert_eq!(others.in_hand().await.unwrap(), std::slice::from_ref(&delivery));

    let settle = delivery.settle(Some(failed()), reply_to);
    assert!(others.run(settle.clone()).await.unwrap());
    assert!(!others.run(settle).await.unwrap(), "it was settled twice");
    let replies: i64 = redis.llen("{generative-ai}:reply:x").await.unwrap();
    assert_eq!(replies, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_ends_in_one_call_each_is_done_and_told_only_if_it_is_in_hand() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    push(&stack, QUEUE, &["1", "2", "3"]).await;
    let taken = claim(&queue, 3).await;
    let mut events = Events::of(&stack).await;
    let end = |job_id, delivery: &Delivery| {
        let event = Event::completed(job_id, 1, String::new());
        queue.run(delivery.settle(Some(event), None))
    };
    queue.publish(Event::started(1, 1));
    // None is waited for before all have their place, so that they go together; the second is over by then.
    let ends = [
        end(1, &taken[0]),
        end(2, &taken[0]),
        end(3, &taken[1]),
        end(4, &taken[2]),
    ];
    let heard = futures_util::future::join_all(ends).await;
    let heard: Vec<bool> = heard.into_iter().map(Result::unwrap).collect();
    assert_eq!(heard, [true, false, true, true]);
    assert_eq!(events.next("started").await["jobId"], 1);
    for job_id in [1, 3, 4] {
        assert_eq!(events.next("completed").await["jobId"], job_id);
    }
    assert!(queue.in_hand().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_package_is_claimed_behind_the_end_that_makes_room_for_it() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    push(&stack, QUEUE, &["package"; 300]).await;
    let mut in_hand = claim(&queue, 1).await;
    let mut redis = stack.redis().await;
    let processing = key("processing", &queue);
    let watching = tokio::spawn(async move {
        let mut counts = BTreeSet::new();
        loop {
            let count: u64 = redis.hlen(&processing).await.unwrap();
            counts.insert(count);
            if count == 0 {
                return counts;
            }
        }
    });
    while let Some(delivery) = in_hand.pop() {
        // Has its place from here on; nobody waits for it before the claim is on its way.
        let end = queue.run(delivery.settle(None, None));
        let (next, is_mine) = tokio::join!(claim(&queue, 1), end);
        assert!(is_mine.unwrap());
        in_hand = next;
    }
    assert_eq!(watching.await.unwrap(), BTreeSet::from([0, 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_workers_packages_return_to_the_heads_of_their_lists_as_they_stood() {
    let stack = Stack::start_without_tables().await;
    let (queue, dead) = (join(&stack).await, join(&stack).await);
    let normal: Vec<String> = (1..=450).map(|number| format!("normal {number}")).collect();
    let normal: Vec<&str> = normal.iter().map(String::as_str).collect();
    push(&stack, QUEUE, &normal).await;
    push(&stack, CRITICAL, &["critical 1", "critical 2"]).await;
    // When this worker dies it has packages of three lists, one has landed, and 20 still wait behind that.
    let mut taken = claim(&dead, 431).await;
    push(&stack, LOW, &["low 1", "low 2"]).await;
    dead.landing().wait(Duration::from_secs(2), |_| ()).await.unwrap();
    taken.extend(adopt_low(&stack, &dead).await);
    push(&stack, QUEUE, &["later"]).await;
    let mut redis = stack.redis().await;

    let _: i64 = redis
        .sadd("{generative-ai}:workers", dead.worker_id())
        .await
        .unwrap();
    let _: () = redis.set(key("lease", &dead), "").await.unwrap();
    assert_eq!(recover(&queue).await, []);
    assert_eq!(dead.in_hand().await.unwrap().len(), taken.len());

    let _: i64 = redis.del(key("lease", &dead)).await.unwrap();
    let _: () = redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .query_async(&mut redis)
        .await
        .unwrap();
    let recovered = recover(&queue).await;
    assert_eq!(recovered, [(dead.worker_id().to_owned(), 434)]);
    assert!(
        stack.commands("evalsha").await >= 3,
        "one call held Redis up for all of it"
    );
    let left: i64 = redis.zcard("{generative-ai}:in-flight").await.unwrap();
    assert_eq!((left, dead.in_hand().await.unwrap().len()), (0, 0));

    let mut expected = vec!["critical 1", "critical 2"];
    expected.extend(&normal);
    expected.extend(["later", "low 1", "low 2"]);
    assert_eq!(payloads(&claim(&queue, 1000).await), expected);
    assert_eq!(recover(&queue).await, []);
}

/// Claims the two packages of the least urgent list past all others.
async fn adopt_low(stack: &Stack, queue: &Queue) -> Vec<Delivery> {
    let mut redis = stack.redis().await;
    let others = [key("landing", queue), QUEUE.to_owned()];
    for list in &others {
        let _: () = redis.rename(list, format!("aside:{list}")).await.unwrap();
    }
    let low = claim(queue, 2).await;
    for list in &others {
        let _: () = redis.rename(format!("aside:{list}"), list).await.unwrap();
    }
    low
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_whose_time_has_come_return_to_their_lists_the_longest_due_first() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    for list in [CRITICAL, HIGH, QUEUE, LOW] {
        push(&stack, list, &["early", "late", "not yet"]).await;
    }
    let taken = claim(&queue, 12).await;
    // In the opposite order, so that the order of the delays cannot be what counts.
    let later = Utc::now().timestamp_millis() + HOUR_MS;
    for delivery in taken.iter().rev() {
        let due_at = match &*delivery.payload {
            b"early" => later,
            b"late" => later + 1,
            _ => later + 2 * HOUR_MS,
        };
        let due = Due::At(DateTime::from_timestamp_millis(due_at).unwrap());
        assert!(queue.run(delivery.delay(due, None)).await.unwrap());
    }
    assert!(queue.in_hand().await.unwrap().is_empty());
    let mut redis = stack.redis().await;
    let _: () = redis.lpush(QUEUE, "newcomer").await.unwrap();

    two_hours_pass(&stack).await;
    assert_eq!(queue.tick(&[]).await.unwrap().brought_back, 8);
    assert_eq!(queue.tick(&[]).await.unwrap().brought_back, 0);
    for (list, expected) in [
        (CRITICAL, vec!["late", "early"]),
        (HIGH, vec!["late", "early"]),
        (QUEUE, vec!["newcomer", "late", "early"]),
        (LOW, vec!["late", "early"]),
    ] {
        let found: Vec<String> = redis.lrange(list, 0, -1).await.unwrap();
        assert_eq!(found, expected, "{list}, its head last");
    }
    assert_eq!(redis.zcard::<_, i64>(DELAYED).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_survives_every_way() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    let large: Vec<u8> = (0..300_000_u32).map(|number| (number % 256) as u8).collect();
    let packages: [&[u8]; 8] = [
        b"",
        b":",
        b"a:b:c.low:",
        b"9.low:9.high",
        b"\xff\xfe\x80",
        b"\0:\r\n%.(%a+)$",
        "\u{1f98a}: \u{202e}".as_bytes(),
        &large,
    ];
    for package in packages {
        stack.push_raw(package).await;
    }
    let same = |deliveries: &[Delivery]| deliveries.iter().map(|delivery| &*delivery.payload).eq(packages);

    queue
        .landing()
        .wait(Duration::from_secs(2), |_| ())
        .await
        .unwrap();
    queue.adopt(0).await.unwrap();
    let taken = claim(&queue, 8).await;
    assert!(same(&taken), "waiting, landing, processing");
    assert_eq!(queue.leave().await.unwrap(), 8);
    let taken = claim(&queue, 8).await;
    assert!(same(&taken), "given back");
    let later = Utc::now().timestamp_millis() + HOUR_MS;
    for (at, delivery) in (later..).zip(&taken) {
        let due = Due::At(DateTime::from_timestamp_millis(at).unwrap());
        assert!(queue.run(delivery.delay(due, None)).await.unwrap());
    }
    two_hours_pass(&stack).await;
    assert_eq!(queue.tick(&[]).await.unwrap().brought_back, 8);
    assert!(same(&claim(&queue, 8).await), "delayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_set_keeps_the_latest_up_to_its_cap() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    push(&stack, QUEUE, &["x"; 6]).await;
    let taken = claim(&queue, 6).await;
    // The last one is a burial that is done again, the first one is older than all that are kept.
    for (delivery, number) in taken.iter().zip([1, 2, 3, 4, 5, 4]) {
        let bury = delivery.bury(letter(number), failed(), None);
        assert!(queue.run(bury).await.unwrap());
    }
    let kept = queue.redis().dead_letters(10).await.unwrap();
    assert_eq!(kept, [letter(5), letter(4), letter(3)]);
    assert!(queue.in_hand().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_list_that_is_no_list_keeps_no_delivery_from_its_end() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    let mut events = Events::of(&stack).await;
    push(&stack, QUEUE, &["x"; 2]).await;
    let taken = claim(&queue, 2).await;
    let mut redis = stack.redis().await;
    let _: () = redis.set("{generative-ai}:reply:x", "text").await.unwrap();
    let reply_to = Some("{generative-ai}:reply:x".to_owned());
    for command in [
        taken[0].settle(Some(failed()), reply_to.clone()),
        taken[1].bury(letter(1), failed(), reply_to),
    ] {
        assert_eq!(queue.run(command).await, Ok(true));
        events.next("failed").await;
    }
    assert!(queue.in_hand().await.unwrap().is_empty());
    let text: String = redis.get("{generative-ai}:reply:x").await.unwrap();
    let ttl: i64 = redis.ttl("{generative-ai}:reply:x").await.unwrap();
    assert_eq!((text.as_str(), ttl), ("text", -1));
}
