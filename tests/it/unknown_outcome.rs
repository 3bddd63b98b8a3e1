//! What happens to a paid call whose outcome nobody knows is the operator's decision.

use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::stack::{Stack, logo, with};

/// A replica dies while a provider without ids draws; another one with this policy finds the open call.
async fn found_by(
    stack: &Stack,
    openai: &OpenAi,
    policy: &str,
    reply_to: &str,
) -> (i32, crate::harness::replica::Replica) {
    openai.close();
    let variables = [("UNKNOWN_OUTCOME", policy), ("JOB_TIMEOUT", "2s")];
    let mut victim = stack.replica_of(openai, &variables).await;
    let job_id = stack.job().await;
    stack.push(&with(logo(job_id), "replyTo", reply_to)).await;
    openai.called(1).await;
    victim.kill();
    openai.open();
    let other = stack.replica_of(openai, &variables).await;
    (job_id, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_fail_instead_of_being_bought_again() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let (job_id, _other) = found_by(&stack, &openai, "fail", "{generative-ai}:reply:a").await;
    let job = stack.ended(job_id).await;
    assert!(job.error.unwrap().contains("gave no answer"));
    stack.idle().await;
    assert_eq!(stack.dead_letters().await[0]["errorClass"], "unknown_outcome");
    assert_eq!(openai.calls().len(), 1, "nothing is bought again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_wait_for_an_operator_who_has_it_drawn_again() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let (job_id, other) = found_by(&stack, &openai, "hold", "{generative-ai}:reply:b").await;
    other.said(&format!("job {job_id} is held")).await;
    stack.idle().await;
    let job = stack.job_row(job_id).await;
    assert_eq!((job.error, job.data), (None, serde_json::json!({})));
    assert_eq!(stack.ledger(job_id).await.state, "held");
    // Pushing it again changes nothing.
    stack.push(&logo(job_id)).await;
    stack.idle().await;
    assert_eq!(openai.calls().len(), 1);

    let reseed = stack.command(&["reseed"], &[]).await;
    assert_eq!(
        String::from_utf8(reseed.stdout).unwrap(),
        "put back 0 packages into generative-ai\n"
    );
    let released = stack.command(&["reseed", "--held"], &[]).await;
    assert_eq!(
        String::from_utf8(released.stdout).unwrap(),
        "put back 1 packages into generative-ai\n"
    );
    stack.all_done_once(&[job_id]).await;
    assert_eq!(openai.calls().len(), 2);
}
