//! What is remembered of packages that were with a worker when it died.

use generative_ai_worker::queue::{Delivery, Due, Queue};
use redis::AsyncCommands;

use super::{claim, join, payloads, push, recover};
use crate::harness::aftermath::key;
use crate::harness::stack::{QUEUE, Stack};

/// Claims so many, by a worker that has died then.
async fn dies_with(stack: &Stack, count: usize) -> Queue {
    let dead = join(stack).await;
    assert_eq!(claim(&dead, count).await.len(), count);
    dead
}

fn crashes(deliveries: &[Delivery]) -> Vec<Option<u32>> {
    deliveries.iter().map(|delivery| delivery.crashes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_counts_for_the_one_suspect_and_marks_all_that_were_adopted() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    push(&stack, QUEUE, &["a", "b", "c", "new"]).await;
    dies_with(&stack, 3).await;
    recover(&queue).await;
    let found = claim(&queue, 4).await;
    assert_eq!(payloads(&found), ["a", "b", "c", "new"]);
    assert_eq!(crashes(&found), [None; 4], "once is the machine's fault");
    let mut again = queue.in_hand().await.unwrap();
    again.sort_by_key(|delivery| delivery.id.clone());
    assert_eq!(again, found);
    assert_eq!(queue.leave().await.unwrap(), 4);

    let dead = join(&stack).await;
    let taken = claim(&dead, 4).await;
    dead.note_suspect(&taken[1]).await.unwrap();
    recover(&queue).await;
    let found = claim(&queue, 4).await;
    assert_eq!(crashes(&found), [Some(0), Some(1), Some(0), None]);
    assert_eq!(stack.traces_of(dead.worker_id()).await, Vec::<String>::new());
    let ttl: i64 = stack.redis().await.ttl(key("suspects")).await.unwrap();
    assert!((86_000..=86_400).contains(&ttl), "{ttl}");

    // It keeps its crashes while it only waits, and loses them when it has survived; nothing is left with the last one.
    queue.note_suspect(&found[1]).await.unwrap();
    queue.end_suspect(&found[1], false).await.unwrap();
    let wait = found[1].delay(Due::In(std::time::Duration::ZERO), None);
    assert!(queue.run(wait).await.unwrap());
    assert_eq!(queue.tick(&[]).await.unwrap().brought_back, 1);
    let back = claim(&queue, 1).await;
    assert_eq!(crashes(&back), [Some(1)]);
    for delivery in [&found[0], &back[0], &found[2], &found[3]] {
        queue.note_suspect(delivery).await.unwrap();
        queue.end_suspect(delivery, true).await.unwrap();
        assert!(queue.run(delivery.settle(None, None)).await.unwrap());
    }
    assert!(!stack.has_key("suspects").await);
    assert!(!stack.has_key(&format!("suspect:{}", queue.worker_id())).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_package_of_a_worker_is_counted_without_a_note_and_what_has_landed_is_no_suspect() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    push(&stack, QUEUE, &["only", "landed"]).await;
    let dead = dies_with(&stack, 1).await;
    let landing = format!("landing:{}", dead.worker_id());
    let _: String = stack.redis().await.rpoplpush(QUEUE, key(&landing)).await.unwrap();
    recover(&queue).await;
    let found = claim(&queue, 2).await;
    assert_eq!(payloads(&found), ["only", "landed"]);
    assert_eq!(crashes(&found), [Some(1), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_package_of_many_is_not_taken_for_the_only_one() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    let many: Vec<String> = (0..401).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    push(&stack, QUEUE, &many).await;
    dies_with(&stack, 401).await;
    recover(&queue).await;
    assert_eq!(crashes(&claim(&queue, 401).await), [None; 401]);
}

#[tokio::test(flavor = "multi_thread")]
async fn giving_back_is_no_crash() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    push(&stack, QUEUE, &["a"]).await;
    let taken = claim(&queue, 1).await;
    queue.note_suspect(&taken[0]).await.unwrap();
    assert_eq!(queue.leave().await.unwrap(), 1);
    assert_eq!(stack.traces_of(queue.worker_id()).await, Vec::<String>::new());
    assert_eq!(crashes(&claim(&queue, 1).await), [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_suspects_stay_suspects() {
    let stack = Stack::start_without_tables().await;
    let queue = join(&stack).await;
    push(&stack, QUEUE, &["a", "b"]).await;
    for _ in 0..2 {
        dies_with(&stack, 2).await;
        recover(&queue).await;
    }
    let found = claim(&queue, 2).await;
    let limit = generative_ai_worker::queue::Limit {
        per_replica: 1,
        ..Default::default()
    };
    let entry = queue.enter_provider("suspects", limit, &found[1], 1, true, false);
    let (entry, _) = entry.await.unwrap();
    assert!(
        matches!(entry, generative_ai_worker::queue::Entry::Parked(_)),
        "{entry:?}"
    );
    let overview = queue.redis().overview(&["suspects".to_owned()]).await.unwrap();
    assert_eq!(overview.providers[0].parked, 1);
    assert_eq!(
        queue
            .leave_provider("suspects", limit, 1, &[], &[])
            .await
            .unwrap()
            .woken,
        1
    );
    assert_eq!(crashes(&claim(&queue, 2).await), [Some(0)]);
}
