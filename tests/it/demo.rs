//! The demo, run as somebody runs it who has just built it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use generative_ai_worker::imaging;
use redis::AsyncCommands;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::replica::{self, Replica};
use crate::harness::stack::PATIENCE;
use crate::harness::temporary_directory;

/// What a person's terminal has; the servers' data goes where no other demo's does.
#[expect(
    clippy::disallowed_methods,
    reason = "this is no setting, but what a terminal hands on to its programs"
)]
fn environment(servers: &TempDir) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> = ["PATH", "HOME"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect();
    variables.insert("TMPDIR".to_owned(), servers.path().to_str().unwrap().to_owned());
    variables
}

/// Ids of the processes that keep their data in this directory.
fn processes_in(directory: &Path) -> Vec<String> {
    let name = directory.to_str().unwrap();
    let processes = Path::new("/proc")
        .read_dir()
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    processes
        .filter(|process| {
            // Redis reads its settings from standard input and goes into its directory.
            let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
            let place = std::fs::read_link(process.join("cwd")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(name) || place.starts_with(directory)
        })
        .map(|process| process.display().to_string())
        .collect()
}

/// Package, job, status and result, from the table.
fn rows_of(printed: &str) -> Vec<(&str, &str, &str, &str)> {
    let table = printed.lines().skip_while(|line| !line.starts_with("  ─"));
    let rows = table.skip(1).take_while(|line| !line.is_empty());
    rows.map(|row| {
        let mut columns = row.trim().splitn(2, "  ").map(str::trim);
        let (package, rest) = (columns.next().unwrap(), columns.next().unwrap());
        let mut columns = rest.splitn(2, "  ").map(str::trim);
        let (job, rest) = (columns.next().unwrap(), columns.next().unwrap());
        let (status, result) = rest.split_once(' ').unwrap();
        (package, job, status, result.trim())
    })
    .collect()
}

#[tokio::test]
async fn the_demo_tells_what_becomes_of_five_packages_and_leaves_two_pictures() {
    let (home, servers) = (temporary_directory(), temporary_directory());
    let running = Command::new(replica::program())
        .arg("demo")
        .current_dir(home.path())
        .env_clear()
        .envs(environment(&servers))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*complaints), (Some(0), ""), "{printed}");

    let rows = rows_of(&printed);
    let told: Vec<_> = rows
        .iter()
        .map(|(package, job, status, _)| (*package, *job, *status))
        .collect();
    assert_eq!(
        told,
        [
            ("an icon", "1", "done"),
            ("a logo", "2", "done"),
            ("the same logo again", "2", "done"),
            ("an unknown type", "3", "failed"),
            ("broken JSON", "-", "refused"),
        ],
        "{printed}"
    );
    let result = |row: usize| rows[row].3;
    assert_eq!(
        result(1),
        result(2),
        "the repeated package has the picture of the first"
    );
    assert!(
        result(3).contains("Unknown type for workPackage: video"),
        "{printed}"
    );
    assert!(result(4).contains("not valid JSON"), "{printed}");

    let pictures: Vec<PathBuf> = [result(0), result(1)].map(PathBuf::from).into();
    for picture in &pictures {
        assert!(
            picture.starts_with(home.path().canonicalize().unwrap().join("demo-pictures")),
            "{printed}"
        );
    }
    let bytes: Vec<Vec<u8>> = pictures.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert_ne!(bytes[0], bytes[1]);
    let [icon, logo] = [0, 1].map(|picture| image::load_from_memory(&bytes[picture]).unwrap());
    assert!(icon.width() <= imaging::ICON_SIDE_PX && icon.height() <= imaging::ICON_SIDE_PX);
    assert!(logo.width() > imaging::ICON_SIDE_PX);
    assert_ne!(icon, logo);

    assert_eq!(processes_in(servers.path()), [""; 0], "servers are left");
    assert_eq!(
        servers.path().read_dir().unwrap().count(),
        0,
        "their data is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_kept_takes_more_packages_until_it_is_interrupted() {
    let (home, servers) = (temporary_directory(), temporary_directory());
    let pictures = home.path().join("pictures");
    let arguments = ["demo", "--keep", "--directory", pictures.to_str().unwrap()];
    let mut demo = Replica::start(&arguments, &environment(&servers), home.path().join("printed"));
    demo.said("Ctrl-C ends everything.").await;
    assert!(processes_in(servers.path()).len() >= 2, "Redis and Postgres run");
    let printed = demo.log();

    // The line to copy: redis-cli -u <URL> LPUSH <list> '<package>'
    let line = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix("redis-cli -u "))
        .unwrap();
    let (redis_url, line) = line.split_once(" LPUSH ").unwrap();
    let (list, package) = line.split_once(' ').unwrap();
    let package = package.trim_matches('\'');
    // Without a user, redis-cli sends an empty one, which Redis refuses.
    assert!(redis_url.starts_with("redis://default:"), "{redis_url}");
    let client = redis::Client::open(redis_url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: i64 = connection.lpush(list, package).await.unwrap();

    // And the other one: <variables> generative-ai-worker enqueue --wait --prompt "…"
    let line = printed
        .lines()
        .find(|line| line.contains(" enqueue --wait "))
        .unwrap();
    let (variables, _) = line.split_once(" generative-ai-worker ").unwrap();
    let variables: BTreeMap<String, String> = variables
        .split_whitespace()
        .map(|variable| variable.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect();
    let enqueued = replica::run(&["enqueue", "--wait", "--prompt", "a lighthouse"], &variables).await;
    let said = String::from_utf8(enqueued.stdout).unwrap();
    assert_eq!(enqueued.status.code(), Some(0), "{said}");

    let job_id = serde_json::from_str::<Value>(package).unwrap()["jobId"]
        .as_i64()
        .unwrap();
    let url = picture_of(&variables["DATABASE_URL"], i32::try_from(job_id).unwrap()).await;
    assert!(url.ends_with("-icon.png"), "{url}");
    image::load_from_memory(&std::fs::read(url.strip_prefix("file://").unwrap()).unwrap()).unwrap();

    demo.interrupt();
    assert!(demo.exit().await.success());
    assert!(
        demo.log().contains("Everything that was started has ended."),
        "{}",
        demo.log()
    );
    assert_eq!(processes_in(servers.path()), [""; 0], "servers are left");
}

/// Waits for the job's picture and returns its URL.
async fn picture_of(database_url: &str, job_id: i32) -> String {
    let (client, connection) = tokio_postgres::connect(database_url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let query = "SELECT data->>'imageUrl' FROM ac_background_jobs WHERE id = $1";
    let waiting = async {
        loop {
            let row = client.query_one(query, &[&job_id]).await.unwrap();
            if let Some(url) = row.get(0) {
                return url;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("the pushed package is done in time")
}
