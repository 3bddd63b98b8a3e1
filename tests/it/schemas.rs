//! The application's tables may stand in any schema, and are never made a second time beside themselves.

use secrecy::SecretString;

use crate::harness::command::{Said, command_on};
use crate::harness::stack::{Stack, logo};

/// The tables as an application makes them, in a schema of its own.
const APPLICATION: &str = "CREATE SCHEMA app;
    CREATE TABLE app.ac_background_jobs (id serial PRIMARY KEY, progress integer, error text, data jsonb, internal_data jsonb,
        created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);
    CREATE TABLE app.images (id serial PRIMARY KEY, name varchar(255), description text, license varchar(255), cc_url varchar(255),
        original_url varchar(255), photographer_name varchar(255), formats text, original_filename varchar(255),
        s3_bucket_name varchar(255), ip_address varchar(255) NOT NULL, user_agent text NOT NULL, location jsonb,
        deleted boolean NOT NULL DEFAULT false, user_id integer, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);";

/// A role that owns the application's schema and may make one, and may not make tables in `public`.
const ROLE: &str =
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE worker LOGIN PASSWORD 'change-me';
    GRANT CREATE ON DATABASE postgres TO worker; ALTER SCHEMA app OWNER TO worker;
    ALTER TABLE app.ac_background_jobs OWNER TO worker; ALTER TABLE app.images OWNER TO worker;";

async fn batch(stack: &Stack, sql: &str) {
    stack.sql_client().await.batch_execute(sql).await.unwrap();
}

/// Every table outside of the worker's own schema.
async fn tables(stack: &Stack) -> Vec<String> {
    let query = "SELECT format('%s.%s', schemaname, tablename) FROM pg_tables
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'generative_ai') ORDER BY 1";
    let rows = stack.sql(query, &[]).await;
    rows.iter().map(|row| row.get(0)).collect()
}

const BOTH: [&str; 2] = ["app.ac_background_jobs", "app.images"];

