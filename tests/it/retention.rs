//! Nothing is kept for longer than it is to be: prompts until their jobs end, the rest for the time that is set.

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::aftermath::key;
use crate::harness::command::command_on;
use crate::harness::events::Events;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::stack::{BUILTIN, Stack, logo, with};

/// Rows of the ledger that ended so many days ago: 1 100 old jobs, 50 young ones, dead packages of both kinds, and paid
/// calls.
const AGED: &str = "
    INSERT INTO ac_background_jobs (id, progress, data, created_at, updated_at)
        SELECT n, 100, '{\"imageId\": 1}', now() - interval '2 years', now() FROM generate_series(1, 2000) AS n;
    SELECT setval('ac_background_jobs_id_seq', 2000);
    INSERT INTO generative_ai.jobs (job_id, state, package, begun_at, finished_at)
        SELECT n, 'done', '{\"prompt\": \"a secret boat\"}', now() - interval '91 days', now() - interval '91 days'
            FROM generate_series(1, 1100) AS n
        UNION ALL SELECT n, 'cancelled', '', now() - interval '89 days', now() - interval '89 days' FROM generate_series(1101, 1150) AS n
        UNION ALL SELECT n, 'dead', '', now() - interval '91 days', now() - interval '91 days' FROM generate_series(1201, 1203) AS n;
    INSERT INTO generative_ai.jobs (job_id, state, package, begun_at)
        VALUES (1301, 'held', '{}', now() - interval '500 days'), (1302, 'waiting', '{}', now() - interval '500 days');
    INSERT INTO generative_ai.dead_packages (id, job_id, payload, reason, error_class, attempts, worker_id, dead_at)
        SELECT gen_random_uuid(), n, '{}', 'no', 'moderation', 1, 'w', now() - days * interval '1 day'
        FROM (VALUES (1201, 91), (1202, 91), (1203, 89), (NULL, 100)) AS dead(n, days);
    INSERT INTO generative_ai.provider_calls (job_id, call_no, state, provider, model, worker_id, fence, sent_at, deadline_at, cost_usd)
        SELECT n, 1, CASE n WHEN 1 THEN 'accepted' ELSE 'succeeded' END, 'openai', 'm', 'w', 1,
            now() - days * interval '1 day', now(), 0.04
        FROM (VALUES (1, 91), (2, 399), (3, 401), (1301, 450), (1900, 401)) AS call(n, days);
    INSERT INTO generative_ai.operator_actions (begun_at, queue, who, action, subject)
        SELECT now() - days * interval '1 day', 'generative-ai', 'anna', 'cancel', 'job 1' FROM (VALUES (401), (399)) AS done(days);
    INSERT INTO generative_ai.callbacks (id, job_id, queue, url, origin, state, outcome, ended_at, settled_at)
        SELECT gen_random_uuid(), 1, 'generative-ai', 'https://h/x', 'https://h', state, 'done', now() - interval '200 days',
            now() - days * interval '1 day'
        FROM (VALUES ('delivered', 91), ('failed', 89), ('waiting', NULL)) AS told(state, days);
    INSERT INTO generative_ai.budget_periods (scope, whose, period, begins_at, ends_at)
        SELECT 'user', '7', 'day', now() - (days + 1) * interval '1 day', now() - days * interval '1 day'
        FROM (VALUES (401), (399)) AS over(days);";

const TIDIED: &str = "ended 0 jobs whose rows in ac_background_jobs are gone
emptied 1100 packages of jobs that have ended
removed 3 packages that failed for good (DEAD_RETENTION)
removed 1 callbacks that were delivered or given up (DEAD_RETENTION)
removed 1102 jobs that have ended (JOBS_RETENTION)
removed 2 paid calls (CALLS_RETENTION)
removed 1 rows of what commands have done (CALLS_RETENTION)
removed 1 days and months of budgets (CALLS_RETENTION)
removed 1 entries of the dead set in Redis (DEAD_RETENTION)
cut 0 entries of the dead set in Redis that were too long (DEAD_LETTER_MAX_BYTES)
";

async fn aged() -> Stack {
    let stack = Stack::start().await;
    stack.sql_client().await.batch_execute(AGED).await.unwrap();
    let now = chrono::Utc::now().timestamp_millis();
    let day = 24 * 60 * 60 * 1000;
    for days in [89, 91] {
        let member = format!("a letter of {days} days ago");
        let _: i64 = stack
            .redis()
            .await
            .zadd(key("dead"), member, now - days * day)
            .await
            .unwrap();
    }
    stack
}

