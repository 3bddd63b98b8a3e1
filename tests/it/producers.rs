//! The producers in `examples/`: each asks for a picture as it stands there, and prints its address.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::harness::node::modules;
use crate::harness::stack::{PATIENCE, Stack};

/// Its file, what runs it, and what tells that it is here, libraries and all.
const PRODUCERS: &[(&str, &[&str], &[&str])] = &[
    ("producer.sh", &["sh"], &["sh", "-c", "command -v psql redis-cli"]),
    (
        "producer.cjs",
        &["node"],
        &["node", "-e", "require('pg'); require('ioredis')"],
    ),
    (
        "producer_bullmq.cjs",
        &["node"],
        &["node", "-e", "require('pg'); require('bullmq')"],
    ),
    (
        "producer.py",
        &["/usr/bin/python3"],
        &["/usr/bin/python3", "-c", "import psycopg2, redis"],
    ),
    (
        "producer.rb",
        &["ruby"],
        &["ruby", "-e", "require 'pg'; require 'redis'"],
    ),
    (
        "producer.php",
        &["php"],
        &[
            "php",
            "-r",
            "exit((int) !(class_exists('Redis') && in_array('pgsql', PDO::getAvailableDrivers())));",
        ],
    ),
    (
        "go/producer.go",
        &["go", "run"],
        &[
            "go",
            "list",
            "github.com/lib/pq",
            "github.com/gomodule/redigo/redis",
        ],
    ),
];

/// Few lines, so that they are read.
const LONGEST: usize = 39;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn command(words: &[&str], stack: &Stack) -> Command {
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env("NODE_PATH", modules())
        // Libraries of the system, and nothing from elsewhere.
        .env("GOPATH", "/usr/share/gocode")
        .env("GO111MODULE", "off")
        .env("GOCACHE", stack.path("go-cache"))
        .env(
            "DATABASE_URL",
            format!("{}?sslmode=disable", stack.postgres.url("postgres")),
        )
        .env("REDIS_URL", stack.redis.url())
        .env("BULLMQ_QUEUE", "pictures")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn prints_an_address(name: &str, mut command: Command) {
    let output = tokio::time::timeout(PATIENCE, command.arg("A lighthouse \"at\" night").output())
        .await
        .unwrap_or_else(|_| panic!("{name} goes on after {PATIENCE:?}"))
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{name}: {out}{err}");
    assert!(
        out.starts_with("file://") && out.ends_with("-icon.png\n"),
        "{name}: {out}{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_producer_gets_a_picture() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[("BULLMQ_QUEUE", "pictures")]).await;
    for (name, runs, tells) in PRODUCERS {
        let path = examples().join(name);
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST, "{name} has {lines} lines");
        let mut telling = command(tells, &stack);
        let is_here = telling.stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        if !is_here.is_ok_and(|status| status.success()) {
            println!("skipped, as its language or a library is not here: {name}");
            continue;
        }
        let mut words = runs.to_vec();
        words.push(path.to_str().unwrap());
        prints_an_address(name, command(&words, &stack)).await;
    }
    // Built beside the tests.
    let program = std::env::current_exe().unwrap();
    let rust = program.ancestors().nth(2).unwrap().join("examples/producer");
    prints_an_address("producer.rs", command(&[rust.to_str().unwrap()], &stack)).await;
}
