//! The configuration: everything that is wrong with it is told at once, before any work begins.

use std::collections::BTreeMap;

use generative_ai_worker::config::variables;

use crate::harness::command::{Said, command};
use crate::harness::replica;
use crate::harness::stack::Stack;
use crate::harness::temporary_directory;

/// Ports on which nobody listens.
const NO_REDIS: &str = "redis://127.0.0.1:1";
const NO_POSTGRES: &str = "postgres://worker@127.0.0.1:1/app";

#[tokio::test]
async fn every_fault_of_a_configuration_is_told_in_one_go_with_status_78() {
    let variables = [
        ("JOB_TIMEOUT", "5 minutes"),
        ("WORKER_CONCURRENCY", "many"),
        ("REDIS_URL", "http://127.0.0.1"),
        ("IMAGE_PROVIDER", "artist"),
        ("STORAGE_URL", "ftp://pictures"),
        ("LOG_FORMAT", "xml"),
    ];
    let expected = [
        "REDIS_URL: a URL with the scheme http was found, which is that of an API over HTTP: take the address for Redis clients; redis://",
        "DATABASE_URL: is not set; write for example postgres://worker:password@127.0.0.1:5432/app",
        "STORAGE_URL: no store is called \"ftp\"; write a path, ",
        "WORKER_CONCURRENCY: \"many\" was found; a number from 1 to 1024 is accepted",
        "JOB_TIMEOUT: \"5 minutes\" is not a duration; write for example 500ms, 30s or 5m",
        "IMAGE_PROVIDER: \"artist\" was found; openai, ",
        "LOG_FORMAT: \"xml\" was found; pretty and json are accepted",
    ];
    for arguments in [
        &[][..],
        &["run"],
        &["check-config"],
        &["check-config", "--offline"],
        &["doctor"],
    ] {
        let said = command(arguments, &variables).await;
        assert_eq!(
            (said.status, &*said.out),
            (Some(78), ""),
            "{arguments:?}: {}",
            said.err
        );
        let lines: Vec<&str> = said.err.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{}", said.err);
        for (line, expected) in lines.iter().zip(expected) {
            let line = line.strip_prefix("generative-ai-worker: ").unwrap();
            assert!(
                line.starts_with(expected),
                "{line}\nshould begin with\n{expected}"
            );
        }
    }
    // A command that needs only Redis does not ask for a database.
    let said = command(&["healthcheck"], &variables[2..3]).await;
    assert_eq!(
        (said.status, said.err.lines().count()),
        (Some(78), 1),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn each_service_that_is_away_is_told_in_a_line_with_status_69() {
    let redis = "generative-ai-worker: REDIS_URL: Redis at 127.0.0.1:1 cannot be reached: Redis: Connection refused (os error 111)\n";
    let postgres = "generative-ai-worker: DATABASE_URL: Postgres cannot be reached: error connecting to server: Connection refused (os error 111)\n";
    let pictures = temporary_directory();
    let variables = [
        ("REDIS_URL", NO_REDIS),
        ("DATABASE_URL", NO_POSTGRES),
        ("STORAGE_URL", pictures.path().to_str().unwrap()),
        ("IMAGE_PROVIDER", "builtin"),
        ("HTTP_ADDR", ""),
    ];
    for arguments in ["run", "check-config"] {
        command(&[arguments], &variables)
            .await
            .is(69, "", &format!("{redis}{postgres}"));
    }
    command(&["migrate"], &variables).await.is(69, "", postgres);
    for arguments in [&["healthcheck"][..], &["enqueue", "--prompt", "a boat"]] {
        let said = command(arguments, &variables).await;
        assert_eq!((said.status, &*said.out), (Some(69), ""), "{}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    }
    command(&["check-config", "--offline"], &variables).await.is(
        0,
        "the configuration is well-formed; no service was asked\n",
        "",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_variable_can_come_from_a_file() {
    // Each one is looked for in the file that its twin names.
    let twins: Vec<String> = variables()
        .map(|variable| format!("{}_FILE", variable.name))
        .collect();
    let nowhere: Vec<(&str, &str)> = twins.iter().map(|twin| (&**twin, "/nonexistent/value")).collect();
    let said = command(&["check-config", "--offline"], &nowhere).await;
    assert_eq!(said.status, Some(78), "{}", said.err);
    for twin in &twins {
        let fault = format!("generative-ai-worker: {twin}: the file /nonexistent/value cannot be read: ");
        assert!(
            said.err.contains(&fault),
            "nobody looked for {twin}:\n{}",
            said.err
        );
    }
    assert_eq!(said.err.lines().count(), twins.len(), "{}", said.err);

    // And what stands there is what counts.
    let stack = Stack::start().await;
    let files = temporary_directory();
    let mut variables = BTreeMap::new();
    for (name, value) in stack.environment() {
        let file = files.path().join(&name);
        std::fs::write(&file, format!("{value}\n")).unwrap();
        variables.insert(format!("{name}_FILE"), file.to_str().unwrap().to_owned());
    }
    let said: Said = replica::run(&["check-config"], &variables).await.into();
    said.is(
        0,
        "the configuration is well-formed; Redis, Postgres and the store can be used\n",
        "",
    );
}
