//! What Redis or Postgres has lost is found by comparing the two, and goes on without anybody's help.

mod losses;
mod queues;

use redis::AsyncCommands;

use crate::harness::aftermath::key;
use crate::harness::command::{Said, command_on};
use crate::harness::stack::{BUILTIN, QUEUE, Stack, logo};

/// As short as it may be.
const OFTEN: (&str, &str) = ("RECONCILE_INTERVAL", "1s");

async fn reseed(stack: &Stack, arguments: &[&str]) -> Said {
    command_on(stack, &[&["reseed"], arguments].concat(), &[]).await
}

/// Writes down jobs that nobody works on.
async fn adrift(stack: &Stack, jobs: &[i32], queue: Option<&str>) {
    for job_id in jobs {
        let package = logo(*job_id).to_string();
        stack
            .sql(
                "INSERT INTO generative_ai.jobs (job_id, state, package, queue, begun_at)
                 VALUES ($1, 'waiting', $2, $3, now() - interval '1 hour')",
                &[job_id, &package, &queue],
            )
            .await;
    }
}

/// Waits until a replica has begun, and then ended, another comparison.
async fn compared(stack: &Stack) {
    // It closes this letter first of all, so after two the one before is over.
    let job_id = stack.job().await;
    stack
        .sql(
            "INSERT INTO generative_ai.jobs (job_id, state, package, finished_at) VALUES ($1, 'cancelled', '', now())",
            &[&job_id],
        )
        .await;
    for _ in 0..2 {
        let letter = "INSERT INTO generative_ai.dead_packages
            (id, job_id, payload, reason, error_class, attempts, worker_id, dead_at)
            VALUES (gen_random_uuid(), $1, '', '', 'auth', 1, 'w', now() - interval '1 day')";
        stack.sql(letter, &[&job_id]).await;
        stack
            .until("a comparison has begun", async || {
                (open_letters(stack, job_id).await == 0).then_some(())
            })
            .await;
    }
}

