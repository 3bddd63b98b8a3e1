//! What producers misspell is told by name, and counted.

use serde_json::json;

use crate::harness::aftermath::key;
use crate::harness::command::command_on;
use crate::harness::operator::Operator;
use crate::harness::stack::{Stack, logo, with};

fn counted(field: &str) -> String {
    format!(r#"generative_ai_misspelled_fields_total{{field="{field}"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_nobody_reads_is_told_with_the_one_that_was_meant() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let operator = Operator::of(&replica).await;
    operator.shows(&stack, &counted("imageProvider"), 0.0).await;
    let jobs = stack.jobs(2).await;
    stack
        .push(&with(
            with(logo(jobs[0]), "imageprovider", "openai"),
            "pushed_at",
            1,
        ))
        .await;
    let mut refused = logo(jobs[1]);
    refused["promt"] = refused["prompt"].take();
    stack.push(&refused).await;
    stack.each_done_once(&jobs[..1]).await;
    let line = format!(
        "the package of job {} has the field imageprovider, which nobody reads; did you mean imageProvider?",
        jobs[0]
    );
    replica.said(&line).await;
    let error = stack.ended(jobs[1]).await.error.unwrap();
    assert!(
        error.contains(r#"prompt: "promt" was found, which is another name"#),
        "{error}"
    );
    operator.shows(&stack, &counted("imageProvider"), 1.0).await;
    operator.shows(&stack, &counted("prompt"), 1.0).await;
    assert_eq!(
        replica.times_said("pushed_at"),
        0,
        "what looks like nothing here is the producer's own"
    );
    assert_eq!(operator.scrape().await.text.matches("pushed").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_with_a_package_stands_in_its_row() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[]).await;
    let job_id = stack.job().await;
    stack
        .push(&json!({"type": "collection-image", "jobId": job_id, "userId": "x", "seed": "y"}))
        .await;
    let error = stack.ended(job_id).await.error.unwrap();
    assert!(
        error.starts_with("5 faults: (1) prompt: nothing was found; "),
        "{error}"
    );
    for field in [
        "(2) collectionType: ",
        "(3) collectionId: ",
        "(4) userId: ",
        "(5) seed: ",
    ] {
        assert!(error.contains(field), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_nobody_reads_is_found_wherever_one_looks() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[("RECONCILE_INTERVAL", "1s")]).await;
    let urgent = key("urgent");
    let job_id = stack.job().await;
    let mut redis = stack.redis().await;
    redis::pipe()
        .lpush(&urgent, logo(job_id).to_string())
        // No list, so nobody has pushed there.
        .set(key("normal"), "1")
        .exec_async(&mut redis)
        .await
        .unwrap();
    replica
        .said("{generative-ai}:urgent is a list that no replica reads")
        .await;
    for command in ["status", "doctor"] {
        let said = command_on(&stack, &[command], &[]).await;
        assert!(said.out.contains("1 package "), "{}", said.out);
        assert!(
            said.out
                .contains("{generative-ai}:urgent, a list that no replica reads"),
            "{}",
            said.out
        );
        assert!(!said.out.contains("{generative-ai}:normal,"), "{}", said.out);
    }
    let said = command_on(&stack, &["doctor", "--offline"], &[]).await;
    let cure = "LMOVE {generative-ai}:urgent generative-ai RIGHT LEFT";
    assert!(said.out.contains(cure), "{}", said.out);
    let mut cure: Vec<&str> = cure.split(' ').collect();
    let mut lmove = redis::cmd(cure.remove(0));
    lmove.arg(cure).query_async::<String>(&mut redis).await.unwrap();
    stack.all_done_once(&[job_id]).await;
}
