//! Who did what with commands is written down.

use serde_json::Value;

use crate::harness::command::command_on;
use crate::harness::stack::{BUILTIN, Stack, logo, with};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_changes_leaves_a_row_that_says_who_when_and_how_many() {
    let stack = Stack::start().await;
    let run = async |arguments: &[&str]| {
        let said = command_on(&stack, arguments, &[("USER", "bert")]).await;
        assert_eq!(said.status, Some(0), "{arguments:?}: {said:?}");
        assert_eq!(said.err, "");
    };
    let none = command_on(&stack, &["actions"], &[]).await;
    none.is(0, "no command has changed anything yet\n", "");
    let _replica = stack.replica(&[BUILTIN]).await;
    let dead = stack.jobs(2).await;
    for job_id in &dead {
        stack.push(&with(logo(*job_id), "imageSize", "1x1")).await;
        stack.ended(*job_id).await;
    }
    stack.idle().await;
    let cancelled = stack.job().await;
    let held = stack.job().await;
    let package = logo(held).to_string();
    let hold = "INSERT INTO generative_ai.jobs (job_id, state, queue, package) VALUES ($1, 'held', 'generative-ai', $2)";
    stack.sql(hold, &[&held, &package]).await;

    run(&["pause", "--by", "anna"]).await;
    run(&["resume", "--by", "anna\nroot"]).await;
    run(&["cancel", &cancelled.to_string(), "--by", "anna"]).await;
    run(&["reseed", "--held", "--by", "anna"]).await;
    run(&["dead", "retry", &dead[0].to_string(), "--yes"]).await;
    run(&[
        "dead",
        "purge",
        "--job",
        &dead[1].to_string(),
        "--class",
        "invalid_request",
        "--yes",
        "--by",
        "anna",
    ])
    .await;
    // What only looks, or changes nothing, leaves none.
    for looking in [
        &["status"][..],
        &["dead", "list"],
        &["reseed", "--dry-run"],
        &["dead", "purge", "--dry-run"],
        &["resume"],
    ] {
        run(looking).await;
    }

    let said = command_on(&stack, &["actions", "--json"], &[]).await;
    let rows: Value = serde_json::from_str(&said.out).unwrap();
    let rows: Vec<String> = rows
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|row| {
            assert!(row["endedAt"].is_string(), "{row}");
            let who = row["who"].as_str().unwrap();
            let who = who.split_once('@').map_or(who, |(user, _)| user);
            let (action, subject) = (row["action"].as_str().unwrap(), row["subject"].as_str().unwrap());
            format!("{who}: {action}: {subject}: {}", row["count"])
        })
        .collect();
    assert_eq!(
        rows,
        [
            "anna: pause: generative-ai: 1".to_owned(),
            "anna root: resume: generative-ai: 1".to_owned(),
            format!("anna: cancel: job {cancelled}: 1"),
            "anna: reseed: 1 held jobs: 1".to_owned(),
            format!("bert: dead retry: dead packages: job {}: 1", dead[0]),
            format!(
                "anna: dead purge: dead packages: job {}, class invalid_request: 1",
                dead[1]
            ),
        ]
    );
    let told = command_on(&stack, &["actions", "--limit", "1"], &[]).await;
    told.looks_like(
        0,
        &format!(
            "* UTC  anna  dead purge dead packages: job {}, class invalid_request: purged 1 package\n",
            dead[1]
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_paused_while_nothing_can_be_written_down() {
    let stack = Stack::start().await;
    let away = [("DATABASE_URL", "postgres://a:hunter2@127.0.0.1:1/c")];
    for (command, out) in [
        (
            "pause",
            "generative-ai is paused: no replica takes new work, what is in hand is finished\n",
        ),
        ("resume", "generative-ai is resumed: replicas take new work\n"),
    ] {
        let said = command_on(&stack, &[command], &away).await;
        assert_eq!((said.status, &*said.out), (Some(0), out), "{said:?}");
        assert!(
            said.err
                .contains("is not written down in generative_ai.operator_actions: "),
            "{said:?}"
        );
        assert!(!said.err.contains("hunter2"), "{said:?}");
    }
    // An older database, whose next migration has yet to run.
    stack.sql("DROP TABLE generative_ai.operator_actions", &[]).await;
    let job_id = stack.job().await;
    let said = command_on(&stack, &["cancel", &job_id.to_string()], &[]).await;
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.err.contains("is not written down"), "{said:?}");
    assert!(
        stack
            .job_row(job_id)
            .await
            .error
            .unwrap()
            .starts_with("Cancelled by ")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_or_is_cut_off_is_seen() {
    let stack = Stack::start().await;
    let begun = "INSERT INTO generative_ai.operator_actions (queue, who, action, subject)
        VALUES ('generative-ai', 'anna', 'dead purge', 'all dead packages'), ('other', 'x', 'cancel', 'job 1')";
    stack.sql(begun, &[]).await;
    let done = stack.job().await;
    let row = "INSERT INTO generative_ai.jobs (job_id, state, package) VALUES ($1, 'done', '')";
    stack.sql(row, &[&done]).await;
    let said = command_on(&stack, &["cancel", &done.to_string(), "--by", "anna"], &[]).await;
    assert_eq!(said.status, Some(1), "{said:?}");
    let told = command_on(&stack, &["actions"], &[]).await;
    told.looks_like(
        0,
        &format!(
            "* UTC  anna  cancel job {done}: job {done} has its picture already; nothing was changed
* UTC  anna  dead purge all dead packages: it has not ended, or was cut off
"
        ),
    );
}
