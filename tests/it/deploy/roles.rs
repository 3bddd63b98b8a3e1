//! `deploy/postgres/roles.sql`: in whichever order it is run, and with no right that is not needed.

use generative_ai_worker::db::{self, DbSettings};
use secrecy::SecretString;

use super::live;
use crate::harness::command::command_on;
use crate::harness::page::Page;
use crate::harness::stack::{Stack, logo, with};

const ROLES: &str = include_str!("../../../deploy/postgres/roles.sql");
/// As an application makes them.
const TABLES: &str = include_str!("../../../migrations/2026-11-22-000001_application_tables/up.sql");

async fn run_sql(stack: &Stack, sql: &str) {
    stack.sql_client().await.batch_execute(sql).await.unwrap();
}

/// Runs the file, and gives the roles a password.
async fn roles(stack: &Stack) {
    run_sql(stack, ROLES).await;
    for role in ["migrator", "worker", "operator"] {
        run_sql(
            stack,
            &format!("ALTER ROLE generative_ai_{role} PASSWORD 'change-me'"),
        )
        .await;
    }
}

fn url(stack: &Stack, role: &str) -> String {
    let port = stack.postgres.port();
    format!("postgres://generative_ai_{role}:change-me@127.0.0.1:{port}/postgres?sslmode=disable")
}

async fn migrate(stack: &Stack) {
    let settings = DbSettings {
        url: SecretString::from(url(stack, "migrator")),
        pool_size: 1,
    };
    db::migrate(&settings).await.unwrap();
}

/// A stack with the application's tables, the roles and a migrated database.
async fn ready() -> Stack {
    let stack = Stack::start_without_tables().await;
    run_sql(&stack, TABLES).await;
    roles(&stack).await;
    migrate(&stack).await;
    stack
}

