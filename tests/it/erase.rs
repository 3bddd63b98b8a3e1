//! `jobs erase`: nothing of a job is left but rows that say so, and it is neither drawn nor recorded again.

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::aftermath::key;
use crate::harness::command::{Said, command_on};
use crate::harness::files_below;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::s3::S3Server;
use crate::harness::stack::{Stack, icon, logo, with};

const SECRET: &str = "heron-4471";

/// A package of this user, with a prompt that is nowhere else.
fn secret(package: Value, user_id: i32) -> Value {
    with(with(package, "prompt", SECRET), "userId", user_id)
}

async fn erase(stack: &Stack, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut all = vec!["jobs", "erase", "--by", "anna"];
    all.extend(arguments);
    command_on(stack, &all, variables).await
}

/// Whether a text stands in a row of the worker's or the application's tables, or in a key of Redis.
async fn is_anywhere(stack: &Stack, text: &str) -> bool {
    let tables = "SELECT string_agg(t::text, ' ') FROM (
        SELECT job::text AS t FROM generative_ai.jobs AS job UNION ALL SELECT call::text FROM generative_ai.provider_calls AS call
        UNION ALL SELECT encode(payload, 'escape') || dead::text FROM generative_ai.dead_packages AS dead
        UNION ALL SELECT shown::text FROM ac_background_jobs AS shown UNION ALL SELECT image::text FROM images AS image) AS t";
    let rows = stack.sql(tables, &[]).await;
    let rows: Option<String> = rows[0].get(0);
    let dead: Vec<String> = stack.redis().await.zrange(key("dead"), 0, -1).await.unwrap();
    rows.unwrap_or_default().contains(text) || dead.iter().any(|letter| letter.contains(text))
}

