//! Migrations, embedded in the binary. Replicas that start together wait for one another.

use std::collections::{BTreeMap, HashSet};

use anyhow::Context;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{DbSettings, connect};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

/// Any number that no other application is likely to lock: "gen_ai_w" in ASCII.
const LOCK: i64 = i64::from_be_bytes(*b"gen_ai_w");

/// A database that a newer version of the worker has changed in a way that this version cannot work with. Holds the newest migration
/// that is unknown here.
///
/// A migration that only adds, as nearly all do, keeps no older version from working, so that a roll-out can be rolled back. One that
/// does more says so: it sets `needs_migration` of `generative_ai.installation` to its own version.
#[derive(Debug, thiserror::Error)]
#[error(
    "the database has migration {0}, which this version of the worker does not know; use the newer version"
)]
pub struct NewerDatabase(String);

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

/// Names of the migrations that this version has and the database has not, oldest first.
///
/// # Errors
/// When Postgres cannot be reached, in words that name `DATABASE_URL`; [`NewerDatabase`].
pub async fn pending(settings: &DbSettings) -> anyhow::Result<Vec<String>> {
    let mut connection = connect::single(settings).await?;
    pending_on(&mut connection).await
}

/// Applies what is pending and returns the names. Safe to run from any number of processes at once.
///
/// # Errors
/// When Postgres cannot be reached or refuses a step; a step that failed has changed nothing. [`NewerDatabase`].
pub async fn migrate(settings: &DbSettings) -> anyhow::Result<Vec<String>> {
    let mut connection = connect::single(settings).await?;
    // Held until the connection closes, at the end of this function or of this process.
    sql_query(format!("SELECT pg_advisory_lock({LOCK})"))
        .execute(&mut connection)
        .await?;
    let names = pending_on(&mut connection).await?;
    if names.is_empty() {
        return Ok(names);
    }
    // The worker's own schema comes first, so that diesel's list of migrations stands there as well.
    connection
        .batch_execute(
            "CREATE SCHEMA IF NOT EXISTS generative_ai;
             SELECT set_config('search_path', 'generative_ai, ' || current_setting('search_path'), false);",
        )
        .await
        .context(
            "the schema generative_ai cannot be made; the user of DATABASE_URL needs CREATE on the database",
        )?;
    let mut harness = AsyncMigrationHarness::new(connection);
    tokio::task::block_in_place(|| harness.run_pending_migrations(MIGRATIONS).map(|_| ()))
        .map_err(|e| anyhow::anyhow!("a migration failed and has changed nothing: {e}"))?;
    Ok(names)
}

async fn pending_on(connection: &mut AsyncPgConnection) -> anyhow::Result<Vec<String>> {
    let table: Option<Version> = first(
        connection,
        "SELECT to_regclass('generative_ai.__diesel_schema_migrations')::text AS version
         WHERE to_regclass('generative_ai.__diesel_schema_migrations') IS NOT NULL",
    )
    .await?;
    let mut applied = HashSet::new();
    if table.is_some() {
        let rows: Vec<Version> = sql_query("SELECT version FROM generative_ai.__diesel_schema_migrations")
            .load(connection)
            .await
            .context("the list of applied migrations cannot be read")?;
        applied.extend(rows.into_iter().map(|row| row.version));
    }
    let known = known()?;
    if let Some(newest) = applied
        .iter()
        .filter(|version| !known.contains_key(*version))
        .max()
    {
        let is_fit = needed(connection)
            .await
            .is_some_and(|needed| known.contains_key(&needed));
        if !is_fit {
            return Err(NewerDatabase(newest.clone()).into());
        }
    }
    let pending = known
        .into_iter()
        .filter(|(version, _)| !applied.contains(version));
    Ok(pending.map(|(_, name)| name).collect())
}

/// The migrations of this version, oldest first: their names by version.
fn known() -> anyhow::Result<BTreeMap<String, String>> {
    let known = MigrationSource::<Pg>::migrations(&MIGRATIONS)
        .map_err(|e| anyhow::anyhow!("the embedded migrations cannot be read: {e}"))?;
    let names = known.iter().map(|migration| migration.name());
    Ok(names
        .map(|name| (name.version().to_string(), name.to_string()))
        .collect())
}

/// The newest migration that a version has to know to work with this database; `None` where it does not say.
async fn needed(connection: &mut AsyncPgConnection) -> Option<String> {
    let query = "SELECT needs_migration AS version FROM generative_ai.installation";
    let needed = first(connection, query).await.ok()??;
    Some(needed.version)
}

async fn first(connection: &mut AsyncPgConnection, query: &str) -> anyhow::Result<Option<Version>> {
    Ok(sql_query(query)
        .load(connection)
        .await
        .context("Postgres refused a query")?
        .into_iter()
        .next())
}
