//! An order that a provider has taken is never made again: it is followed until the provider ends it.

use std::time::Duration;

use redis::AsyncCommands;

use crate::harness::events::Events;
use crate::harness::polled::{NAMES, Polled};
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::replica::Replica;
use crate::harness::stack::Stack;

/// State, error class and whether there is a handle, of the only call there is.
async fn only_call(stack: &Stack) -> (String, Option<String>, bool) {
    let query = "SELECT state, error_class, handle IS NOT NULL FROM generative_ai.provider_calls";
    let mut calls = stack.sql(query, &[]).await;
    assert_eq!(calls.len(), 1, "one call");
    let call = calls.remove(0);
    (call.get(0), call.get(1), call.get(2))
}

/// An order that takes longer than its attempt: it goes on, and no slot is taken.
async fn long_order() -> (Stack, Polled, Replica, i32) {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    let replica = polled.replica(&stack, &[("JOB_TIMEOUT", "1s")]).await;
    let job_id = stack.job().await;
    stack.push_to("flux", &[job_id]).await;
    replica.said("goes on in").await;
    (stack, polled, replica, job_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_while_a_picture_is_made_costs_no_second_one() {
    for name in NAMES {
        let stack = Stack::start().await;
        let polled = Polled::start().await;
        let replica = polled
            .replica(&stack, &[("IMAGE_PROVIDER_FALLBACKS", "builtin")])
            .await;
        polled.refuse_polls(true);
        let job_id = stack.job().await;
        stack.push_to(name, &[job_id]).await;
        // More than one attempt finds the key refused.
        polled.polled(3).await;
        replica.said("goes on in").await;
        let meanwhile = stack.job_row(job_id).await;
        assert_eq!(meanwhile.error, None, "{name}: nobody is told that it has failed");
        assert_eq!(only_call(&stack).await, ("accepted".into(), None, true), "{name}");
        let ledger = stack.ledger(job_id).await;
        assert_eq!(
            (ledger.attempts, stack.dead_letters().await.len()),
            (0, 0),
            "{name}"
        );

        polled.refuse_polls(false);
        polled.finish();
        stack.all_done_once(&[job_id]).await;
        assert_eq!((polled.orders(), polled.cancels()), (1, 0), "{name}: one order");
        let drawn_by = "SELECT count(*) FROM generative_ai.jobs WHERE provider = $1";
        assert_eq!(
            stack.sql(drawn_by, &[&name]).await[0].get::<_, i64>(0),
            1,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_a_key_costs_nothing_and_nobody_is_told_what_is_not_so() {
    const ORDERS: usize = 20;
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    let variables = [("WORKER_CONCURRENCY", "5"), ("JOB_TIMEOUT", "2s")];
    let mut victim = polled.replica(&stack, &variables).await;
    let jobs = stack.jobs(20).await;
    stack.push_to("flux", &jobs).await;
    // All are ordered, though not more than five at once are worked on: what goes on holds no slot.
    polled.ordered(ORDERS).await;
    let mut events = Events::of(&stack).await;
    polled.refuse_keys(true);
    let polls = polled.polls();
    polled.polled(polls + 30).await;
    victim.kill();
    let replica = polled.replica(&stack, &variables).await;
    let polls = polled.polls();
    polled.polled(polls + 30).await;
    for job_id in &jobs {
        let row = stack.job_row(*job_id).await;
        assert_eq!(row.error, None);
        assert!(matches!(row.progress, Some(10..100)), "{row:?}");
    }
    let failed = "SELECT count(*) FROM generative_ai.jobs WHERE attempts > 0 OR state IN ('dead', 'held')";
    assert_eq!(stack.count(failed).await, 0);
    assert_eq!(replica.times_said("failed"), 0, "{}", replica.log());

    polled.refuse_keys(false);
    polled.finish();
    stack.all_done_once(&jobs).await;
    assert_eq!((polled.orders(), polled.cancels()), (ORDERS, 0));
    for _ in &jobs {
        events.next("completed").await;
    }
    assert_eq!(stack.dead_letters().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_takes_longer_than_an_attempt_is_asked_for_and_not_ordered_again() {
    for name in NAMES {
        let stack = Stack::start().await;
        let polled = Polled::start().await;
        let variables = [
            ("JOB_TIMEOUT", "1s"),
            ("UNKNOWN_OUTCOME", "fail"),
            ("WORKER_CONCURRENCY", "1"),
        ];
        let replica = polled.replica(&stack, &variables).await;
        let job_id = stack.job().await;
        stack.push_to(name, &[job_id]).await;
        replica.said("goes on in").await;
        polled.finish();
        stack.all_done_once(&[job_id]).await;
        assert_eq!((polled.orders(), polled.cancels()), (1, 0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_followed_for_a_day_and_given_up_with_a_true_reason() {
    let (stack, polled, _replica, job_id) = long_order().await;
    stack
        .sql(
            "UPDATE generative_ai.provider_calls SET sent_at = sent_at - interval '25 hours'",
            &[],
        )
        .await;
    let error = stack.ended(job_id).await.error.unwrap();
    assert!(
        error.contains("flux took the order for this picture 25 hours ago"),
        "{error}"
    );
    assert_eq!(only_call(&stack).await.0, "accepted", "it may still be fetched");
    assert_eq!((polled.orders(), polled.cancels()), (1, 1));
    assert_eq!(stack.dead_letters().await[0]["errorClass"], "unknown_outcome");
    polled.finish();
    stack.command(&["dead", "retry", "--yes"], &[]).await;
    stack.all_done_once(&[job_id]).await;
    assert_eq!(
        polled.orders(),
        1,
        "its picture is asked for before anything is ordered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_given_up_by_hand_finds_its_order_again() {
    let (stack, polled, replica, job_id) = long_order().await;
    drop(replica);
    // As versions did that buried a job whose order was open.
    let bury = "UPDATE generative_ai.jobs SET state = 'dead', error_message = 'no'";
    stack.sql(bury, &[]).await;
    let keep = "INSERT INTO generative_ai.dead_packages (id, job_id, payload, reason, error_class, attempts, worker_id)
        SELECT gen_random_uuid(), job_id, convert_to(package, 'UTF8'), 'no', 'auth', 1, 'w' FROM generative_ai.jobs";
    stack.sql(keep, &[]).await;
    stack.sql("SELECT 1", &[]).await;
    let _: () = stack.redis().await.del("{generative-ai}:delayed").await.unwrap();
    polled.finish();
    let _replica = polled.replica(&stack, &[]).await;
    let output = stack.command(&["dead", "retry", "--yes"], &[]).await;
    assert!(output.status.success(), "{output:?}");
    stack.all_done_once(&[job_id]).await;
    assert_eq!(polled.orders(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_id_was_lost_is_found_where_the_provider_lists_its_orders() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    let variables = [
        ("FAULT_POINT", "accepted-unsaved:1"),
        ("JOB_TIMEOUT", "2s"),
        ("UNKNOWN_OUTCOME", "fail"),
    ];
    let mut victim = polled.replica(&stack, &variables).await;
    let job_id = stack.job().await;
    stack.push_to("flux", &[job_id]).await;
    victim.exit().await;
    polled.finish();
    let _other = polled.replica(&stack, &variables[1..]).await;
    stack.all_done_once(&[job_id]).await;
    assert_eq!(polled.orders(), 1);
    assert_eq!(only_call(&stack).await.0, "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_is_lost_is_looked_for_before_another_is_made() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    let proxy = Proxy::to(polled.port()).await;
    let at = format!("http://127.0.0.1:{}/v1", proxy.port);
    polled.finish();
    polled.hold_orders(Duration::from_secs(1));
    let _replica = polled
        .replica(&stack, &[("REPLICATE_BASE_URL", at.as_str())])
        .await;
    let job_id = stack.job().await;
    stack.push_to("flux", &[job_id]).await;
    polled.ordered(1).await;
    proxy.set(Weather::Cut);
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.set(Weather::Fair);
    stack.all_done_once(&[job_id]).await;
    assert_eq!(polled.orders(), 1);
    assert_eq!(only_call(&stack).await.0, "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_know_a_young_order_is_asked_again() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    let mut stopped = polled.replica(&stack, &[]).await;
    let job_id = stack.job().await;
    stack.push_to("flux", &[job_id]).await;
    polled.looked_at().await;
    stopped.terminate();
    assert!(stopped.exit().await.success());
    // As with the key of another account.
    polled.forget(true);
    let replica = polled.replica(&stack, &[]).await;
    let polls = polled.polls();
    polled.polled(polls + 4).await;
    polled.forget(false);
    polled.finish();
    stack.all_done_once(&[job_id]).await;
    assert_eq!(polled.orders(), 1);
    drop(replica);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_was_damaged_on_its_way_is_fetched_again() {
    for name in NAMES {
        let stack = Stack::start().await;
        let polled = Polled::start().await;
        polled.finish();
        polled.damage_next_file();
        let _replica = polled.replica(&stack, &[]).await;
        let job_id = stack.job().await;
        stack.push_to(name, &[job_id]).await;
        stack.all_done_once(&[job_id]).await;
        assert_eq!(polled.orders(), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_polls_are_asked_for_holds_no_slot() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    polled.busy_polls(Some(3600));
    let _replica = polled.replica(&stack, &[("WORKER_CONCURRENCY", "2")]).await;
    let jobs = stack.jobs(2).await;
    stack.push_to("flux", &jobs).await;
    polled.polled(2).await;
    let other = stack.job().await;
    stack.push_to("builtin", &[other]).await;
    assert_eq!(stack.ended(other).await.progress, Some(100));
    assert_eq!(polled.orders(), 2);
}