/// What an operator reads who has to set the search path.
fn elsewhere(role: &str) -> String {
    format!(
        "generative-ai-worker: DATABASE_URL: the table ac_background_jobs stands in the schema app, and this account looks in \
         \"$user\", public: set the search_path, by ALTER ROLE {role} SET search_path = app, or by \
         ?options=-csearch_path%3Dapp at the end of the URL. If that table is another application's, make \
         ac_background_jobs where this account looks\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_a_schema_that_nobody_looks_in_are_not_made_again_elsewhere() {
    let stack = Stack::start_without_tables().await;
    batch(&stack, APPLICATION).await;
    let role: String = stack.sql("SELECT quote_ident(current_user)", &[]).await[0].get(0);
    for arguments in [&["migrate"][..], &["migrate", "--dry-run"], &["run"]] {
        let said = command_on(&stack, arguments, &[]).await;
        said.is(78, "", &elsewhere(&role));
    }
    assert_eq!(tables(&stack).await, BOTH);
    // As versions before have left it: an empty one beside the application's.
    let twin = "CREATE TABLE public.images (LIKE app.images INCLUDING ALL)";
    batch(&stack, twin).await;
    let doctor = command_on(&stack, &["doctor", "--offline"], &[]).await;
    let warning = "warn  postgres   images stands in several schemas, and this account uses the one in public: if the \
        application's stands in app, set the search_path, and drop the other one";
    assert!(doctor.out.contains(warning), "{}", doctor.out);
    batch(&stack, "DROP TABLE public.images").await;
    // One of them alone would be as wrong.
    batch(&stack, "ALTER TABLE app.ac_background_jobs SET SCHEMA public").await;
    let said = command_on(&stack, &["migrate"], &[]).await;
    assert_eq!(said.status, Some(78));
    assert!(
        said.err.contains("the table images stands in the schema app"),
        "{}",
        said.err
    );
    assert_eq!(tables(&stack).await, ["app.images", "public.ac_background_jobs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_name_a_schema_reaches_migrations_and_jobs() {
    for option in [
        "options=-c%20search_path%3Dapp",
        "options=-c search_path=app",
        "options=-csearch_path=app",
        "options=--search_path=app",
        "options=--search-path%3Dapp&sslmode=disable",
        "application_name=mine&options=-csearch_path%3Dapp%2Cpublic",
        "ALTER ROLE worker SET search_path = app",
        "ALTER DATABASE postgres SET search_path = nowhere, app",
    ] {
        let stack = Stack::start_without_tables().await;
        batch(&stack, APPLICATION).await;
        batch(&stack, ROLE).await;
        let port = stack.postgres.port();
        let mut url = format!("postgres://worker:change-me@127.0.0.1:{port}/postgres");
        if option.starts_with("ALTER") {
            batch(&stack, option).await;
        } else {
            url = format!("{url}?{option}");
        }
        let variables = [("DATABASE_URL", url.as_str())];
        let said = command_on(&stack, &["migrate"], &variables).await;
        assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{option}");
        assert_eq!(tables(&stack).await, BOTH, "{option}");
        let replica = stack.replica(&variables).await;
        let insert = "INSERT INTO app.ac_background_jobs (progress, data, created_at, updated_at)
            VALUES (5, '{}', now(), now()) RETURNING id";
        let job_id: i32 = stack.sql(insert, &[]).await[0].get(0);
        stack.push(&logo(job_id)).await;
        stack
            .until("the job has its picture", async || {
                let done = "SELECT count(*) FROM app.ac_background_jobs AS job JOIN app.images AS image
                    ON image.id = (job.data->>'imageId')::integer WHERE job.progress = 100";
                (stack.count(done).await == 1).then_some(())
            })
            .await;
        drop(replica);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_path_that_changes_after_the_migrations_is_noticed_at_the_start() {
    let stack = Stack::start_without_tables().await;
    batch(&stack, APPLICATION).await;
    let own = stack.postgres.url("postgres");
    let there = format!("{own}?options=-csearch_path%3Dapp");
    let migrated = command_on(&stack, &["migrate"], &[("DATABASE_URL", &there)]).await;
    assert_eq!(migrated.status, Some(0), "{}", migrated.err);
    let said = command_on(&stack, &["run"], &[]).await;
    assert!(said.err.contains("stands in the schema app"), "{}", said.err);
    assert_eq!(said.status, Some(78));
    for (path, reason) in [
        ("nowhere", "stands in the schema app"),
        ("generative_ai", "stands in the schema app"),
    ] {
        let url = format!("{own}?options=-csearch_path%3D{path}");
        let said = command_on(&stack, &["migrate"], &[("DATABASE_URL", &url)]).await;
        assert_eq!(said.status, Some(78));
        assert!(said.err.contains(reason), "{}", said.err);
    }
    batch(&stack, "DROP TABLE app.images").await;
    let said = command_on(&stack, &["run"], &[("DATABASE_URL", &there)]).await;
    said.is(
        78,
        "",
        "generative-ai-worker: DATABASE_URL: there is no table images where this account looks, in app; it was there when the \
         database was migrated\n",
    );
    assert_eq!(tables(&stack).await, [BOTH[0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_path_without_any_schema_is_refused_with_a_sentence() {
    let stack = Stack::start_without_tables().await;
    let url = format!(
        "{}?options=-csearch_path%3Dnowhere",
        stack.postgres.url("postgres")
    );
    let said: Said = command_on(&stack, &["migrate"], &[("DATABASE_URL", &url)]).await;
    said.is(
        78,
        "",
        "generative-ai-worker: DATABASE_URL: this account looks for tables in nowhere, and there is no such schema, or it may \
         not use it: make the schema, GRANT USAGE on it, or set another search_path\n",
    );
    assert!(tables(&stack).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_that_this_account_may_not_see_hold_nobody_up() {
    let stack = Stack::start_without_tables().await;
    batch(&stack, APPLICATION).await;
    let role = "CREATE ROLE tenant LOGIN PASSWORD 'change-me'; GRANT CREATE ON DATABASE postgres TO tenant; CREATE SCHEMA tenant AUTHORIZATION tenant";
    batch(&stack, role).await;
    let url = SecretString::from(format!(
        "postgres://tenant:change-me@127.0.0.1:{}/postgres",
        stack.postgres.port()
    ));
    let settings = generative_ai_worker::db::DbSettings { url, pool_size: 1 };
    generative_ai_worker::db::migrate(&settings).await.unwrap();
    assert_eq!(
        tables(&stack).await,
        [
            "app.ac_background_jobs",
            "app.images",
            "tenant.ac_background_jobs",
            "tenant.images"
        ]
    );
}
