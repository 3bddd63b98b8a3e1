//! What operators do with packages that have failed for good: look at them, push them again, forget them.

use redis::AsyncCommands;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::aftermath::key;
use crate::harness::command::{Said, command_on};
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::stack::{Stack, logo, with};

fn reason(number: u32) -> String {
    format!(
        "Reason {number}, which is as long as a sentence has to be that a person can act on. Start the job again in some minutes."
    )
}

fn id(number: u32) -> Uuid {
    Uuid::from_u128(0x1f3a_9c2b_4d5e_4000_8000_0000_0000_0000 + (u128::from(number) << 80))
}

/// Keeps a package as dead for so many hours, and mirrors it.
async fn bury(stack: &Stack, number: u32, job_id: Option<i32>, class: &str, hours: f64, payload: &[u8]) {
    let attempts = i32::from(class != "invalid_package");
    let row = stack
        .sql(
            "INSERT INTO generative_ai.dead_packages (id, job_id, payload, reason, details, error_class, attempts,
                worker_id, dead_at)
             VALUES ($1::text::uuid, $2, $3, $4, 'status 400', $5, $6, 'replica-1-ab', now() - $7 * interval '1 hour')
             RETURNING floor(extract(epoch FROM dead_at) * 1000)::bigint",
            &[
                &id(number).to_string(),
                &job_id,
                &payload,
                &reason(number),
                &class,
                &attempts,
                &hours,
            ],
        )
        .await;
    let dead_at: i64 = row[0].get(0);
    let member = json!({"id": id(number), "payload": "…", "jobId": job_id, "deadAt": dead_at}).to_string();
    let _: i64 = stack
        .redis()
        .await
        .zadd(key("dead"), member, dead_at)
        .await
        .unwrap();
    // A row is older than what has become of its job.
    let older = "UPDATE ac_background_jobs SET created_at = now() - interval '1 year' WHERE id = $1";
    stack.sql(older, &[&job_id]).await;
    if let Some(job_id) = job_id.filter(|_| attempts > 0) {
        stack
            .sql(
                "INSERT INTO generative_ai.jobs (job_id, state, package, attempts, crashes, error_class, error_message, finished_at)
                 VALUES ($1, 'dead', $2, 3, 2, $3, 'no', now()) ON CONFLICT DO NOTHING",
                &[&job_id, &String::from_utf8_lossy(payload).into_owned(), &class],
            )
            .await;
    }
}

async fn dead(stack: &Stack, arguments: &[&str]) -> Said {
    let arguments: Vec<&str> = ["dead"].into_iter().chain(arguments.iter().copied()).collect();
    command_on(stack, &arguments, &[]).await
}

/// Three dead packages: two jobs, and bytes that are no text.
async fn three(stack: &Stack) -> Vec<i32> {
    let jobs = stack.jobs(2).await;
    let secret = with(logo(jobs[0]), "prompt", "heron-4471");
    bury(
        stack,
        1,
        Some(jobs[0]),
        "auth",
        50.0,
        secret.to_string().as_bytes(),
    )
    .await;
    let flux = with(logo(jobs[1]), "imageProvider", "flux");
    bury(
        stack,
        2,
        Some(jobs[1]),
        "moderation",
        3.5,
        flux.to_string().as_bytes(),
    )
    .await;
    bury(stack, 3, None, "invalid_package", 0.51, b"\xff\0heron-4471").await;
    jobs
}