/// What is left: jobs, prompts of ended ones, dead packages, calls, open calls, entries in Redis.
async fn left(stack: &Stack) -> [i64; 6] {
    let ended = "SELECT count(*) FROM generative_ai.jobs WHERE package <> '' AND finished_at IS NOT NULL";
    let open = "SELECT count(*) FROM generative_ai.provider_calls WHERE state IN ('intended', 'accepted')";
    [
        stack.count("SELECT count(*) FROM generative_ai.jobs").await,
        stack.count(ended).await,
        stack
            .count("SELECT count(*) FROM generative_ai.dead_packages")
            .await,
        stack
            .count("SELECT count(*) FROM generative_ai.provider_calls")
            .await,
        stack.count(open).await,
        stack.redis().await.zcard(key("dead")).await.unwrap(),
    ]
}

/// The dead job whose package may still be retried, the jobs that have not ended and the young ones.
const LEFT: [i64; 6] = [53, 0, 1, 3, 0, 1];

#[tokio::test(flavor = "multi_thread")]
async fn tidy_removes_what_has_ended_long_ago_and_counts_it() {
    let stack = aged().await;
    let before = left(&stack).await;
    let dry = command_on(&stack, &["tidy", "--dry-run"], &[]).await;
    // All of them are counted as they stand: an old dead job goes only after its package.
    let expected = TIDIED.replace("1102 jobs", "1100 jobs");
    let expected: Vec<String> = expected
        .lines()
        .map(|line| format!("would have {line}\n"))
        .collect();
    dry.is(0, &expected.concat(), "");
    assert_eq!(left(&stack).await, before);
    let keep = [
        ("JOBS_RETENTION", "off"),
        ("DEAD_RETENTION", "off"),
        ("CALLS_RETENTION", "off"),
    ];
    let kept = command_on(&stack, &["tidy", "--dry-run"], &keep).await;
    assert_eq!(kept.out.lines().count(), 3, "{}", kept.out);
    command_on(&stack, &["tidy"], &[]).await.is(0, TIDIED, "");
    assert_eq!(left(&stack).await, LEFT);
    let again = command_on(&stack, &["tidy"], &[]).await;
    assert!(
        again.out.lines().all(|line| line.contains(" 0 ")),
        "{}",
        again.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_of_a_queue_keeps_house() {
    let stack = aged().await;
    let replicas = [
        stack.replica(&[]).await,
        stack.replica(&[]).await,
        stack.replica(&[]).await,
    ];
    stack
        .until("what is old is gone", async || {
            (left(&stack).await == LEFT).then_some(())
        })
        .await;
    let said = |text| {
        replicas
            .iter()
            .map(|replica| replica.times_said(text))
            .sum::<usize>()
    };
    stack
        .until("it is said", async || {
            (said("housekeeping has removed paid calls") == 1).then_some(())
        })
        .await;
    assert_eq!(said("housekeeping has removed jobs"), 1);
    let ttl: i64 = stack.redis().await.ttl(key("housekeeping")).await.unwrap();
    assert!((3_000..=3_600).contains(&ttl), "{ttl}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_may_remove_nothing_says_so_and_works_on() {
    let stack = aged().await;
    let sql = stack.sql_client().await;
    let roles = include_str!("../../deploy/postgres/roles.sql");
    sql.batch_execute(roles).await.unwrap();
    let role = "ALTER ROLE generative_ai_worker PASSWORD 'change-me';
        REVOKE DELETE ON ALL TABLES IN SCHEMA generative_ai FROM generative_ai_worker;";
    sql.batch_execute(role).await.unwrap();
    let port = stack.postgres.port();
    let url = format!("postgres://generative_ai_worker:change-me@127.0.0.1:{port}/postgres");
    let replica = stack.replica(&[("DATABASE_URL", &url)]).await;
    replica
        .said("housekeeping cannot remove what is old: packages that failed for good")
        .await;
    let log = replica.log();
    let line = log
        .lines()
        .find(|line| line.contains("housekeeping cannot"))
        .unwrap();
    assert!(
        line.contains("permission denied for table dead_packages"),
        "{line}"
    );
    assert!(line.contains("deploy/postgres/roles.sql"), "{line}");
    // What it may do it has done.
    assert_eq!(left(&stack).await[1], 0);
    for job_id in stack.push_logos(3).await {
        assert_eq!(stack.ended(job_id).await.error, None);
    }
}

async fn package(stack: &Stack, job_id: i32) -> String {
    let query = "SELECT package FROM generative_ai.jobs WHERE job_id = $1";
    stack.sql(query, &[&job_id]).await[0].get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_kept_until_its_job_ends_and_no_longer() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::Error(
        400,
        json!({"code": "moderation_blocked", "message": "no"}),
        vec![],
    ))
    .await;
    openai.then(small_picture());
    let replica = stack.replica_of(&openai, &[]).await;
    let (done, cancelled, dead) = (stack.job().await, stack.job().await, stack.job().await);
    stack.push(&logo(done)).await;
    stack.all_done_once(&[done]).await;
    let soon = (chrono::Utc::now() + chrono::TimeDelta::hours(1)).to_rfc3339();
    stack.push(&with(logo(cancelled), "notBefore", soon)).await;
    command_on(&stack, &["cancel", &cancelled.to_string()], &[]).await;
    stack.push(&logo(dead)).await;
    assert!(stack.ended(dead).await.error.is_some());
    for job_id in [done, cancelled, dead] {
        assert_eq!(package(&stack, job_id).await, "", "{job_id}");
    }
    let kept = "SELECT convert_from(payload, 'UTF8') FROM generative_ai.dead_packages";
    let kept: String = stack.sql(kept, &[]).await[0].get(0);
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), logo(dead));
    stack.until_key("delayed", false).await;
    drop(replica);

    // It is whole in the ledger again when it is pushed, for the day when Redis loses it.
    let _: () = redis::cmd("FLUSHALL")
        .query_async(&mut stack.redis().await)
        .await
        .unwrap();
    let retried = command_on(&stack, &["dead", "retry", "--yes"], &[]).await;
    assert!(retried.out.contains("retried 1 package"), "{}", retried.out);
    assert_eq!(package(&stack, dead).await, logo(dead).to_string());
    let _: () = redis::cmd("FLUSHALL")
        .query_async(&mut stack.redis().await)
        .await
        .unwrap();
    let reseeded = command_on(&stack, &["reseed"], &[]).await;
    assert_eq!(reseeded.out, "put back 1 packages into generative-ai\n");
    openai.then(small_picture());
    let _replica = stack.replica_of(&openai, &[]).await;
    stack.ended(dead).await;
    stack.idle().await;
    assert_eq!(stack.job_row(dead).await.error, None);
    assert_eq!(package(&stack, dead).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_ledger_has_forgotten_is_still_done() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(3).await;
    stack.all_done_once(&jobs).await;
    stack.idle().await;
    stack
        .sql(
            "UPDATE generative_ai.jobs SET finished_at = now() - interval '1 year'",
            &[],
        )
        .await;
    let tidied = command_on(&stack, &["tidy"], &[]).await;
    assert!(tidied.out.contains("removed 3 jobs"), "{}", tidied.out);

    let before = stack.job_row(jobs[0]).await;
    let shown = command_on(&stack, &["jobs", "show", &jobs[0].to_string()], &[]).await;
    assert!(shown.out.contains("the ledger has forgotten it"), "{}", shown.out);
    let mut events = Events::of(&stack).await;
    stack.push(&logo(jobs[0])).await;
    let event = events.next("completed").await;
    assert_eq!(event["jobId"], jobs[0]);
    assert_eq!(event["imageId"], before.data["imageId"]);
    assert_eq!(event["imageUrl"], before.data["imageUrl"]);
    stack.idle().await;
    assert_eq!(stack.job_row(jobs[0]).await, before);
    assert_eq!(stack.count("SELECT count(*) FROM generative_ai.jobs").await, 0);
    // The application starts one again: it is bought again, and counted on among the calls.
    let again = "UPDATE ac_background_jobs SET progress = 5, data = '{}' WHERE id = $1";
    stack.sql(again, &[&jobs[1]]).await;
    stack.push(&logo(jobs[1])).await;
    events.next("completed").await;
    stack.idle().await;
    assert_eq!(openai.bills(), 4);
    let calls = "SELECT call_no, state FROM generative_ai.provider_calls WHERE job_id = $1 ORDER BY call_no";
    let calls = stack.sql(calls, &[&jobs[1]]).await;
    let calls: Vec<(i32, &str)> = calls.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(calls, [(1, "succeeded"), (2, "succeeded")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_row_was_deleted_ends_once_and_for_all() {
    let stack = Stack::start().await;
    let unavailable = Reply::Error(500, json!({"message": "later"}), vec![]);
    let openai = OpenAi::start(unavailable).await;
    let slow = [("RETRY_BASE_DELAY", "5s"), ("RETRY_MAX_DELAY", "5s")];
    let replica = stack.replica_of(&openai, &slow).await;
    let jobs = stack.push_logos(2).await;
    stack
        .until("both wait for their next attempts", async || {
            let waiting = "SELECT count(*) FROM generative_ai.jobs WHERE state = 'retry_wait'";
            (stack.count(waiting).await == 2).then_some(())
        })
        .await;
    let delete = "DELETE FROM ac_background_jobs";
    stack.sql(delete, &[]).await;
    let ended = "SELECT count(*) FROM generative_ai.jobs WHERE state = 'cancelled' AND finished_at IS NOT NULL AND package = ''";
    stack
        .until("they have ended", async || {
            (stack.count(ended).await == 2).then_some(())
        })
        .await;
    for _ in 0..3 {
        let reseeded = command_on(&stack, &["reseed"], &[]).await;
        assert_eq!(reseeded.out, "put back 0 packages into generative-ai\n");
        stack.push(&logo(jobs[0])).await;
        stack.idle().await;
    }
    assert!(stack.dead_letters().await.is_empty());
    assert_eq!(
        stack
            .count("SELECT count(*) FROM generative_ai.dead_packages")
            .await,
        0
    );
    assert_eq!(stack.count(ended).await, 2);
    assert!(
        replica.times_said("was deleted before the job had ended") > 0,
        "{}",
        replica.log()
    );

    // One whose package is nowhere any more is found by those who keep house; one that has just begun is left alone.
    let ghosts = "INSERT INTO generative_ai.jobs (job_id, state, package, begun_at) VALUES
            (901, 'waiting', '{}', now() - interval '2 hours'), (902, 'held', '{}', now() - interval '2 hours'),
            (903, 'begun', '{}', now() - interval '2 hours'), (904, 'retry_wait', '{}', now());
        INSERT INTO generative_ai.provider_calls (job_id, call_no, state, provider, model, worker_id, fence, deadline_at)
            VALUES (901, 1, 'accepted', 'flux', 'm', 'w', 1, now())";
    stack.sql_client().await.batch_execute(ghosts).await.unwrap();
    let tidied = command_on(&stack, &["tidy"], &[]).await;
    assert!(tidied.out.starts_with("ended 2 jobs"), "{}", tidied.out);
    let open = "SELECT count(*) FROM generative_ai.provider_calls WHERE state IN ('intended', 'accepted')";
    assert_eq!(stack.count(open).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_set_keeps_to_its_size_and_postgres_has_the_whole() {
    let stack = Stack::start().await;
    let size = [
        BUILTIN,
        ("DEAD_LETTER_MAX", "10"),
        ("DEAD_LETTER_MAX_BYTES", "40KiB"),
    ];
    let replica = stack.replica(&size).await;
    let jobs = stack.jobs(15).await;
    for job_id in &jobs {
        let package = with(logo(*job_id), "imageSize", "1x1");
        stack.push(&with(package, "note", "x".repeat(100_000))).await;
    }
    stack
        .push(&with(logo(jobs[0]), "note", "\u{1}".repeat(40_000)))
        .await;
    stack
        .until("all are dead", async || {
            let dead = "SELECT count(*) FROM generative_ai.dead_packages";
            (stack.count(dead).await >= 15).then_some(())
        })
        .await;
    stack.idle().await;
    drop(replica);
    let members: Vec<String> = stack.redis().await.zrange(key("dead"), 0, -1).await.unwrap();
    assert_eq!(members.len(), 10);
    assert!(members.iter().map(String::len).sum::<usize>() <= 40 * 1024);
    for letter in stack.dead_letters().await {
        let payload = letter["payload"].as_str().unwrap();
        assert!(payload.len() > 1_000, "{}", payload.len());
        let whole =
            "SELECT convert_from(payload, 'UTF8') FROM generative_ai.dead_packages WHERE id = $1::text::uuid";
        let whole: String = stack.sql(whole, &[&letter["id"].as_str().unwrap()]).await[0].get(0);
        assert!(whole.len() > 100_000 && whole.starts_with(payload));
    }
    // What versions before have left.
    let mut long = stack.dead_letters().await[0].clone();
    long["payload"] = "y".repeat(200_000).into();
    let _: i64 = stack
        .redis()
        .await
        .zadd(key("dead"), long.to_string(), 4_000_000_000_000_i64)
        .await
        .unwrap();
    let tidied = command_on(&stack, &["tidy"], &size).await;
    assert!(tidied.out.contains("cut 1 entries"), "{}", tidied.out);
    let members: Vec<String> = stack.redis().await.zrange(key("dead"), -1, -1).await.unwrap();
    assert!(
        members[0].len() <= 4096 && members[0].contains("yyy"),
        "{}",
        members[0].len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_none_is_refused() {
    let stack = Stack::start().await;
    for wrong in ["90", "30m", "0d", "never", "-1d", "99999999999999999999d"] {
        let said = command_on(&stack, &["tidy"], &[("JOBS_RETENTION", wrong)]).await;
        let expected = format!(
            "generative-ai-worker: JOBS_RETENTION: \"{wrong}\" was found; a time of an hour or more is accepted, such as 12h or 90d, or off\n"
        );
        said.is(78, "", &expected);
    }
}
