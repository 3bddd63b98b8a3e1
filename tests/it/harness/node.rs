//! Programs in Node, with the packages that `scripts/install-servers tests` has put into target/node.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::stack::PATIENCE;

/// Where the packages are.
pub(crate) fn modules() -> PathBuf {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/node/node_modules");
    assert!(
        modules.exists(),
        "{} is missing: run scripts/install-servers tests, as make test does",
        modules.display()
    );
    modules
}

fn command(script: &str, arguments: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("node");
    command
        .arg(root.join("tests/node").join(script))
        .args(arguments)
        .env("NODE_PATH", modules())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    command
}

/// Runs a script to its end with this standard input; returns what it has printed.
pub(crate) async fn node(script: &str, arguments: &[&str], input: &str) -> String {
    node_within(PATIENCE, script, arguments, input).await
}

/// The same for one that takes longer than others.
pub(crate) async fn node_within(patience: Duration, script: &str, arguments: &[&str], input: &str) -> String {
    let mut command = command(script, arguments);
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let running = async {
        // Some read none of it.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        process.wait_with_output().await.unwrap()
    };
    let output = tokio::time::timeout(patience, running)
        .await
        .unwrap_or_else(|_| panic!("{script} {arguments:?} goes on after {patience:?}"));
    assert!(output.status.success(), "{script} {arguments:?} succeeds");
    String::from_utf8(output.stdout).unwrap()
}

/// A script that goes on. Killed when dropped.
pub(crate) fn starting_node(script: &str, arguments: &[&str]) -> Child {
    command(script, arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
