//! The commands: what they print, where, and the status that they end with.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::command::{command, command_on};
use crate::harness::stack::{Stack, logo, with};

/// Words and options of every command in the reference.
fn commands_of_the_reference() -> Vec<(Vec<String>, Vec<String>)> {
    let table = include_str!("../../docs/reference/commands.md");
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(usage, _)| {
        let words = usage.split([' ', '[', ']']).filter(|word| !word.is_empty());
        let words: Vec<String> = words.map(str::to_owned).collect();
        // Of `dead list --json` the first two; values and ids are not in small letters alone.
        let is_name = |word: &&String| {
            word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
        };
        (
            words.iter().take_while(is_name).cloned().collect(),
            words.into_iter().filter(|word| word.starts_with("--")).collect(),
        )
    })
    .collect()
}

#[tokio::test]
async fn the_help_names_every_command_and_option_of_the_reference() {
    let version = format!("generative-ai-worker {}\n", env!("CARGO_PKG_VERSION"));
    command(&["--version"], &[]).await.is(0, &version, "");
    let help = command(&["--help"], &[]).await;
    assert_eq!((help.status, &*help.err), (Some(0), ""));
    let listed = help
        .out
        .split_once("Commands:\n")
        .unwrap()
        .1
        .split_once("\n\n")
        .unwrap()
        .0;
    let listed: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let mut documented = commands_of_the_reference();
    assert!(documented.len() >= 7, "{documented:?}");
    documented.sort();
    let mut names: Vec<&str> = documented.iter().map(|(words, _)| &*words[0]).collect();
    names.push("help");
    names.sort_unstable();
    names.dedup();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, names);
    for (words, options) in documented {
        let name = words.join(" ");
        let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = command(&arguments, &[]).await;
        assert_eq!(help.status, Some(0), "{name}");
        for option in options {
            assert!(
                help.out.contains(&option),
                "{name} --help says nothing of {option}:\n{}",
                help.out
            );
        }
    }
}

