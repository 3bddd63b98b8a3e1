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
async fn faults_of_a_service_that_has_the_order_buy_nothing_twice() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    polled.break_polls(true);
    let _replica = replica_of(&stack, &polled, &[]).await;
    let mut jobs = Vec::new();
    for name in NAMES {
        let job_id = stack.job().await;
        stack.push(&with(logo(job_id), "imageProvider", name)).await;
        jobs.push(job_id);
    }
    polled.ordered(NAMES.len()).await;
    polled.polled(2 * NAMES.len()).await;
    polled.break_polls(false);
    polled.finish();
    stack.all_done_once(&jobs).await;
    assert_eq!((polled.orders(), polled.cancels()), (NAMES.len(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_after_the_order_buys_nothing_elsewhere() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    polled.refuse_polls(true);
    let _replica = replica_of(&stack, &polled, &[("IMAGE_PROVIDER_FALLBACKS", "fal")]).await;
    let job_id = stack.job().await;
    stack.push(&with(logo(job_id), "imageProvider", "flux")).await;
    polled.looked_at().await;
    // A purchase elsewhere would follow the refusal at once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((polled.orders(), polled.cancels()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_refused_for_its_key_buys_nothing() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    polled.refuse_keys(true);
    let _replica = replica_of(&stack, &polled, &[]).await;
    let job_id = stack.job().await;
    stack.push(&with(logo(job_id), "imageProvider", "flux")).await;
    let error = stack.ended(job_id).await.error.unwrap();
    assert!(error.contains("credentials"), "{error}");
    assert_eq!((polled.orders(), polled.polls()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_its_service_has_failed_has_ended() {
    let stack = Stack::start().await;
    let polled = Polled::start().await;
    polled.fail_orders();
    let _replica = replica_of(&stack, &polled, &[("MAX_ATTEMPTS", "1")]).await;
    for name in NAMES {
        let job_id = stack.job().await;
        stack.push(&with(logo(job_id), "imageProvider", name)).await;
        let error = stack.ended(job_id).await.error.unwrap();
        assert!(error.contains("without a usable picture"), "{name}: {error}");
    }
    let failed = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'failed'";
    assert_eq!(stack.count(failed).await, 3);
    assert_eq!((polled.orders(), polled.cancels()), (3, 0));
}
