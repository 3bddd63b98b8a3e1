//! Providers that work on a picture for a while: a package ends in a picture, and a crash meanwhile buys nothing twice.

use std::time::Duration;

use crate::harness::files_below;
use crate::harness::polled::{NAMES, Polled};
use crate::harness::replica::Replica;
use crate::harness::stack::{Stack, icon, logo, with};

async fn replica_of(stack: &Stack, polled: &Polled, own: &[(&str, &str)]) -> Replica {
    let variables = polled.variables();
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain(own.iter().copied())
        .collect();
    stack.replica(&variables).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_for_each_polled_provider_ends_in_a_true_picture() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    polled.finish();
    let _replica = replica_of(&stack, &polled, &[]).await;
    let mut jobs = Vec::new();
    for name in NAMES {
        for package in [logo, icon] {
            let job_id = stack.job().await;
            stack.push(&with(package(job_id), "imageProvider", name)).await;
            jobs.push(job_id);
        }
    }
    stack.all_done_once(&jobs).await;
    for (name, bytes) in files_below(stack.pictures.path()) {
        let picture = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(picture.get_pixel(5, 5).0, [20, 160, 90], "{name}");
    }
    assert_eq!(polled.orders(), 6);
    assert_eq!(polled.leaks(), 0, "files are fetched without the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_while_a_picture_is_made_does_not_buy_it_twice() {
    for name in NAMES {
        let stack = Stack::start().await;
        let polled = Polled::start().await;
        let mut victim = replica_of(&stack, &polled, &[]).await;
        let job_id = stack.job().await;
        stack.push(&with(logo(job_id), "imageProvider", name)).await;
        polled.looked_at().await;
        victim.kill();
        let other = replica_of(&stack, &polled, &[]).await;
        other.said("asking again for a picture that is being made").await;
        polled.finish();
        stack.all_done_once(&[job_id]).await;
        assert_eq!(polled.orders(), 1, "{name}: one order, one picture");
        let calls = "SELECT count(*) FROM generative_ai.provider_calls";
        assert_eq!(stack.count(calls).await, 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_deadline_of_an_attempt_its_picture_is_given_up_at_the_service() {
    for (name, cancels) in [("flux", 1), ("fal", 1), ("bfl", 0)] {
        let stack = Stack::start().await;
        let polled = Polled::start().await;
        let variables = [("JOB_TIMEOUT", "2s"), ("UNKNOWN_OUTCOME", "fail")];
        let _replica = replica_of(&stack, &polled, &variables).await;
        let job_id = stack.job().await;
        stack.push(&with(logo(job_id), "imageProvider", name)).await;
        let error = stack.ended(job_id).await.error.unwrap();
        assert!(
            error.contains("Nobody knows whether it made one"),
            "{name}: {error}"
        );
        stack.idle().await;
        // What a cancelled picture has cost is the service's business: it may be on the bill.
        let query = "SELECT state, error_class, handle IS NOT NULL FROM generative_ai.provider_calls";
        let call = stack.sql(query, &[]).await.remove(0);
        let call: (String, String, bool) = (call.get(0), call.get(1), call.get(2));
        assert_eq!(call, ("unknown".into(), "timed_out".into(), true), "{name}");
        assert_eq!((polled.orders(), polled.cancels()), (1, cancels), "{name}");
        let looks = polled.looks();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(polled.looks(), looks, "{name}: nobody asks any more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_never_comes_is_given_up_and_another_bought_once() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    let variables = [("JOB_TIMEOUT", "3s")];
    let mut victim = replica_of(&stack, &polled, &variables).await;
    let job_id = stack.job().await;
    stack.push(&with(logo(job_id), "imageProvider", "flux")).await;
    polled.looked_at().await;
    victim.kill();
    let other = replica_of(&stack, &polled, &variables).await;
    other.said("nobody knows what a paid call").await;
    assert_eq!(polled.orders(), 1, "no order without time to wait for it");
    polled.finish();
    stack.all_done_once(&[job_id]).await;
    assert_eq!(polled.orders(), 2);
    assert_eq!(polled.cancels(), 1, "the first one is not wanted any more");
}