#[tokio::test]
async fn wrong_usage_ends_with_64_and_says_what_is_right() {
    for (arguments, hint) in [
        (&["paint"][..], "unrecognized subcommand 'paint'"),
        (&["run", "--fast"], "unexpected argument '--fast'"),
        (&["enqueue"], "--prompt <PROMPT>"),
        (
            &["enqueue", "--prompt", "x", "--image-type", "sketch"],
            "[possible values: icon, logo]",
        ),
        (&["migrate", "now"], "unexpected argument 'now'"),
    ] {
        let said = command(arguments, &[]).await;
        assert_eq!((said.status, &*said.out), (Some(64), ""), "{arguments:?}");
        assert!(
            said.err.contains(hint),
            "{arguments:?} should say {hint}: {}",
            said.err
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_listed_then_applied_then_done() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut names: Vec<String> = directory
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let lines = |word: &str| {
        names
            .iter()
            .map(|name| format!("{word} {name}\n"))
            .collect::<String>()
    };
    let stack = Stack::start_without_tables().await;
    let missing = command_on(&stack, &["check-config"], &[]).await;
    missing.is(
        78,
        "",
        &format!(
            "generative-ai-worker: DATABASE_URL: the database lacks {} migration(s), from {} on; run generative-ai-worker migrate\n",
            names.len(),
            names[0]
        ),
    );
    for _ in 0..2 {
        command_on(&stack, &["migrate", "--dry-run"], &[])
            .await
            .is(0, &lines("would apply"), "");
    }
    command_on(&stack, &["migrate"], &[])
        .await
        .is(0, &lines("applied"), "");
    for arguments in [&["migrate"][..], &["migrate", "--dry-run"]] {
        command_on(&stack, arguments, &[])
            .await
            .is(0, "the database is up to date\n", "");
    }
    command_on(&stack, &["check-config"], &[]).await.is(
        0,
        "the configuration is well-formed; Redis, Postgres and the store can be used\n",
        "",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthcheck_tells_whether_the_service_and_whether_this_replica_pings() {
    let stack = Stack::start().await;
    let of_service = async || command_on(&stack, &["healthcheck"], &[]).await;
    let of_self =
        async |name: &str| command_on(&stack, &["healthcheck", "--self"], &[("WORKER_NAME", name)]).await;
    let nobody = "no replica pings: the key {generative-ai}:ping is not there\n";
    of_service().await.is(1, nobody, "");
    of_self("replica-1")
        .await
        .is(1, "no replica called replica-1 pings\n", "");

    let mut replica = stack.replica(&[]).await;
    stack
        .until("the service pings", async || {
            (of_service().await.status == Some(0)).then_some(())
        })
        .await;
    of_service().await.is(0, "ok\n", "");
    of_self("replica-1").await.is(0, "ok\n", "");
    of_self("replica")
        .await
        .is(1, "no replica called replica pings\n", "");

    replica.terminate();
    assert!(replica.exit().await.success());
    of_self("replica-1")
        .await
        .is(1, "no replica called replica-1 pings\n", "");
    stack
        .until("the service no longer pings", async || {
            (of_service().await.status == Some(1)).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enqueue_follows_a_job_to_its_picture_or_its_reason() {
    let stack = Stack::start().await;
    command_on(&stack, &["enqueue", "--prompt", "a boat"], &[])
        .await
        .is(0, "job 1 is queued on generative-ai\n", "");
    assert_eq!(stack.job_row(1).await.error, None, "it waits, since nobody works");
    let _replica = stack.replica(&[]).await;

    let drawn = [
        "enqueue",
        "--prompt",
        "a boat",
        "--image-type",
        "icon",
        "--collection-id",
        "9",
        "--wait",
    ];
    let said = command_on(&stack, &drawn, &[]).await;
    assert_eq!((said.status, &*said.err), (Some(0), ""), "{}", said.out);
    let url = stack.job_row(2).await.data["imageUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(url.contains("/group/9/") && url.ends_with("-icon.png"), "{url}");
    assert!(
        said.out.starts_with("job 2 is queued on generative-ai\n"),
        "{}",
        said.out
    );
    assert!(
        said.out
            .ends_with(&format!("job 2: 100 %\njob 2 is done: {url}\n")),
        "{}",
        said.out
    );

    let said = command_on(
        &stack,
        &["enqueue", "--prompt", "a boat", "--provider", "openai", "--wait"],
        &[],
    )
    .await;
    assert_eq!((said.status, &*said.err), (Some(1), ""));
    let reason = stack.job_row(3).await.error.unwrap();
    assert!(reason.contains("OPENAI_API_KEY is not set"), "{reason}");
    assert!(
        said.out.ends_with(&format!("job 3 failed: {reason}\n")),
        "{}",
        said.out
    );

    // Whoever waits is told why nobody takes it.
    command_on(&stack, &["pause", "--by", "anna"], &[]).await;
    let waits = command_on(&stack, &["enqueue", "--prompt", "a boat", "--wait"], &[]);
    let resumes = async {
        while stack.count("SELECT count(*) FROM ac_background_jobs").await < 4 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        command_on(&stack, &["resume"], &[]).await
    };
    let (said, _) = tokio::join!(waits, resumes);
    assert_eq!((said.status, &*said.err), (Some(0), ""), "{}", said.out);
    assert!(
        said.out.contains("the queue is paused by anna since ")
            && said
                .out
                .contains(": the job waits until generative-ai-worker resume\n"),
        "{}",
        said.out
    );

    // What no worker would accept leaves no job behind.
    let said = command_on(
        &stack,
        &["enqueue", "--prompt", "a boat", "--collection-id", "9/9"],
        &[],
    )
    .await;
    assert_eq!((said.status, &*said.out), (Some(1), ""));
    assert!(
        said.err.starts_with("generative-ai-worker: collectionId: "),
        "{}",
        said.err
    );
    assert_eq!(stack.count("SELECT count(*) FROM ac_background_jobs").await, 4);
    stack.idle().await;
}

#[tokio::test]
async fn the_schema_tells_good_packages_from_bad_ones() {
    let said = command(&["schema"], &[("QUEUE_NAME", "pictures")]).await;
    assert_eq!((said.status, &*said.err), (Some(0), ""));
    let schema: Value = serde_json::from_str(&said.out).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for good in [
        logo(1),
        with(logo(1), "jobId", "42"),
        with(logo(1), "imageModel", json!(null)),
        with(logo(1), "unheardOf", 1),
        with(logo(1), "replyTo", "{pictures}:reply:a"),
    ] {
        assert!(schema.is_valid(&good), "{good}");
    }
    for bad in [
        json!({"type": "collection-image", "jobId": 1}),
        with(logo(1), "jobId", "none"),
        with(logo(1), "prompt", " "),
        with(logo(1), "collectionId", "a/b"),
        with(logo(1), "callbackUrl", "http://example.org"),
        with(logo(1), "replyTo", "{generative-ai}:reply:a"),
        json!("collection-image"),
    ] {
        assert!(!schema.is_valid(&bad), "{bad}");
    }
}
