//! Many replicas cost Redis and Postgres no more for a job than a few: `make many` for fifty and a hundred thousand packages,
//! here for fewer.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::AsyncCommands;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::aftermath::key;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::stack::{QUEUE, Stack, logo, with};

const FEW: usize = 3;
/// Counts say little of a machine, so neither has to be large.
const REPLICAS: usize = 12;
const PACKAGES: usize = 3_000;
/// Of each replica, whether there are few or many: what is claimed, begun and recorded together depends on it.
const SLOTS: usize = 16;
/// Longer than a hundred thousand packages take.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// Calls that the limited provider takes within a minute.
const LIMIT: usize = 30;
/// So much more a job may cost.
const MORE: f64 = 1.2;

/// What `make many` asks for instead.
#[expect(
    clippy::disallowed_methods,
    reason = "it is asked of the tests, not of the worker"
)]
fn asked(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// What has been asked of the servers, for each package.
#[derive(Debug)]
struct Cost {
    commands: f64,
    statements: f64,
}

/// Commands that Redis has run, those within scripts included, by name.
async fn commands(stack: &Stack) -> BTreeMap<String, u64> {
    let statistics: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut stack.redis().await)
        .await
        .unwrap();
    let count = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    statistics.lines().filter_map(count).collect()
}

/// Statements that Postgres has committed: each is a transaction of its own. Sessions tell of theirs a second late.
async fn statements(sql: &tokio_postgres::Client) -> i64 {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let committed =
        "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    sql.query_one(committed, &[]).await.unwrap().get(0)
}

/// Has as many packages worked on, for three providers of which one is shut and one takes a few calls a minute.
async fn cost_with(replicas: usize, packages: usize) -> Cost {
    let stack = Stack::start_for(replicas * 12 + 20).await;
    let (well, limited) = (
        OpenAi::start(small_picture()).await,
        OpenAi::start(small_picture()).await,
    );
    let slow_down = json!({"message": "slow down", "code": "rate_limit_exceeded"});
    let shut = OpenAi::start(Reply::Error(429, slow_down, vec![("retry-after", "600")])).await;
    well.delay(Duration::from_millis(100));
    let url = |fake: &OpenAi| format!("http://127.0.0.1:{}/v1", fake.port());
    let (well_url, limited_url, shut_url) = (url(&well), url(&limited), url(&shut));
    let (slots, limit) = (SLOTS.to_string(), format!("openai:{LIMIT}/min"));
    let variables = [
        ("WORKER_CONCURRENCY", slots.as_str()),
        ("OPENAI_COMPATIBLE_BASE_URL", &well_url),
        ("OPENAI_COMPATIBLE_MODEL", "any"),
        ("OPENAI_API_KEY", "sk-1"),
        ("OPENAI_BASE_URL", &limited_url),
        ("AZURE_OPENAI_API_BASE", &shut_url),
        ("AZURE_OPENAI_API_KEY", "sk-2"),
        ("AZURE_OPENAI_API_DALLE_DEPLOYMENT_NAME", "gpt-image-2"),
        ("IMAGE_PROVIDER_LIMITS", &limit),
        ("STORAGE_URL", "memory://"),
        ("RUST_LOG", "warn,generative_ai_worker::worker::lifecycle=info"),
        // As by default: what is done by the clock is to be as often as in production.
        ("LEASE_TTL", "15s"),
        ("PING_INTERVAL", "5s"),
    ];
    let all: Vec<_> = (0..replicas)
        .map(|_| stack.starting_replica(&variables))
        .collect();
    for replica in &all {
        replica.said("waiting for packages").await;
    }
    let sql = stack.sql_client().await;
    // Until connections are open, and it is known who is shut.
    let warm_up = replicas * SLOTS * 3;
    let jobs = stack.jobs((warm_up + 1).try_into().unwrap()).await;
    stack.push_to("azureOpenai", &jobs[..1]).await;
    stack.push_to("openaiCompatible", &jobs[1..]).await;
    stack.done(warm_up.try_into().unwrap()).await;
    stack.until_key("parked:azureOpenai", true).await;

    let before = statements(&sql).await;
    let mut redis = stack.redis().await;
    redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .query_async::<()>(&mut redis)
        .await
        .unwrap();
    let jobs = stack.jobs(packages.try_into().unwrap()).await;
    let providers = ["openaiCompatible", "openai", "azureOpenai"];
    let package =
        |(job_id, provider): (&i32, &&str)| with(logo(*job_id), "imageProvider", *provider).to_string();
    let all_packages: Vec<String> = jobs.iter().zip(providers.iter().cycle()).map(package).collect();
    let (begun, mut looks) = (Instant::now(), 0);
    for chunk in all_packages.chunks(1_000) {
        let _: i64 = redis.lpush(QUEUE, chunk).await.unwrap();
    }
    let third = packages / 3;
    loop {
        assert!(begun.elapsed() < PATIENCE, "the packages take too long");
        let done: i64 = sql
            .query_one("SELECT count(*) FROM images", &[])
            .await
            .unwrap()
            .get(0);
        looks += 1;
        let parked: usize = redis.llen(key("parked:azureOpenai")).await.unwrap();
        if done >= i64::try_from(warm_up + third + LIMIT).unwrap() && parked > third {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let commands = commands(&stack).await;
    let statements = statements(&sql).await - before - looks;
    eprintln!("{replicas} replicas: {statements} statements; {commands:?}");
    assert_eq!(well.bills(), warm_up + third, "each picture is bought once");
    let minutes = usize::try_from(begun.elapsed().as_secs() / 60).unwrap() + 1;
    let billed = limited.bills();
    assert!(
        (LIMIT..=LIMIT * minutes).contains(&billed),
        "no more a minute than are allowed: {billed} in {minutes}"
    );
    let total: u64 = commands.values().sum();
    Cost {
        commands: total as f64 / packages as f64,
        statements: statements as f64 / packages as f64,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_replicas_cost_redis_and_postgres_no_more_for_a_job_than_few() {
    let replicas = asked("MANY_REPLICAS", REPLICAS);
    let packages = asked("MANY_PACKAGES", PACKAGES) / 3 * 3;
    let few = cost_with(FEW, packages).await;
    let many = cost_with(replicas, packages).await;
    eprintln!("{FEW} replicas: {few:?}; {replicas}: {many:?}");
    assert!(many.commands <= few.commands * MORE, "{few:?}, {many:?}");
    assert!(many.statements <= few.statements * MORE, "{few:?}, {many:?}");
}
