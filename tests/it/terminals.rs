//! What people see of commands at a terminal, beyond what is printed to pipes.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::harness::aftermath::key;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::stack::{Stack, logo, with};
use crate::harness::terminal::Terminal;

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_watched_at_a_terminal_stays_in_place_fits_and_is_left_by_a_key() {
    let stack = Stack::start().await;
    let mut watch = Terminal::run(&["status", "--watch"], &stack.environment(), 24, 80);
    let modes = watch.modes_before().to_owned();
    watch
        .shows(&stack, "waiting    critical 0, high 0, normal 0, low 0")
        .await;
    assert_ne!(watch.modes(), modes, "keys are taken one by one");
    assert!(!watch.is_as_before());
    let mut redis = stack.redis().await;
    redis::cmd("LPUSH")
        .arg(key("high"))
        .arg("{}")
        .exec_async(&mut redis)
        .await
        .unwrap();
    watch
        .shows(&stack, "waiting    critical 0, high 1, normal 0, low 0")
        .await;
    let text = watch.text();
    assert_eq!(
        text.matches("waiting ").count(),
        1,
        "it stands there once:\n{text}"
    );
    assert!(text.starts_with("service    no replica pings\n"), "{text}");
    assert!(
        text.contains("q leaves\n") || text.ends_with("q leaves"),
        "{text}"
    );

    // Too narrow for a line, and too low for all of them.
    watch.resize(6, 30);
    watch.shows(&stack, "waiting    critical 0, high 1…").await;
    let text = watch.text();
    assert!(text.starts_with("service ") && !text.contains("jobs "), "{text}");
    watch.types("\u{1b}[B\u{1b}[6~");
    watch.shows(&stack, "spent      nothing within 24 h").await;
    assert!(!watch.text().contains("service "), "{}", watch.text());
    watch.resize(30, 100);
    watch.shows(&stack, "service    no replica pings").await;
    watch.shows(&stack, "spent      nothing within 24 h").await;

    watch.types("q");
    assert!(watch.exit(&stack).await.success());
    assert_eq!(watch.modes(), modes);
    assert!(watch.is_as_before());
    assert_eq!(watch.text(), "", "nothing of it stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_a_status_that_is_watched_the_terminal_is_as_it_was() {
    let stack = Stack::start().await;
    let away = [
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("DATABASE_URL", "postgres://a@127.0.0.1:1/c"),
    ];
    let mut environment = stack.environment();
    environment.extend(away.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for end in ["Ctrl-C", "SIGTERM", "SIGHUP"] {
        let mut watch = Terminal::run(&["status", "--watch"], &environment, 24, 80);
        let modes = watch.modes_before().to_owned();
        watch.shows(&stack, "Postgres is away: ").await;
        let pid = Pid::from_raw(watch.pid().cast_signed()).unwrap();
        match end {
            "Ctrl-C" => watch.types("\u{3}"),
            "SIGTERM" => kill_process(pid, Signal::TERM).unwrap(),
            _ => kill_process(pid, Signal::HUP).unwrap(),
        }
        assert!(watch.exit(&stack).await.success(), "{end}");
        assert_eq!(watch.modes(), modes, "{end}");
        assert!(watch.is_as_before(), "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_at_a_terminal_sees_a_bar_which_leaves_nothing_behind() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let _replica = stack.replica_of(&openai, &[]).await;
    let arguments = ["enqueue", "--wait", "--prompt", "a boat"];
    let mut waiting = Terminal::run(&arguments, &stack.environment(), 24, 80);
    waiting.shows(&stack, "of 100, ").await;
    assert!(
        !waiting.text().contains('%'),
        "the bar says it:\n{}",
        waiting.text()
    );
    openai.open();
    assert!(waiting.exit(&stack).await.success());
    waiting.shows(&stack, " is done: ").await;
    let text = waiting.text();
    assert!(
        text.starts_with("job 1 is queued on generative-ai\njob 1 is done: "),
        "{text}"
    );
    assert!(!text.contains("of 100"), "{text}");

    let jobs = stack.jobs(3).await;
    for job_id in &jobs {
        stack.push(&with(logo(*job_id), "imageSize", json!("none"))).await;
        assert!(stack.ended(*job_id).await.error.is_some());
    }
    let arguments = ["dead", "retry", "--yes", "--rate", "1/s"];
    let mut retrying = Terminal::run(&arguments, &stack.environment(), 24, 80);
    retrying.shows(&stack, "retrying ").await;
    retrying.shows(&stack, " 1 of 3, ").await;
    assert!(retrying.exit(&stack).await.success());
    retrying
        .shows(&stack, "retried 3 packages into generative-ai")
        .await;
    assert!(!retrying.text().contains("of 3,"), "{}", retrying.text());
}
