//! The application's tables stay as they are.

use std::process::Output;

use crate::harness::stack::{PATIENCE, Stack, logo, with};

/// As the application makes its tables. `{dates}` is what its date columns say of null.
const APPLICATION: &str = r#"
CREATE TABLE "users" ("id" SERIAL, "name" VARCHAR(255), PRIMARY KEY ("id"));
CREATE TABLE IF NOT EXISTS "ac_background_jobs" (
  "id" SERIAL, "progress" INTEGER, "error" TEXT, "data" JSONB, "internal_data" JSONB,
  "created_at" TIMESTAMP WITH TIME ZONE {dates}, "updated_at" TIMESTAMP WITH TIME ZONE {dates},
  PRIMARY KEY ("id"));
CREATE TABLE IF NOT EXISTS "images" (
  "id" SERIAL, "name" VARCHAR(255), "description" TEXT, "license" VARCHAR(255), "cc_url" VARCHAR(255),
  "original_url" VARCHAR(255), "photographer_name" VARCHAR(255), "formats" TEXT,
  "original_filename" VARCHAR(255), "s3_bucket_name" VARCHAR(255),
  "ip_address" VARCHAR(255) NOT NULL, "user_agent" TEXT NOT NULL, "location" JSONB,
  "deleted" BOOLEAN NOT NULL DEFAULT false,
  "created_at" TIMESTAMP WITH TIME ZONE {dates}, "updated_at" TIMESTAMP WITH TIME ZONE {dates},
  "user_id" INTEGER REFERENCES "users" ("id") ON DELETE SET NULL ON UPDATE CASCADE,
  PRIMARY KEY ("id"));
CREATE INDEX "images_id_deleted" ON "images" ("id", "deleted");
CREATE INDEX "images_updated_at" ON "images" ("updated_at");
CREATE INDEX "images_created_at_deleted" ON "images" ("created_at", "deleted");
CREATE INDEX "images_idx_deleted" ON "images" ("deleted");
INSERT INTO "users" ("id", "name") VALUES (3, 'Ada'), (4, 'Grace');
INSERT INTO "ac_background_jobs" ("progress", "error", "data", "internal_data", "created_at", "updated_at") VALUES
  (5, 'Can''t generate image try again later', '{"a": [1, null]}', '{"b": {}}', '2020-01-01Z', '2020-01-02Z'),
  (NULL, NULL, NULL, NULL, '2020-01-01Z', '2020-01-02Z');
INSERT INTO "images" ("formats", "ip_address", "user_agent", "location", "deleted", "created_at", "updated_at", "user_id") VALUES
  ('["https://h/x.png"]', '127.0.0.1', 'AI worker', '{"c": 1}', true, '2020-01-01Z', '2020-01-02Z', 4);
-- An application may use the same tool for its own migrations.
CREATE TABLE "__diesel_schema_migrations" ("version" VARCHAR(50) PRIMARY KEY, "run_on" TIMESTAMP NOT NULL DEFAULT now());
INSERT INTO "__diesel_schema_migrations" VALUES ('20200101000000', '2020-01-01');
"#;

/// Everything in the application's schema: columns, indexes, constraints and the rows of each table.
const SHAPE: &str = "
    SELECT concat_ws(' ', 'column', table_name, ordinal_position, column_name, udt_name, character_maximum_length,
        is_nullable, column_default, is_identity) FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT concat_ws(' ', 'index', indexdef) FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', 'relation', relkind, relname, relowner::regrole)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', 'trigger', tgrelid::regclass, pg_get_triggerdef(oid)) FROM pg_trigger
        WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
    ORDER BY 1";
const ROWS: &str = "
    SELECT concat_ws(' ', 'user', to_jsonb(t)) FROM users AS t
    UNION ALL SELECT concat_ws(' ', 'job', to_jsonb(t)) FROM ac_background_jobs AS t
    UNION ALL SELECT concat_ws(' ', 'image', to_jsonb(t)) FROM images AS t
    UNION ALL SELECT concat_ws(' ', 'migration', to_jsonb(t)) FROM __diesel_schema_migrations AS t
    ORDER BY 1";