async fn is_denied(stack: &Stack, role: &str, harm: &str) {
    let (client, connection) = tokio_postgres::connect(&url(stack, role), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let error = client.batch_execute(harm).await.expect_err(harm);
    let state = error.code().map(tokio_postgres::error::SqlState::code);
    assert_eq!(state, Some("42501"), "{role}: {harm}: {error}");
}

const HARM: &[&str] = &[
    "DELETE FROM ac_background_jobs",
    "DELETE FROM images",
    "UPDATE images SET formats = '[]'",
    "UPDATE ac_background_jobs SET internal_data = NULL",
    "SELECT internal_data FROM ac_background_jobs",
    "SELECT * FROM ac_background_jobs",
    "SELECT ip_address FROM images",
    "SELECT description FROM images",
    "INSERT INTO images (name, ip_address, user_agent, created_at, updated_at) VALUES ('x', '', '', now(), now())",
    "UPDATE generative_ai.installation SET key_namespace = gen_random_uuid()",
    "DELETE FROM generative_ai.installation",
    "INSERT INTO generative_ai.__diesel_schema_migrations (version) VALUES ('x')",
    "DELETE FROM generative_ai.__diesel_schema_migrations",
    "DROP TABLE generative_ai.jobs",
    "ALTER TABLE ac_background_jobs ADD COLUMN x integer",
    "CREATE TABLE generative_ai.x ()",
    "CREATE TABLE public.x ()",
    "SELECT generative_ai.grant_rights()",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_and_its_commands_need_no_more_of_postgres_than_their_roles_may() {
    let stack = ready().await;
    roles(&stack).await;
    let (worker, operator) = (url(&stack, "worker"), url(&stack, "operator"));
    live(
        &stack,
        &[("DATABASE_URL", &worker)],
        &[("DATABASE_URL", &operator)],
    )
    .await;
    for harm in HARM {
        is_denied(&stack, "worker", harm).await;
        is_denied(&stack, "operator", harm).await;
    }
    // Pictures are deleted by replicas, for packages.
    is_denied(&stack, "operator", "UPDATE images SET deleted = true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_may_be_there_before_the_tables() {
    let stack = Stack::start_without_tables().await;
    roles(&stack).await;
    migrate(&stack).await;
    let worker = url(&stack, "worker");
    let replica = stack.replica(&[("DATABASE_URL", &worker)]).await;
    let jobs = stack.push_logos(3).await;
    stack.all_done_once(&jobs).await;
    for harm in HARM {
        is_denied(&stack, "worker", harm).await;
    }
    drop(replica);
    // Once the tables are there, nothing is to be made any more.
    roles(&stack).await;
    is_denied(&stack, "migrator", "CREATE TABLE public.x ()").await;
}

/// What Postgres has refused to anybody so far, a line each.
fn denials(stack: &Stack) -> usize {
    let log = std::fs::read_to_string(stack.path("postgres").join("postgres.log")).unwrap();
    log.lines()
        .filter(|line| line.contains("permission denied for"))
        .count()
}

/// Each right of a column is taken away from a replica that works, and the next jobs need it.
#[tokio::test(flavor = "multi_thread")]
async fn every_right_of_a_column_is_needed() {
    let stack = ready().await;
    let worker = url(&stack, "worker");
    let replica = stack
        .replica(&[
            ("DATABASE_URL", &*worker),
            ("RECONCILE_INTERVAL", "1s"),
            ("DASHBOARD_ADDR", "127.0.0.1:0"),
        ])
        .await;
    let page = Page::of(&replica).await;
    let granted = stack
        .sql(
            "SELECT privilege_type::text, column_name::text, table_name::text FROM information_schema.column_privileges
             WHERE grantee = 'generative_ai_worker' AND table_schema = 'public' ORDER BY 3, 1, 2",
            &[],
        )
        .await;
    assert_eq!(granted.len(), 25, "as many as roles.sql grants");
    for row in granted {
        let (right, column, table): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let what = format!("{right} ({column}) ON {table}");
        let drawn = stack.push_logos(1).await[0];
        let image_id = stack.ended(drawn).await.data["imageId"].clone();
        let before = denials(&stack);
        run_sql(&stack, &format!("REVOKE {what} FROM generative_ai_worker")).await;
        let jobs = stack.jobs(3).await;
        stack.push(&logo(jobs[0])).await;
        stack.push(&with(logo(jobs[1]), "imageSize", "1x1")).await;
        let deletion = serde_json::json!({"type": "delete-image", "jobId": jobs[2], "imageId": image_id});
        stack.push(&deletion).await;
        let needed = stack
            .until(&format!("{what} is missed, or not needed"), async || {
                page.get(&format!("/jobs/{}", jobs[0])).await;
                if denials(&stack) > before {
                    return Some(true);
                }
                let (done, failed) = (stack.job_row(jobs[0]).await, stack.job_row(jobs[1]).await);
                let deleted = stack.job_row(jobs[2]).await;
                let have_ended = done.data.get("imageId").is_some()
                    && failed.error.is_some()
                    && (deleted.progress == Some(100) || deleted.error.is_some());
                // What was refused since the look above has ended a job too.
                have_ended.then(|| denials(&stack) > before)
            })
            .await;
        assert!(needed, "{what} is not needed");
        run_sql(&stack, "SELECT generative_ai.grant_rights()").await;
        stack.idle().await;
    }
    let last = stack.push_logos(1).await[0];
    assert_eq!(
        stack.ended(last).await.error,
        None,
        "it works with all of them again"
    );
    drop(replica);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_fit_a_schema_with_capitals_as_the_file_says() {
    let stack = Stack::start_without_tables().await;
    run_sql(&stack, "CREATE SCHEMA \"App\"").await;
    run_sql(&stack, &format!("SET search_path = \"App\"; {TABLES}")).await;
    run_sql(&stack, &ROLES.replace("public", "\"App\"")).await;
    for role in ["migrator", "worker", "operator"] {
        let role = format!("generative_ai_{role}");
        run_sql(
            &stack,
            &format!("ALTER ROLE {role} PASSWORD 'change-me'; ALTER ROLE {role} SET search_path = \"App\""),
        )
        .await;
    }
    migrate(&stack).await;
    let url = url(&stack, "worker");
    let said = command_on(&stack, &["check-config"], &[("DATABASE_URL", url.as_str())]).await;
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{}", said.out);
}
