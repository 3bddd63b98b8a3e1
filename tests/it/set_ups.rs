//! Wrong set-ups: `check-config`, `doctor` and `run` end with the same status and say the same of each, before anything is bought,
//! and nothing stays behind. The rows stand in the files beside.

mod bench;
mod postgres;
mod redis_server;
mod settings;
mod store;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::harness::command::{Said, command_on};
use crate::harness::stack::{PATIENCE, Stack};
use bench::Bench;

/// One thing that is wrong, the status that all three end with, and what they say of it.
struct Wrong {
    made: Made,
    status: i32,
    /// The first one stands in the first line, each other one in any.
    said: &'static [&'static str],
}

/// How it comes to be wrong. `{redis}`, `{postgres}` and `{stranger}` are ports, and `{redis_url}` is the right one.
enum Made {
    /// By the first, in Postgres; the second one mends it.
    InPostgres(&'static str, &'static str),
    /// By the first, in Redis; the second ones mend it. The variables lead there.
    InRedis(&'static [Command], &'static [Command], Variables),
    /// By what is set.
    Set(Variables),
}

type Command = &'static [&'static str];
type Variables = &'static [(&'static str, &'static str)];

/// A row for something that has to be mended.
const fn set(variables: Variables, said: &'static [&'static str]) -> Wrong {
    Wrong {
        made: Made::Set(variables),
        status: 78,
        said,
    }
}

/// The same for a service that is away.
const fn away(variables: Variables, said: &'static [&'static str]) -> Wrong {
    Wrong {
        made: Made::Set(variables),
        status: 69,
        said,
    }
}

const fn in_postgres(made: &'static str, mended: &'static str, said: &'static [&'static str]) -> Wrong {
    Wrong {
        made: Made::InPostgres(made, mended),
        status: 78,
        said,
    }
}

const fn in_redis(
    made: &'static [Command],
    mended: &'static [Command],
    variables: Variables,
    said: &'static [&'static str],
) -> Wrong {
    Wrong {
        made: Made::InRedis(made, mended, variables),
        status: 78,
        said,
    }
}

/// What keeps a replica from starting, as a command has said it. Probes of the store have names of their own.
fn failures(said: &Said) -> Vec<String> {
    let of_doctor = |line: &str| line.strip_prefix("FAIL  ").map(|line| line[11..].to_owned());
    let of_others = |line: &str| line.strip_prefix("generative-ai-worker: ").map(str::to_owned);
    let lines = said.out.lines().filter_map(of_doctor);
    let all = lines.chain(said.err.lines().filter_map(of_others));
    all.map(|line| match line.split_once(".probe-") {
        Some((before, after)) => format!("{before}.probe-*{}", &after[36..]),
        None => line,
    })
    .collect()
}