async fn open_rows(stack: &Stack) -> i64 {
    stack
        .count("SELECT count(*) FROM generative_ai.dead_packages WHERE retried_at IS NULL")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_packages_are_listed_without_their_prompts() {
    let stack = Stack::start().await;
    dead(&stack, &["list"])
        .await
        .is(0, "no dead package matches\n", "");
    three(&stack).await;
    let cut = |number: u32| reason(number).chars().take(99).collect::<String>();
    let header = "id             job  class            attempts     age  reason\n";
    let third = format!(
        "1f3a9c2b-4d61    -  invalid_package         0  30 min  {}…\n",
        cut(3)
    );
    let second = format!(
        "1f3a9c2b-4d60    2  moderation              1     3 h  {}…\n",
        cut(2)
    );
    let first = format!(
        "1f3a9c2b-4d5f    1  auth                    1     2 d  {}…\n",
        cut(1)
    );
    let said = dead(&stack, &["list"]).await;
    said.is(0, &format!("{header}{third}{second}{first}"), "");

    for (arguments, found) in [
        (&["--class", "auth", "--class", "moderation"][..], &[2, 1][..]),
        (&["--provider", "flux"], &[2]),
        (&["--older-than", "1d"], &[1]),
        (&["--newer-than", "1h"], &[3]),
        (&["--newer-than", "4h", "--older-than", "40m"], &[2]),
        (&["--job", "1"], &[1]),
        (&["2"], &[2]),
        (&[&id(3).to_string()], &[3]),
        (&["--limit", "2"], &[3, 2]),
        (&["--class", "quota"], &[]),
    ] {
        let arguments = [&["list", "--json"], arguments].concat();
        let said = dead(&stack, &arguments).await;
        assert_eq!((said.status, &*said.err), (Some(0), ""), "{arguments:?}");
        let listed: Vec<Value> = serde_json::from_str(&said.out).unwrap();
        let ids: Vec<&str> = listed
            .iter()
            .map(|package| package["id"].as_str().unwrap())
            .collect();
        let found: Vec<String> = found.iter().map(|number| id(*number).to_string()).collect();
        assert_eq!(ids, found, "{arguments:?}");
        assert!(!said.out.contains("heron"), "{}", said.out);
    }
    let said = dead(&stack, &["list", "--limit", "2"]).await;
    assert!(
        said.out
            .ends_with("there are more than these 2; choose, or raise --limit\n"),
        "{}",
        said.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_package_is_shown_whole_when_asked_for() {
    let stack = Stack::start().await;
    let jobs = three(&stack).await;
    let reason = reason(2);
    let flux = with(logo(jobs[1]), "imageProvider", "flux").to_string();
    let at = |said: &Said| {
        let line = said.out.lines().find(|line| line.contains("  dead at")).unwrap();
        line.to_owned()
    };
    let said = dead(&stack, &["show", "2"]).await;
    let shown = |package: &str, at: &str| {
        format!(
            "dead package {}\n  job       2\n  class     moderation\n  reason    {reason}\n  details   status 400\n  \
             attempts  1\n  worker    replica-1-ab\n{at}\n  provider  flux, named by the package\n  package   {package}\n",
            id(2)
        )
    };
    assert!(at(&said).ends_with(" UTC, 3 h ago"), "{}", said.out);
    let size = format!("{} bytes, see --payload", flux.len());
    said.is(0, &shown(&size, &at(&said)), "");
    let said = dead(&stack, &["show", &id(2).to_string()[..13], "--payload"]).await;
    said.is(0, &shown(&flux, &at(&said)), "");

    let said = dead(&stack, &["show", &id(3).to_string(), "--payload", "--json"]).await;
    let shown: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    assert_eq!(shown[0]["payloadBase64"], "/wBoZXJvbi00NDcx");
    assert_eq!(
        (&shown[0]["jobId"], &shown[0]["attempts"]),
        (&Value::Null, &json!(0))
    );

    dead(&stack, &["show", "99"])
        .await
        .is(1, "", "generative-ai-worker: job 99 has no dead package\n");
    dead(&stack, &["show", "abcd"]).await.is(
        1,
        "",
        "generative-ai-worker: there is no dead package whose id begins with abcd\n",
    );

    let said = dead(&stack, &["export"]).await;
    let lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["errorClass"], "auth");
    assert_eq!(lines[1]["payload"], flux);
    assert_eq!(lines[2]["payloadBase64"], "/wBoZXJvbi00NDcx");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_counts_first_asks_and_forgets_what_was_chosen() {
    let stack = Stack::start().await;
    three(&stack).await;
    let auth = "class  packages\nauth          1\n";
    dead(&stack, &["purge", "--class", "auth", "--dry-run"]).await.is(
        0,
        &format!("would purge 1 package\n{auth}"),
        "",
    );
    dead(&stack, &["purge", "--class", "auth"]).await.is(
        64,
        &format!("to purge: 1 package\n{auth}"),
        "generative-ai-worker: standard input is no terminal, so nobody can be asked; add --yes to go on\n",
    );
    assert_eq!(stack.dead_letters().await.len(), 3);
    dead(&stack, &["purge", "--class", "auth", "--yes"]).await.is(
        0,
        &format!("to purge: 1 package\n{auth}purged 1 package\n"),
        "",
    );
    let left: Vec<Value> = stack.dead_letters().await;
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|letter| letter["id"] != id(1).to_string()));
    assert_eq!(open_rows(&stack).await, 2);

    // More than are read at once, and many of one moment.
    for number in 10..250 {
        bury(
            &stack,
            number,
            None,
            "invalid_package",
            f64::from(number / 40),
            b"{",
        )
        .await;
    }
    let said = dead(&stack, &["purge", "--limit", "150", "--yes"]).await;
    assert!(said.out.ends_with("purged 150 packages\n"), "{}", said.out);
    assert_eq!(
        (open_rows(&stack).await, stack.dead_letters().await.len()),
        (92, 92)
    );
    let said = dead(&stack, &["purge", "--yes"]).await;
    assert!(said.out.ends_with("purged 92 packages\n"), "{}", said.out);
    assert_eq!(
        (open_rows(&stack).await, stack.dead_letters().await.len()),
        (0, 0)
    );
    dead(&stack, &["purge", "--yes"])
        .await
        .is(0, "no dead package matches\n", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_for_a_cause_that_is_mended_is_drawn_after_a_retry() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let unpaid = json!({"message": "no credit", "type": "insufficient_quota", "code": "insufficient_quota"});
    for _ in 0..3 {
        openai.then(Reply::Error(429, unpaid.clone(), vec![]));
    }
    let _replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(3).await;
    for job_id in &jobs {
        assert!(stack.ended(*job_id).await.error.is_some());
    }
    stack.idle().await;
    assert_eq!(stack.dead_letters().await.len(), 3);

    let counts = "class  packages\nquota         3\n";
    dead(&stack, &["retry", "--provider", "openai", "--dry-run"])
        .await
        .is(0, &format!("would retry 3 packages\n{counts}"), "");
    let said = dead(&stack, &["retry", "--class", "quota"]).await;
    assert_eq!(said.status, Some(64), "{}", said.err);
    assert_eq!(openai.calls().len(), 3);
    dead(
        &stack,
        &["retry", "--class", "quota", "--rate", "1000/s", "--yes"],
    )
    .await
    .is(
        0,
        &format!("to retry: 3 packages\n{counts}retried 3 packages into generative-ai\n"),
        "",
    );
    stack.all_done_once(&jobs).await;
    for job_id in &jobs {
        let ledger = stack.ledger(*job_id).await;
        assert_eq!(
            (ledger.state.as_str(), ledger.attempts, ledger.crashes),
            ("done", 0, 0)
        );
    }
    dead(&stack, &["list"])
        .await
        .is(0, "no dead package matches\n", "");
    let said = dead(&stack, &["list", "--all"]).await;
    assert_eq!(said.out.matches("[retried] ").count(), 3, "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_cut_off_is_repaired_by_the_next_one_or_by_a_reseed() {
    for repair in [&["dead", "retry", "--yes"][..], &["reseed"]] {
        let stack = Stack::start().await;
        let job_id = stack.job().await;
        bury(
            &stack,
            1,
            Some(job_id),
            "auth",
            1.0,
            logo(job_id).to_string().as_bytes(),
        )
        .await;
        let cut = command_on(
            &stack,
            &["dead", "retry", "--yes"],
            &[("FAULT_POINT", "revived:1")],
        )
        .await;
        assert_eq!(cut.status, None, "{cut:?}");
        assert_eq!(stack.waiting("generative-ai").await, Vec::<i64>::new());
        assert_eq!(stack.ledger(job_id).await.state, "waiting");

        let said = command_on(&stack, repair, &[]).await;
        assert_eq!(said.status, Some(0), "{}", said.err);
        assert_eq!(stack.waiting("generative-ai").await, [i64::from(job_id)]);
        let _replica = stack.replica(&[]).await;
        assert_eq!(stack.ended(job_id).await.progress, Some(100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_leaves_alone_what_is_under_way_and_pushes_one_package_of_a_job() {
    let stack = Stack::start().await;
    let jobs = stack.jobs(6).await;
    let states = ["done", "begun", "retry_wait", "held", "dead", "dead"];
    for (job_id, number) in jobs.iter().zip(1..) {
        let package = logo(*job_id).to_string();
        bury(
            &stack,
            number,
            Some(*job_id),
            "auth",
            f64::from(number),
            package.as_bytes(),
        )
        .await;
        stack
            .sql(
                "UPDATE generative_ai.jobs SET state = $2 WHERE job_id = $1",
                &[job_id, &states[(number - 1) as usize]],
            )
            .await;
        stack
            .sql(
                "UPDATE ac_background_jobs SET error = 'no' WHERE id = $1",
                &[job_id],
            )
            .await;
    }
    // Refused beside the one that the fifth job failed with, before and after it.
    bury(&stack, 11, Some(jobs[4]), "invalid_package", 9.0, b"{").await;
    bury(&stack, 12, Some(jobs[4]), "invalid_package", 0.1, b"{").await;
    // Bytes that no version has understood so far.
    bury(&stack, 13, None, "invalid_package", 20.0, b"\xff\0").await;

    dead(&stack, &["retry", "--yes"]).await.is(
        0,
        "to retry: 9 packages\nclass            packages\nauth                    6\ninvalid_package         3\n\
         retried 3 packages into generative-ai\n\
         skipped 1 package: a replica works on the job\n\
         skipped 2 packages: another package of its job was pushed\n\
         skipped 1 package: the job is done\n\
         skipped 1 package: the job is held; see jobs release\n\
         skipped 1 package: the job waits for its next attempt\n",
        "",
    );
    let waiting: Vec<Vec<u8>> = stack.redis().await.lrange("generative-ai", 0, -1).await.unwrap();
    // The one that is taken next stands last.
    let expected = [
        logo(jobs[4]).to_string().into_bytes(),
        logo(jobs[5]).to_string().into_bytes(),
        b"\xff\0".to_vec(),
    ];
    assert_eq!(waiting, expected);
    for (job_id, state) in jobs
        .iter()
        .zip(["done", "begun", "retry_wait", "held", "waiting", "waiting"])
    {
        let is_retried = state == "waiting";
        assert_eq!(stack.ledger(*job_id).await.state, state);
        assert_eq!(
            stack.job_row(*job_id).await.error.is_none(),
            is_retried,
            "{state}"
        );
    }
    let ledger = stack.ledger(jobs[4]).await;
    assert_eq!((ledger.attempts, ledger.crashes, ledger.worker_id), (0, 0, None));
    assert_eq!(
        (open_rows(&stack).await, stack.dead_letters().await.len()),
        (4, 4)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_commands_say_what_they_cannot_do() {
    let stack = Stack::start().await;
    three(&stack).await;
    for (arguments, hint) in [
        (&["list", "--class", "sad"][..], "invalid value 'sad'"),
        (
            &["list", "--older-than", "2 days"],
            "write for example 30m, 12h or 2d",
        ),
        (
            &["list", "boat"],
            "a job id, or at least 4 digits of a package's id",
        ),
        (&["retry", "--rate", "10"], "write for example 10/s or 30/min"),
        (&["show"], "<ID>"),
    ] {
        let said = dead(&stack, arguments).await;
        assert_eq!((said.status, &*said.out), (Some(64), ""), "{arguments:?}");
        assert!(said.err.contains(hint), "{arguments:?}: {}", said.err);
    }
    let away = [("REDIS_URL", "redis://127.0.0.1:1")];
    let said = command_on(&stack, &["dead", "retry", "--yes"], &away).await;
    assert_eq!(said.status, Some(69), "{}", said.err);
    assert_eq!(stack.ledger(1).await.state, "dead", "nothing is changed");
    let away = [("DATABASE_URL", "postgres://a:b@127.0.0.1:1/c")];
    let said = command_on(&stack, &["dead", "list"], &away).await;
    assert_eq!(said.status, Some(69), "{}", said.err);
}
