//! The same for providers that work on a picture for a while and can be asked for it again.

use std::os::unix::process::ExitStatusExt;

use tokio::time::Instant;

use super::tally::{Tally, rounds};
use super::{JOB_TIMEOUT, SIGABRT};
use crate::harness::polled::{NAMES, Polled};
use crate::harness::stack::{Stack, logo, with};

/// One package after the other for each of the providers in turn; the replica that has it dies, another finishes.
/// Returns the counts, and how many calls nobody knows the outcome of.
async fn dies_at(row: &str, fault: &str, point: &str) -> (Tally, usize) {
    let (stack, polled) = (Stack::start().await, Polled::start().await);
    polled.finish();
    let own = polled.variables();
    let variables: Vec<(&str, &str)> = own
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain([JOB_TIMEOUT])
        .collect();
    let mut tally = Tally::of(row, fault);
    for round in 0..rounds() {
        let name = NAMES[usize::try_from(round).unwrap() % NAMES.len()];
        let planted = format!("{point}:1");
        let mut victim = stack
            .replica(&[&variables[..], &[("FAULT_POINT", planted.as_str())]].concat())
            .await;
        let jobs = stack.jobs(1).await;
        stack.push(&with(logo(jobs[0]), "imageProvider", name)).await;
        assert_eq!(victim.exit().await.signal(), Some(SIGABRT));
        let died = Instant::now();
        let mut other = stack.replica(&variables).await;
        assert_eq!(stack.ended(jobs[0]).await.progress, Some(100));
        tally.recovered_in(died.elapsed());
        stack.idle().await;
        other.terminate();
        assert!(other.exit().await.success(), "{}", other.log());
        tally.count(&stack, &jobs).await;
    }
    tally.due = tally.packages;
    tally.bills = polled.orders();
    tally.keep();
    assert_eq!(
        (tally.ended, tally.images),
        (tally.packages, tally.packages),
        "{tally:?}"
    );
    let unknown = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'unknown'";
    (tally, usize::try_from(stack.count(unknown).await).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn row_06_accepted_and_not_yet_saved() {
    let fault = "dies when a provider with ids has accepted, before the id is saved";
    let (tally, unknown) = dies_at("06", fault, "accepted-unsaved").await;
    // The id was in the memory that is gone. Replicate lists its orders, so that it is found again; from the others another picture is
    // bought, once, and the ledger says so.
    let listing =
        (0..rounds()).filter(|round| NAMES[usize::try_from(*round).unwrap() % NAMES.len()] == "flux");
    let bought_again = tally.packages - listing.count();
    assert_eq!(
        (tally.double_bills(), unknown),
        (bought_again, bought_again),
        "{tally:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_07_accepted() {
    let (tally, unknown) = dies_at("07", "dies right after the provider's id is saved", "accepted").await;
    assert_eq!((tally.double_bills(), unknown), (0, 0), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_09_drawn_by_a_provider_with_ids() {
    let (tally, unknown) = dies_at("09b", "dies with the answer of a provider with ids", "drawn").await;
    assert_eq!((tally.double_bills(), unknown), (0, 0), "{tally:?}");
}