async fn texts(stack: &Stack, query: &str) -> Vec<String> {
    let rows = stack.sql(query, &[]).await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// A stack with the tables of an application that has been at work.
async fn application(dates: &str) -> Stack {
    let stack = Stack::start_without_tables().await;
    let ddl = APPLICATION.replace("{dates}", dates);
    stack.sql_client().await.batch_execute(&ddl).await.unwrap();
    stack
}

/// Runs a command that ends by itself: its exit status, and what it says on both channels.
async fn run(stack: &Stack, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ended = tokio::time::timeout(PATIENCE, stack.command(arguments, &[])).await;
    let Output {
        status,
        stdout,
        stderr,
    } = ended.expect("the command ends at once");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

const APPLIED: &str = "applied 2026-11-22-000001_application_tables\napplied 2026-11-22-000002_ledger\napplied 2026-11-25-000003_provider_calls\napplied 2026-11-25-000004_cancelled\napplied 2026-11-25-000005_dead_letters\napplied 2026-11-29-000006_image_of_a_job\napplied 2026-11-29-000007_which_job\napplied 2026-11-29-000008_queue_of_a_job\napplied 2026-11-29-000009_calls_outlive_jobs\napplied 2026-11-29-000010_ended_jobs\napplied 2026-11-29-000011_prompts_of_ended_jobs\napplied 2026-11-29-000012_joined_replies\napplied 2026-11-30-000013_ends_without_index\napplied 2026-11-30-000030_operator_actions\napplied 2026-11-30-000050_callbacks\napplied 2026-11-30-000070_addresses_of_pictures\napplied 2026-11-30-000080_budgets\napplied 2026-11-30-000090_traces\napplied 2026-11-30-000100_jobs_of_a_collection\napplied 2026-11-30-000101_calls_by_request\napplied 2026-11-30-000102_calls_by_handle\n";
const UP_TO_DATE: &str = "the database is up to date\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_of_an_application_keep_every_column_index_and_row() {
    for dates in ["NOT NULL", ""] {
        let stack = application(dates).await;
        let (shape, rows) = (texts(&stack, SHAPE).await, texts(&stack, ROWS).await);
        for expected in [APPLIED, UP_TO_DATE] {
            let done = run(&stack, &["migrate"]).await;
            assert_eq!(done, (Some(0), expected.to_owned(), String::new()));
            assert_eq!(texts(&stack, SHAPE).await, shape);
            assert_eq!(texts(&stack, ROWS).await, rows);
        }

        let _replica = stack.replica(&[]).await;
        let jobs = stack.jobs(3).await;
        stack.push(&with(logo(jobs[0]), "userId", 3)).await;
        stack.push(&with(logo(jobs[1]), "userId", 5)).await;
        stack.push(&logo(jobs[2])).await;
        // Rows of the application's own making, one of them with null everywhere, are worked on as well.
        for job_id in [1, 2] {
            stack.push(&logo(job_id)).await;
            let job = stack
                .until("the application's job has a picture", async || {
                    let job = stack.job_row(job_id).await;
                    job.data.get("imageId").is_some().then_some(job)
                })
                .await;
            assert_eq!((job.progress, job.error), (Some(100), None));
        }
        assert_eq!(stack.job_row(1).await.data["a"][0], 1);
        for (job_id, owner) in jobs.iter().zip([Some(3), None, None]) {
            let job = stack.ended(*job_id).await;
            assert_eq!((job.progress, &job.error), (Some(100), &None));
            let image_id = i32::try_from(job.data["imageId"].as_i64().unwrap()).unwrap();
            let query =
                "SELECT user_id, created_at IS NOT NULL AND updated_at IS NOT NULL FROM images WHERE id = $1";
            let image = stack.sql(query, &[&image_id]).await.remove(0);
            assert_eq!((image.get(0), image.get(1)), (owner, true));
        }
        assert_eq!(texts(&stack, SHAPE).await, shape);
        let rows_now = texts(&stack, ROWS).await;
        for row in rows.iter().filter(|row| !row.starts_with("job")) {
            assert!(rows_now.contains(row), "{row} is gone or changed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_lists_what_is_missing_and_changes_nothing() {
    let stack = application("NOT NULL").await;
    let everything = "SELECT format('%s.%s', relnamespace::regnamespace, relname) FROM pg_class
        UNION ALL SELECT nspname::text FROM pg_namespace ORDER BY 1";
    let (before, rows) = (texts(&stack, everything).await, texts(&stack, ROWS).await);
    let would_apply = APPLIED.replace("applied", "would apply");
    for _ in 0..2 {
        let done = run(&stack, &["migrate", "--dry-run"]).await;
        assert_eq!(done, (Some(0), would_apply.clone(), String::new()));
    }
    assert_eq!(texts(&stack, everything).await, before);
    assert_eq!(texts(&stack, ROWS).await, rows);
    assert_eq!(run(&stack, &["migrate"]).await.1, APPLIED);
    assert_eq!(run(&stack, &["migrate", "--dry-run"]).await.1, UP_TO_DATE);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_that_start_together_apply_each_step_once() {
    let stack = Stack::start_without_tables().await;
    let migrate = || run(&stack, &["migrate"]);
    let (a, b, c, d) = tokio::join!(migrate(), migrate(), migrate(), migrate());
    let mut said = Vec::new();
    // On standard error one may have said that it waits for another.
    for (status, stdout, _) in [a, b, c, d] {
        assert_eq!(status, Some(0));
        said.push(stdout);
    }
    said.sort();
    assert_eq!(said, [APPLIED, UP_TO_DATE, UP_TO_DATE, UP_TO_DATE]);
    assert_eq!(
        stack
            .count("SELECT count(*) FROM generative_ai.installation")
            .await,
        1
    );
}

const NEWER: &str =
    "INSERT INTO generative_ai.__diesel_schema_migrations (version) VALUES ('29991231000000')";

#[tokio::test(flavor = "multi_thread")]
async fn a_database_to_which_a_newer_version_has_only_added_is_worked_with() {
    let stack = Stack::start().await;
    stack.sql(NEWER, &[]).await;
    let add = "ALTER TABLE generative_ai.jobs ADD COLUMN added text NOT NULL DEFAULT ''";
    stack.sql(add, &[]).await;
    assert_eq!(run(&stack, &["migrate"]).await.0, Some(0));
    let replica = stack.replica(&[]).await;
    let jobs = stack.push_logos(2).await;
    stack.all_done_once(&jobs).await;
    let warning = "the database has migration 29991231000000, of a newer version of the worker";
    assert_eq!(replica.times_said(warning), 1, "{}", replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_newer_than_the_program_is_refused() {
    let stack = Stack::start().await;
    stack.sql(NEWER, &[]).await;
    let needs = "UPDATE generative_ai.installation SET needs_migration = '29991231000000'";
    stack.sql(needs, &[]).await;
    let refused = "the database has migration 29991231000000, which this version of the worker does not know; use the \
        newer version\n";
    for (arguments, variable) in [
        (&["run"][..], "DATABASE_URL: "),
        (&["migrate"], ""),
        (&["migrate", "--dry-run"], ""),
    ] {
        let (status, out, err) = run(&stack, arguments).await;
        assert_eq!((status, &*out), (Some(78), ""), "{arguments:?}");
        let line = format!("generative-ai-worker: {variable}{refused}");
        assert!(err.ends_with(&line), "{arguments:?}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_can_be_undone_and_done_again_beside_the_applications_tables() {
    let stack = application("NOT NULL").await;
    let (shape, rows) = (texts(&stack, SHAPE).await, texts(&stack, ROWS).await);
    let own = "SELECT format('%s %s %s', table_name, column_name, data_type) FROM information_schema.columns
        WHERE table_schema = 'generative_ai' ORDER BY 1";
    assert_eq!(run(&stack, &["migrate"]).await.1, APPLIED);
    let made = texts(&stack, own).await;
    let down = [
        include_str!("../../migrations/2026-11-30-000102_calls_by_handle/down.sql"),
        include_str!("../../migrations/2026-11-30-000101_calls_by_request/down.sql"),
        include_str!("../../migrations/2026-11-30-000100_jobs_of_a_collection/down.sql"),
        include_str!("../../migrations/2026-11-30-000090_traces/down.sql"),
        include_str!("../../migrations/2026-11-30-000080_budgets/down.sql"),
        include_str!("../../migrations/2026-11-30-000070_addresses_of_pictures/down.sql"),
        include_str!("../../migrations/2026-11-30-000050_callbacks/down.sql"),
        include_str!("../../migrations/2026-11-30-000030_operator_actions/down.sql"),
        include_str!("../../migrations/2026-11-30-000013_ends_without_index/down.sql"),
        include_str!("../../migrations/2026-11-29-000012_joined_replies/down.sql"),
        include_str!("../../migrations/2026-11-29-000011_prompts_of_ended_jobs/down.sql"),
        include_str!("../../migrations/2026-11-29-000010_ended_jobs/down.sql"),
        include_str!("../../migrations/2026-11-29-000009_calls_outlive_jobs/down.sql"),
        include_str!("../../migrations/2026-11-29-000008_queue_of_a_job/down.sql"),
        include_str!("../../migrations/2026-11-29-000007_which_job/down.sql"),
        include_str!("../../migrations/2026-11-29-000006_image_of_a_job/down.sql"),
        include_str!("../../migrations/2026-11-25-000005_dead_letters/down.sql"),
        include_str!("../../migrations/2026-11-25-000004_cancelled/down.sql"),
        include_str!("../../migrations/2026-11-25-000003_provider_calls/down.sql"),
        include_str!("../../migrations/2026-11-22-000002_ledger/down.sql"),
        include_str!("../../migrations/2026-11-22-000001_application_tables/down.sql"),
        "DELETE FROM generative_ai.__diesel_schema_migrations",
    ]
    .join(";");
    stack.sql_client().await.batch_execute(&down).await.unwrap();
    let tables = texts(
        &stack,
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'generative_ai'",
    )
    .await;
    assert_eq!(tables, ["__diesel_schema_migrations"]);
    assert_eq!(texts(&stack, SHAPE).await, shape);

    assert_eq!(run(&stack, &["migrate"]).await.1, APPLIED);
    assert_eq!(texts(&stack, own).await, made);
    assert_eq!(texts(&stack, SHAPE).await, shape);
    assert_eq!(texts(&stack, ROWS).await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_emptied_is_brought_up_to_date_again() {
    let stack = application("NOT NULL").await;
    assert_eq!(run(&stack, &["migrate"]).await.1, APPLIED);
    let own = SHAPE.replace("'public'", "'generative_ai'");
    let rows = "SELECT to_jsonb(t)::text FROM generative_ai.installation AS t
        UNION ALL SELECT to_jsonb(t)::text FROM generative_ai.jobs AS t ORDER BY 1";
    // A state that only the latest of them allow.
    let cancelled =
        "INSERT INTO generative_ai.jobs (job_id, state, package, calls) VALUES (1, 'cancelled', '{}', 2)";
    stack.sql(cancelled, &[]).await;
    let (shape, rows_before) = (texts(&stack, &own).await, texts(&stack, rows).await);

    // Only the list of what was applied, then all tables of ours.
    stack
        .sql("TRUNCATE generative_ai.__diesel_schema_migrations", &[])
        .await;
    assert_eq!(
        run(&stack, &["migrate"]).await,
        (Some(0), APPLIED.to_owned(), String::new())
    );
    assert_eq!(texts(&stack, &own).await, shape);
    assert_eq!(texts(&stack, rows).await, rows_before);
    let emptied =
        "TRUNCATE generative_ai.__diesel_schema_migrations, generative_ai.installation, generative_ai.jobs,
        generative_ai.provider_calls, generative_ai.dead_packages";
    stack.sql(emptied, &[]).await;
    assert_eq!(run(&stack, &["migrate"]).await.1, APPLIED);
    assert_eq!(texts(&stack, &own).await, shape);
    let _replica = stack.replica(&[]).await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    assert!(stack.ended(job_id).await.data.get("imageId").is_some());
}

const OTHER: &str = "SET application_name = 'other'; BEGIN;";

#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_whose_migrations_it_waits_for_and_waits_for_nobody_when_none_is_pending() {
    let stack = Stack::start_without_tables().await;
    let other = stack.sql_client().await;
    // "gen_ai_w"
    let lock = format!("{OTHER} SELECT pg_advisory_xact_lock(x'67656e5f61695f77'::bigint)");
    other.batch_execute(&lock).await.unwrap();
    let replica = stack.starting_replica(&[]);
    replica.said("waiting for migrations of process").await;
    assert!(replica.log().contains("(other, user "), "{}", replica.log());
    assert_eq!(
        texts(
            &stack,
            "SELECT nspname::text FROM pg_namespace WHERE nspname = 'generative_ai'"
        )
        .await
        .len(),
        0
    );
    other.batch_execute("COMMIT").await.unwrap();
    replica.said("waiting for packages").await;

    other.batch_execute(&lock).await.unwrap();
    let done = run(&stack, &["migrate"]).await;
    assert_eq!(done, (Some(0), UP_TO_DATE.to_owned(), String::new()));
    let second = stack.replica(&[]).await;
    assert_eq!(second.times_said("waiting for migrations"), 0);
}

/// The last step is to be applied once more, while somebody reads the table that it changes.
async fn with_a_reader() -> (Stack, tokio_postgres::Client) {
    let stack = Stack::start().await;
    let forget = "DELETE FROM generative_ai.__diesel_schema_migrations WHERE version = '20261129000007'";
    stack.sql(forget, &[]).await;
    let reader = stack.sql_client().await;
    let read = format!("{OTHER} SELECT count(*) FROM generative_ai.jobs");
    reader.batch_execute(&read).await.unwrap();
    (stack, reader)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_goes_on_when_a_table_is_free_again_and_says_for_whom_it_waits() {
    let (stack, reader) = with_a_reader().await;
    let replica = stack.starting_replica(&[]);
    replica
        .said("a migration waits for tables that are locked by process")
        .await;
    assert!(replica.log().contains("(other, user "), "{}", replica.log());
    // Whoever comes after it in the line is held up for a second at the most.
    stack.count("SELECT count(*) FROM generative_ai.jobs").await;
    reader.batch_execute("COMMIT").await.unwrap();
    replica.said("waiting for packages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_cannot_get_at_a_table_gives_up_and_says_who_has_it() {
    let (stack, _reader) = with_a_reader().await;
    let (status, stdout, stderr) = run(&stack, &["migrate"]).await;
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    let said = stderr.lines().last().unwrap();
    let start = "generative-ai-worker: the migration 2026-11-29-000007_which_job has changed nothing: for 20 s process ";
    assert!(said.starts_with(start), "{stderr}");
    assert!(said.contains("(other, user "), "{stderr}");
    assert!(
        said.ends_with(
            "kept it from its tables; end that transaction and migrate again: Postgres: canceling statement due to lock timeout"
        ),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_leave_neither_locks_nor_settings_to_whoever_gets_their_connection_next() {
    let stack = Stack::start_without_tables().await;
    let log = "ALTER SYSTEM SET log_statement = 'all'";
    stack.sql(log, &[]).await;
    stack.sql("SELECT pg_reload_conf()", &[]).await;
    stack
        .until("statements are logged", async || {
            let rows = stack.sql("SHOW log_statement", &[]).await;
            (rows[0].get::<_, &str>(0) == "all").then_some(())
        })
        .await;
    assert_eq!(run(&stack, &["migrate"]).await.0, Some(0));
    let log = std::fs::read_to_string(stack.path("postgres").join("postgres.log")).unwrap();
    assert!(log.contains("pg_try_advisory_xact_lock"), "{log}");
    for lasting in [
        "pg_advisory_lock",
        "pg_try_advisory_lock",
        "', false)",
        "SET SESSION",
        "SET search_path",
        "SET lock_timeout",
    ] {
        assert!(!log.contains(lasting), "{lasting} in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_a_killed_migration_has_left_half_made_is_made_again() {
    let stack = Stack::start().await;
    let half_made = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'generative_ai.jobs_with_prompts'::regclass";
    stack.sql(half_made, &[]).await;
    let forget = "DELETE FROM generative_ai.__diesel_schema_migrations WHERE version = '20261129000011'";
    stack.sql(forget, &[]).await;
    let applied = "applied 2026-11-29-000011_prompts_of_ended_jobs\n";
    assert_eq!(
        run(&stack, &["migrate"]).await,
        (Some(0), applied.to_owned(), String::new())
    );
    let valid = "SELECT count(*) FROM pg_index WHERE indexrelid = 'generative_ai.jobs_with_prompts'::regclass AND indisvalid";
    assert_eq!(stack.count(valid).await, 1);
}

/// Replicas go on while an index of a large table is made: it waits for what was begun before, and nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_made_beside_the_work_of_replicas() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let forget = "DROP INDEX generative_ai.jobs_with_prompts";
    stack.sql(forget, &[]).await;
    let forget = "DELETE FROM generative_ai.__diesel_schema_migrations WHERE version = '20261129000011'";
    stack.sql(forget, &[]).await;
    let writer = stack.sql_client().await;
    let write = format!("{OTHER} UPDATE generative_ai.jobs SET deliveries = 1 WHERE job_id = 0");
    writer.batch_execute(&write).await.unwrap();
    let second = stack.starting_replica(&[]);
    second
        .said("a migration waits for tables that are locked by process")
        .await;
    let jobs = stack.push_logos(20).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(second.times_said("waiting for packages"), 0);
    writer.batch_execute("COMMIT").await.unwrap();
    second.said("waiting for packages").await;
    drop(replica);
}