async fn open_letters(stack: &Stack, job_id: i32) -> i64 {
    let query = "SELECT count(*) FROM generative_ai.dead_packages WHERE job_id = $1 AND retried_at IS NULL";
    stack.sql(query, &[&job_id]).await[0].get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_is_somewhere_is_not_put_back() {
    let stack = Stack::start().await;
    let jobs = stack.jobs(15).await;
    adrift(&stack, &jobs, Some(QUEUE)).await;
    let mut redis = stack.redis().await;
    let mut packages = jobs.iter().map(|job_id| logo(*job_id).to_string());
    let mut next = || packages.next().unwrap();
    for list in [
        QUEUE,
        "{generative-ai}:critical",
        "{generative-ai}:high",
        "{generative-ai}:low",
    ] {
        // In the midst of more than one part of a search.
        let many: Vec<String> = (0..1_200).map(|number| format!("no package {number}")).collect();
        let _: i64 = redis.rpush(list, &many).await.unwrap();
        let _: i64 = redis.lset(list, 600, next()).await.unwrap_or_default();
    }
    for (what, name, score) in [
        ("delayed", "a-1/7.normal:", 4e12),
        ("sorted:normal", "3:group/7:", 3.0),
    ] {
        let member = format!("{name}{}", next());
        let _: i64 = redis.zadd(key(what), member, score).await.unwrap();
    }
    for name in ["openai", "type/collection-image", "suspects"] {
        let parked = format!("a-1/8.normal:{}", next());
        let _: i64 = redis.lpush(key(&format!("parked:{name}")), parked).await.unwrap();
    }
    for worker in ["a-1", "b-2"] {
        let _: i64 = redis.sadd(key("workers"), worker).await.unwrap();
        let _: i64 = redis
            .lpush(key(&format!("landing:{worker}")), next())
            .await
            .unwrap();
        let _: i64 = redis
            .hset(key(&format!("processing:{worker}")), "9.low", next())
            .await
            .unwrap();
    }
    // One that nobody could read otherwise, and one that is nowhere.
    let _: i64 = redis
        .lpush(QUEUE, serde_json::json!(next()).to_string())
        .await
        .unwrap();
    reseed(&stack, &["--dry-run"])
        .await
        .is(0, "would put back 1 packages into generative-ai\n", "");
    reseed(&stack, &[])
        .await
        .is(0, "put back 1 packages into generative-ai\n", "");
    reseed(&stack, &[])
        .await
        .is(0, "put back 0 packages into generative-ai\n", "");
    // It comes next: what waits in turns goes before the list.
    let first: Vec<String> = redis.zrange(key("sorted:normal"), 0, 0).await.unwrap();
    assert!(first[0].ends_with(&logo(jobs[14]).to_string()), "{first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_back_comes_first_and_in_order_with_fairness_too() {
    for fairness in ["off", "collection"] {
        let stack = Stack::start().await;
        let jobs = stack.jobs(60).await;
        adrift(&stack, &jobs, Some(QUEUE)).await;
        let mut redis = stack.redis().await;
        let last = stack.job().await;
        if fairness == "off" {
            stack.push(&logo(last)).await;
        } else {
            let member = format!("1:group/7:{}", logo(last));
            let _: i64 = redis.zadd(key("sorted:normal"), member, 1).await.unwrap();
        }
        reseed(&stack, &[])
            .await
            .is(0, "put back 60 packages into generative-ai\n", "");
        if fairness == "off" {
            let expected: Vec<i64> = jobs
                .iter()
                .chain([&last])
                .map(|job_id| i64::from(*job_id))
                .collect();
            assert_eq!(stack.waiting(QUEUE).await, expected);
        }
        let _replica = stack
            .replica(&[("FAIRNESS", fairness), ("IMAGE_PROVIDER", "blank")])
            .await;
        stack.done(61).await;
        stack.idle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_pushed_again_and_again() {
    let stack = Stack::start().await;
    let mut redis = stack.redis().await;
    let job_id = stack.job().await;
    adrift(&stack, &[job_id], Some(QUEUE)).await;
    command_on(&stack, &["pause"], &[]).await;
    let _replica = stack.replica(&[OFTEN]).await;
    stack
        .until("the package is put back", async || {
            let count: i64 = redis.llen(QUEUE).await.unwrap();
            (count == 1).then_some(())
        })
        .await;
    // Where a newer version alone would look for it.
    let _: String = redis
        .lmove(
            QUEUE,
            key("parked:unheard-of"),
            redis::Direction::Right,
            redis::Direction::Left,
        )
        .await
        .unwrap();
    compared(&stack).await;
    compared(&stack).await;
    assert_eq!(redis.llen::<_, i64>(QUEUE).await.unwrap(), 0);
    // An operator knows better.
    reseed(&stack, &[])
        .await
        .is(0, "put back 1 packages into generative-ai\n", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_package_of_a_job_that_has_another_ones_number_is_not_drawn_for_it() {
    let stack = Stack::start().await;
    let job_id = stack.job().await;
    adrift(&stack, &[job_id], Some(QUEUE)).await;
    stack
        .sql(
            "UPDATE generative_ai.jobs SET row_created_at = '2020-01-01Z'",
            &[],
        )
        .await;
    reseed(&stack, &[])
        .await
        .is(0, "put back 0 packages into generative-ai\n", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_of_a_job_that_is_done_is_closed() {
    let stack = Stack::start().await;
    let wrong = crate::harness::stack::with(logo(stack.job().await), "imageSize", "1x1");
    let job_id = i32::try_from(wrong["jobId"].as_i64().unwrap()).unwrap();
    let replica = stack.replica(&[OFTEN, BUILTIN]).await;
    stack.push(&wrong).await;
    stack.ended(job_id).await;
    stack.idle().await;
    assert_eq!(open_letters(&stack, job_id).await, 1);
    let cut = command_on(
        &stack,
        &["dead", "retry", "--yes"],
        &[("FAULT_POINT", "revived:1")],
    )
    .await;
    assert_eq!(cut.status, None, "{cut:?}");
    // By a right package of the same job, which is what its producer does.
    stack.push(&logo(job_id)).await;
    assert_eq!(stack.ended(job_id).await.progress, Some(100));
    compared(&stack).await;
    assert_eq!(open_letters(&stack, job_id).await, 0);
    drop(replica);

    // As an older version has left it; and one that its producer is still to hear of.
    for (age, reason) in [("1 day", "old"), ("-1 day", "new")] {
        stack
            .sql(
                "INSERT INTO generative_ai.dead_packages
                 (id, job_id, payload, reason, error_class, attempts, worker_id, dead_at)
                 VALUES (gen_random_uuid(), $1, '', $2, 'invalid_package', 0, 'w', now() - $3::text::interval)",
                &[&job_id, &reason, &age],
            )
            .await;
    }
    let _replica = stack.replica(&[OFTEN, BUILTIN]).await;
    compared(&stack).await;
    let open = "SELECT reason FROM generative_ai.dead_packages WHERE retried_at IS NULL";
    let open = stack.sql(open, &[]).await;
    assert_eq!(
        open.iter().map(|row| row.get(0)).collect::<Vec<String>>(),
        ["new"]
    );
}