/// Looks that the three say the same, and this.
pub(crate) async fn all_say(
    stack: &Stack,
    variables: &[(&str, &str)],
    what: &str,
    status: i32,
    expected: &[&str],
) {
    let asking = |arguments: &'static [&'static str]| async move {
        let said = tokio::time::timeout(PATIENCE, command_on(stack, arguments, variables)).await;
        let said = said.unwrap_or_else(|_| panic!("{arguments:?} has started with {what}"));
        let (out, err) = (&said.out, &said.err);
        assert_eq!(said.status, Some(status), "{arguments:?} with {what}: {out}{err}");
        failures(&said)
    };
    let (checked, diagnosed, ran) = tokio::join!(
        asking(&["check-config"]),
        asking(&["doctor", "--offline"]),
        asking(&["run"])
    );
    let first = checked
        .first()
        .unwrap_or_else(|| panic!("nothing is said of {what}"));
    assert!(
        first.contains(expected[0]),
        "{} is not the first that is said of {what}: {checked:#?}",
        expected[0]
    );
    for text in expected {
        let is_said = checked.iter().any(|failure| failure.contains(text));
        assert!(is_said, "{text} is not said of {what}: {checked:#?}");
    }
    assert_eq!(checked, diagnosed, "check-config and doctor, with {what}");
    assert_eq!(checked, ran, "check-config and run, with {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_set_up_is_told_alike_by_all_three_before_anything_is_bought() {
    let bench = Bench::start().await;
    bench.is_well_and_empty().await;
    let tables = [postgres::ROWS, redis_server::ROWS, store::ROWS, settings::ROWS];
    let (mut count, mut failed) = (0, 0);
    for table in tables {
        for wrong in table {
            count += 1;
            // What is wrong with one row is told beside what is wrong with others.
            let told = AssertUnwindSafe(bench.is_told(wrong)).catch_unwind().await;
            failed += usize::from(told.is_err());
            bench.mend(wrong).await;
        }
        bench.is_well_and_empty().await;
    }
    assert_eq!(failed, 0, "of {count} wrong set-ups");
    assert!(count >= 40, "{count} wrong set-ups");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_hold_every_text_is_found_by_all_three_and_not_migrated() {
    let stack = Stack::start().await;
    let make = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0";
    stack.sql_client().await.batch_execute(make).await.unwrap();
    let url = stack.postgres.url("latin");
    let variables = [("DATABASE_URL", url.as_str())];
    let expected = "the encoding LATIN1, which cannot hold every text";
    let migrated = command_on(&stack, &["migrate"], &variables).await;
    assert_eq!(migrated.status, Some(78), "{}", migrated.err);
    assert!(migrated.err.contains(expected), "{}", migrated.err);
    all_say(&stack, &variables, "LATIN1", 78, &[expected]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_all_services_and_of_the_provider_are_told_at_once() {
    let stack = Stack::start().await;
    let variables = [
        ("DATABASE_URL", "postgres://worker@127.0.0.1:1/app"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("STORAGE_URL", "/proc/pictures"),
        ("IMAGE_PROVIDER", "openai"),
        ("IMAGE_PROVIDER_FALLBACKS", "gemini"),
    ];
    let expected = [
        "REDIS_URL: Redis at 127.0.0.1:1 cannot be reached: ",
        "DATABASE_URL: Postgres cannot be reached: ",
        "STORAGE_URL",
        "IMAGE_PROVIDER: openai cannot be used: openai is not configured on this service: OPENAI_API_KEY is not set",
        "IMAGE_PROVIDER_FALLBACKS: gemini cannot be used: ",
    ];
    all_say(&stack, &variables, "all of it", 69, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_for_some_jobs_alone_is_a_warning() {
    let bench = Bench::start().await;
    bench.stack.job().await;
    let made = "ALTER TABLE ac_background_jobs ALTER COLUMN error TYPE varchar(255);
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''the year is closed''; END';
        CREATE TRIGGER no BEFORE UPDATE ON ac_background_jobs FOR EACH ROW EXECUTE FUNCTION no()";
    bench.stack.sql_client().await.batch_execute(made).await.unwrap();
    let mut variables: Vec<(&str, &str)> = bench
        .variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    variables.push((
        "ALLOWED_MODELS",
        "openai:gpt-image-2.6-flare,openai:gpt-image-1,builtin",
    ));
    let said = command_on(&bench.stack, &["check-config"], &variables).await;
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{}", said.out);
    for warning in [
        "DATABASE_URL: ac_background_jobs.error holds 255 characters, and the reason of a job that has failed takes up to 1000",
        "DATABASE_URL: this account could not show the end of a job for a try: Postgres refused the statement: the year is closed",
        "ALLOWED_MODELS: openai:gpt-image-1 was shut down on 2026-10-23; name ",
        "ALLOWED_MODELS: packages that name neither imageProvider nor imageModel will fail: openai:gpt-image-2 is not allowed",
    ] {
        let is_said = said.out.contains(&format!("warning: {warning}"));
        assert!(is_said, "{warning} is not said:\n{}", said.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_looks_leaves_no_directory_and_names_what_nobody_reads() {
    let stack = Stack::start().await;
    let pictures = stack.path("new/pictures");
    let variables = [
        ("STORAGE_URL", pictures.to_str().unwrap()),
        ("WORKER_CONCURENCY", "50"),
        ("WORKER_CONCURRENCY", "2"),
    ];
    let misspelled = "WORKER_CONCURENCY: nobody reads a variable of this name; did you mean WORKER_CONCURRENCY, which is set as well?";
    for arguments in [&["check-config"][..], &["doctor"]] {
        let said = command_on(&stack, arguments, &variables).await;
        assert_eq!(
            (said.status, &*said.err),
            (Some(0), ""),
            "{arguments:?}: {}",
            said.out
        );
        assert!(said.out.contains(misspelled), "{arguments:?}: {}", said.out);
        assert!(!stack.path("new").exists(), "{arguments:?}");
    }
    let replica = stack.replica(&variables).await;
    assert!(pictures.is_dir());
    drop(replica);
}