async fn receipts(stack: &Stack) -> Vec<(String, String, Option<i64>)> {
    let rows = stack
        .sql(
            "SELECT who, subject, count FROM generative_ai.operator_actions ORDER BY id",
            &[],
        )
        .await;
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_erased_with_its_objects_and_its_package_draws_nothing_any_more() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[("KEEP_ORIGINALS", "true")]).await;
    let (job_id, other) = (stack.job().await, stack.job().await);
    let package = secret(icon(job_id), 7);
    stack.push(&package).await;
    stack.push(&logo(other)).await;
    stack.each_done_once(&[job_id, other]).await;
    stack.idle().await;
    assert_eq!(files_below(stack.pictures.path()).len(), 3);
    let url = stack.job_row(job_id).await.data["imageUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    let image_id = stack.job_row(job_id).await.data["imageId"].as_i64().unwrap();
    let others = stack.job_row(other).await;

    let dry = erase(&stack, &[&job_id.to_string(), "--dry-run"], &[]).await;
    dry.is(0, &format!("would erase 1 jobs: {job_id}\n"), "");
    let out = format!(
        "job {job_id}: erased 1 job, 2 objects of the store, 0 dead packages; row {image_id} of images is marked as deleted\n"
    );
    erase(&stack, &[&job_id.to_string()], &[]).await.is(0, &out, "");
    assert_eq!(files_below(stack.pictures.path()).len(), 1, "the other job's");
    assert!(!is_anywhere(&stack, SECRET).await);
    assert!(!is_anywhere(&stack, &url).await);
    let job = stack.job_row(job_id).await;
    assert_eq!(
        (job.error.as_deref(), job.data),
        (Some("This job was erased."), json!({}))
    );
    assert_eq!(stack.job_row(other).await, others);
    let cost = "SELECT count(*) FROM generative_ai.provider_calls WHERE cost_usd > 0";
    assert_eq!(stack.count(cost).await, 2, "paid calls stay for the books");
    // The same package comes once more.
    stack.push(&package).await;
    stack.idle().await;
    assert_eq!(openai.calls().len(), 2);
    assert_eq!(files_below(stack.pictures.path()).len(), 1);

    let out = format!("job {job_id}: erased 1 job, 0 objects of the store, 0 dead packages\n");
    erase(&stack, &[&job_id.to_string()], &[]).await.is(0, &out, "");
    let subject = format!("job {job_id}");
    let receipt = ("anna".to_owned(), subject, Some(1));
    assert_eq!(receipts(&stack).await, [receipt.clone(), receipt]);
    let nobody = erase(&stack, &["4711"], &[]).await;
    assert_eq!(
        (nobody.status, nobody.out.contains("there is no job 4711")),
        (Some(1), true),
        "{nobody:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_jobs_of_a_user_are_erased_and_nobody_elses() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.jobs(5).await;
    let no = json!({"message": "blocked", "type": "user_error", "code": "moderation_blocked"});
    openai.then(Reply::Error(400, no, vec![]));
    stack.push(&secret(logo(jobs[0]), 7)).await;
    stack.ended(jobs[0]).await;
    stack.push(&secret(logo(jobs[1]), 7)).await;
    stack.push(&with(logo(jobs[2]), "userId", 77)).await;
    stack.each_done_once(&jobs[1..3]).await;
    // One waits with its package, one mentions the user in its prompt alone.
    for (job_id, package) in [
        (jobs[3], secret(logo(jobs[3]), 7)),
        (
            jobs[4],
            with(with(logo(jobs[4]), "userId", 8), "prompt", r#""userId": 7"#),
        ),
    ] {
        let held = "INSERT INTO generative_ai.jobs (job_id, state, queue, package) VALUES ($1, 'held', 'generative-ai', $2)";
        stack.sql(held, &[&job_id, &package.to_string()]).await;
    }
    let said = erase(&stack, &["--user", "7"], &[]).await;
    assert_eq!(said.status, Some(0), "{said:?}");
    let begin = "user 7: erased 3 jobs, 1 object of the store, 1 dead package; row ";
    assert!(said.out.starts_with(begin), "{said:?}");
    assert!(!is_anywhere(&stack, SECRET).await);
    assert_eq!(stack.dead_letters().await.len(), 0);
    assert_eq!(stack.job_row(jobs[2]).await.progress, Some(100));
    assert_eq!(stack.ledger(jobs[4]).await.state, "held");
    assert_eq!(files_below(stack.pictures.path()).len(), 1);
    assert_eq!(
        receipts(&stack).await,
        [("anna".to_owned(), "user 7".to_owned(), Some(3))]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_is_done_again_and_finds_what_nobody_has_written_down() {
    let stack = Stack::start().await;
    let store = S3Server::start("pictures").await;
    let endpoint = store.endpoint();
    let variables = store.variables(&endpoint);
    let mut replica = stack.replica(&variables).await;
    let job_id = stack.job().await;
    let package = secret(logo(job_id), 7);
    stack.push(&package).await;
    stack.each_done_once(&[job_id]).await;
    replica.terminate();
    replica.exit().await;
    assert_eq!(store.objects().len(), 1);
    // As a replica leaves it that dies before it has recorded what it has stored.
    let lost = "UPDATE generative_ai.jobs SET state = 'waiting', package = $1, object_keys = NULL, image_id = NULL, image_url = NULL";
    stack.sql(lost, &[&package.to_string()]).await;

    store.fail_next(usize::MAX);
    let cut = erase(&stack, &[&job_id.to_string()], &variables).await;
    assert_ne!(cut.status, Some(0), "{cut:?}");
    let again = format!("job {job_id} is not erased to its end; run this again");
    assert!(cut.err.contains(&again), "{cut:?}");
    assert_eq!(store.objects().len(), 1);
    assert!(!is_anywhere(&stack, SECRET).await, "the prompt is gone first");
    store.fail_next(0);
    let said = erase(&stack, &[&job_id.to_string()], &variables).await;
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(store.objects().len(), 0);
    let counts: Vec<_> = receipts(&stack)
        .await
        .into_iter()
        .map(|(_, _, count)| count)
        .collect();
    assert_eq!(counts, [Some(0), Some(1)], "both are written down");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_erased_under_a_replica_and_an_open_call_is_told() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let mut replica = stack.replica_of(&openai, &[("JOB_TIMEOUT", "10m")]).await;
    let job_id = stack.job().await;
    stack.push(&secret(logo(job_id), 7)).await;
    openai.called(1).await;
    let said = erase(&stack, &[&job_id.to_string()], &[]).await;
    let left = format!(
        "job {job_id} is left alone, as {} works on it: cancel it, then erase it",
        replica.worker_id()
    );
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.out.contains(&left), "{said:?}");
    assert_eq!(stack.ledger(job_id).await.state, "begun");
    replica.kill();
    let lease = format!("lease:{}", replica.worker_id());
    stack.until_key(&lease, false).await;
    let out = format!(
        "job {job_id}: erased 1 job, 0 objects of the store, 0 dead packages; call 1 to openai for job {job_id} was open: it may be \
         billed, and its picture is used for nothing\n"
    );
    erase(&stack, &[&job_id.to_string()], &[]).await.is(0, &out, "");
    openai.open();
    let _next = stack.replica_of(&openai, &[]).await;
    stack.idle().await;
    assert_eq!(
        openai.calls().len(),
        1,
        "it is neither drawn again nor waited for"
    );
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 0);
}
