//! Whatever bytes producers push: no replica stumbles, nothing is written or asked where it must not be, and each package ends with a
//! reason.

mod made;

use std::collections::{BTreeMap, HashSet};

use redis::AsyncCommands;

use crate::harness::aftermath::key;
use crate::harness::files_below;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::receiver::Receiver;
use crate::harness::stack::{QUEUE, Stack};
use made::{Traps, hostile_package};

const PACKAGES: usize = 10_000;
/// The same packages each time.
const SEED: u64 = 20_261_130;

/// What must be as it was afterwards: the key of another service, one of this service's own, and a reply list that is none.
async fn sentinels(stack: &Stack) -> Vec<Option<String>> {
    let mut redis = stack.redis().await;
    let mut found = Vec::new();
    for name in ["other", "bull:other:wait"] {
        let value: Option<String> = redis.lindex(name, 0).await.unwrap();
        let length: i64 = redis.llen(name).await.unwrap();
        assert_eq!(length, 1, "{name}");
        found.push(value);
    }
    let value: Option<String> = redis.get(key("reply:a-text")).await.unwrap();
    found.push(value);
    found
}

/// Keys that do not belong to the queue.
async fn foreign_keys(stack: &Stack) -> Vec<String> {
    let keys: Vec<Vec<u8>> = stack.redis().await.keys("*").await.unwrap();
    let own = format!("{{{QUEUE}}}:");
    let mut foreign: Vec<String> = keys
        .iter()
        .map(|key| String::from_utf8_lossy(key).into_owned())
        .filter(|key| key != QUEUE && !key.starts_with(&own))
        .collect();
    foreign.sort();
    foreign
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_hostile_packages_each_end_with_a_reason_and_touch_nothing_else() {
    let stack = Stack::start().await;
    let (allowed, refused, proxy) = (
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    );
    let openai = OpenAi::start(small_picture()).await;
    let mut redis = stack.redis().await;
    for name in ["other", "bull:other:wait"] {
        let _: i64 = redis.lpush(name, "mine").await.unwrap();
    }
    let _: () = redis.set(key("reply:a-text"), "mine").await.unwrap();
    // The store is a folder within the folder that is looked at.
    let store = stack.pictures.path().join("store");
    std::fs::write(stack.pictures.path().join("beside"), "mine").unwrap();

    let own = openai.variables();
    let mut variables: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    let callbacks = allowed.variables();
    variables.extend(callbacks.iter().map(|(name, value)| (&**name, &**value)));
    // Whatever is to leave this machine goes there, so that nothing leaves it.
    let trap = proxy.url("");
    variables.extend([
        ("HTTP_PROXY", trap.as_str()),
        ("HTTPS_PROXY", trap.as_str()),
        ("STORAGE_URL", store.to_str().unwrap()),
        ("IMAGE_PROVIDER", "blank"),
        ("WORKER_CONCURRENCY", "50"),
        ("MAX_ATTEMPTS", "1"),
        ("DEAD_LETTER_MAX", "20000"),
    ]);
    let mut replica = stack.replica(&variables).await;

    let jobs = stack.jobs(i32::try_from(PACKAGES).unwrap()).await;
    let traps = Traps {
        allowed: allowed.url(""),
        refused: refused.url(""),
    };
    let packages: Vec<Vec<u8>> = jobs
        .iter()
        .zip(SEED..)
        .map(|(job_id, seed)| hostile_package(*job_id, seed, &traps))
        .collect();
    for some in packages.chunks(500) {
        let _: i64 = redis.lpush(QUEUE, some).await.unwrap();
    }
    // As long as they take, a thousand after the other.
    for left in (0..PACKAGES / 1_000).rev() {
        let waiting = async || {
            let waiting: usize = stack.redis().await.llen(QUEUE).await.unwrap();
            (waiting <= left * 1_000).then_some(())
        };
        stack
            .until(&format!("{left} thousand packages wait"), waiting)
            .await;
    }
    stack.idle().await;

    let rows = stack
        .sql("SELECT payload, reason FROM generative_ai.dead_packages", &[])
        .await;
    let mut reasons: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    for row in rows {
        let (payload, reason): (Vec<u8>, String) = (row.get(0), row.get(1));
        assert!(reason.len() > 20 && !reason.contains('\n'), "{reason}");
        reasons.insert(payload, reason);
    }
    let rows = stack
        .sql(
            "SELECT id FROM ac_background_jobs WHERE progress = 100 AND error IS NULL",
            &[],
        )
        .await;
    let done: HashSet<i32> = rows.iter().map(|row| row.get(0)).collect();
    let mut refusals = 0;
    for (job_id, package) in jobs.iter().zip(&packages) {
        let reason = reasons.get(package);
        refusals += usize::from(reason.is_some());
        // One may name the job of another, which is done.
        let is_ended = reason.is_some()
            || done.contains(job_id)
            || made::job_of(package).is_some_and(|id| done.contains(&id));
        assert!(is_ended, "job {job_id} has no end: {}", package.escape_ascii());
    }
    println!("{refusals} were refused, {} jobs are done", done.len());
    assert!(
        refusals > PACKAGES / 2 && done.len() > PACKAGES / 20,
        "{refusals} refused, {} done",
        done.len()
    );

    assert_eq!(replica.times_said("panicked"), 0);
    assert_eq!(replica.times_said("stumbled"), 0);
    replica.terminate();
    assert!(replica.exit().await.success(), "it has lived through all of it");

    assert_eq!(foreign_keys(&stack).await, ["bull:other:wait", "other"]);
    assert_eq!(sentinels(&stack).await, vec![Some("mine".to_owned()); 3]);
    let mut outside = files_below(stack.pictures.path());
    outside.retain(|path, _| !made::is_object("store/", path));
    let names: Vec<&String> = outside.keys().collect();
    assert_eq!(names, ["beside"], "written where no picture belongs");
    // Each of these has an address here, in one notation or another.
    assert_eq!(refused.count().await, 0, "a refused host was asked");
    assert_eq!(proxy.count().await, 0, "something was to leave this machine");
    assert_eq!(
        openai.calls().len(),
        0,
        "pictures that are not public were sent away"
    );
}
