//! Alert rules and metrics as Prometheus itself reads them.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::operator::Operator;
use crate::harness::stack::{Stack, logo};

/// Runs Prometheus's own checker on a file of `deploy/observability`, or on what is typed into it.
async fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability");
    let mut tool = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed by scripts/install-servers tests");
    let mut stdin = tool.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = tool.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn alert_rules_pass_their_tests() {
    let (is_well, said) = promtool(&["check", "rules", "rules.yaml"], "").await;
    assert!(is_well, "{said}");
    let (is_well, said) = promtool(&["test", "rules", "rules-test.yaml"], "").await;
    assert!(is_well, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_as_prometheus_wants_them() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let job = stack.job().await;
    stack.push(&logo(job)).await;
    stack.ended(job).await;
    stack.idle().await;
    let metrics = Operator::of(&replica).await.get("/metrics").await.1;
    let (is_well, said) = promtool(&["check", "metrics"], &metrics).await;
    assert!(is_well, "{said}");
}
