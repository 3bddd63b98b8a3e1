//! Migrations, embedded in the binary. Processes that start together wait for one another.
//!
//! Nothing outlives them: every lock ends with its transaction, and settings are those of their own connections. What
//! is pending and whether the tables are where they have to be is in `fit`, who goes first and who holds whom up in
//! `turn`.

mod fit;
mod turn;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::result::DatabaseErrorKind;
use diesel::sql_types::Text;
use diesel::{Connection as _, RunQueryDsl, sql_query};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use tokio::time::Instant;

use super::connect::{Single, Way};
use super::{DbError, DbSettings};
use fit::Reach;
use turn::Turn;

pub use fit::UnfitDatabase;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

/// For this long a step tries to get at tables that others have locked.
const PATIENCE: Duration = Duration::from_secs(20);
/// For this long it waits at once: whoever comes after it in the line for a table waits as well.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two tries, for those who have waited behind it.
const PAUSE: Duration = Duration::from_millis(300);

/// Names of migrations by their versions, oldest first.
type Names = BTreeMap<String, String>;

/// Names of the migrations that this version has and the database has not, oldest first. Takes no lock.
///
/// # Errors
/// When Postgres cannot be reached, in words that name `DATABASE_URL`; [`UnfitDatabase`].
pub async fn pending(settings: &DbSettings) -> anyhow::Result<Vec<String>> {
    let mut connection = Way::of(settings)?.single(LOCK_TIMEOUT).await?;
    Ok(found(&mut connection).await?.into_values().collect())
}

async fn found(connection: &mut Single) -> anyhow::Result<Names> {
    let known = known()?;
    let reach = Reach {
        is_direct: connection.manners.at_its_beginning().is_none(),
        most: connection.manners.most(),
    };
    connection
        .run(async |connection| fit::pending(connection, known, &reach).await)
        .await
}

/// Applies what is pending and returns the names. Safe to run from any number of processes at once: they wait for one
/// another, and where nothing is pending for nobody.
///
/// # Errors
/// When Postgres cannot be reached or refuses a step, or others hold what a step needs for too long, in words that say
/// who; a step that failed has changed nothing. [`UnfitDatabase`].
pub async fn migrate(settings: &DbSettings) -> anyhow::Result<Vec<String>> {
    let way = Way::of(settings)?;
    let mut connection = way.single(LOCK_TIMEOUT).await?;
    if found(&mut connection).await?.is_empty() {
        return Ok(Vec::new());
    }
    let first = turn::wait(way.single(LOCK_TIMEOUT).await?).await?;
    // Whoever was first may have done it.
    let pending = found(&mut connection).await?;
    // A step outside of a transaction holds nobody up, and may wait for its locks in one go.
    let mut outside = way.single(PATIENCE).await?;
    let watching = way.single(LOCK_TIMEOUT).await?;
    let turn = first.watch(watching, [&mut connection, &mut outside]).await?;
    let mut connections = Connections {
        told: connection.manners.at_its_beginning().unwrap_or_default(),
        usual: connection.connection.into(),
        outside: outside.connection.into(),
    };
    tokio::task::block_in_place(|| {
        make_room(&mut connections.usual)?;
        for migration in all()? {
            let version = migration.name().version().to_string();
            if pending.contains_key(&version) {
                apply(&mut connections, &version, &*migration, &turn)?;
            }
        }
        connections
            .usual
            .batch_execute(GRANT_RIGHTS)
            .context("the rights of the roles cannot be granted; run deploy/postgres/roles.sql again")?;
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(pending.into_values().collect())
}

type Connection = AsyncConnectionWrapper<AsyncPgConnection>;

struct Connections {
    /// What each transaction is told first.
    told: String,
    usual: Connection,
    /// For steps outside of a transaction.
    outside: Connection,
}

/// Oldest first.
fn all() -> anyhow::Result<Vec<Box<dyn Migration<Pg>>>> {
    let mut all = MigrationSource::<Pg>::migrations(&MIGRATIONS)
        .map_err(|error| anyhow!("the embedded migrations cannot be read: {error}"))?;
    all.sort_unstable_by_key(|migration| migration.name().version().as_owned());
    Ok(all)
}

fn known() -> anyhow::Result<Names> {
    let all = all()?;
    let names = all.iter().map(|migration| migration.name());
    Ok(names
        .map(|name| (name.version().to_string(), name.to_string()))
        .collect())
}

/// The worker's own schema comes first, with the list of what has been applied.
fn make_room(connection: &mut Connection) -> anyhow::Result<()> {
    // Asked first, as a right to create is asked for even where nothing is to be created.
    let make = "DO $$ BEGIN
        IF to_regnamespace('generative_ai') IS NULL THEN CREATE SCHEMA IF NOT EXISTS generative_ai; END IF;
        IF to_regclass('generative_ai.__diesel_schema_migrations') IS NULL THEN
            CREATE TABLE generative_ai.__diesel_schema_migrations (
                version varchar(50) PRIMARY KEY, run_on timestamp NOT NULL DEFAULT current_timestamp);
        END IF;
    END $$";
    connection.batch_execute(make).context(
        "the schema generative_ai cannot be made; the user of DATABASE_URL needs CREATE on the database",
    )
}

/// Where `deploy/postgres/roles.sql` was run before the tables were there, it has left a function that grants what is to be
/// granted on them.
const GRANT_RIGHTS: &str = "DO $$ BEGIN
    IF to_regprocedure('generative_ai.grant_rights()') IS NOT NULL THEN PERFORM generative_ai.grant_rights(); END IF;
END $$";

/// An index that was being made when its process was killed is there, and of no use.
const DROP_BROKEN_INDEXES: &str = "DO $$ DECLARE broken text; BEGIN
    FOR broken IN SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE NOT indisvalid AND relnamespace = 'generative_ai'::regnamespace
    LOOP EXECUTE 'DROP INDEX ' || broken; END LOOP;
END $$";

/// Applies one step and notes that it was, both or neither. One that says so itself runs outside of a transaction, as
/// what is made beside the work of others has to; it changes nothing when it is applied again.
fn apply(
    connections: &mut Connections,
    version: &str,
    migration: &dyn Migration<Pg>,
    turn: &Turn,
) -> anyhow::Result<()> {
    let name = migration.name();
    let note = |connection: &mut Connection| {
        let note = "INSERT INTO generative_ai.__diesel_schema_migrations (version) VALUES ($1)";
        sql_query(note).bind::<Text, _>(version).execute(connection)?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    let begun = Instant::now();
    loop {
        let Connections { told, usual, outside } = &mut *connections;
        let done = if migration.metadata().run_in_transaction() {
            usual.transaction(|usual| {
                usual.batch_execute(told)?;
                migration.run(usual)?;
                note(usual)
            })
        } else {
            let ready = usual.batch_execute(DROP_BROKEN_INDEXES);
            ready
                .map_err(Into::into)
                .and_then(|()| migration.run(outside))
                .and_then(|()| {
                    usual.transaction(|usual| {
                        usual.batch_execute(told)?;
                        note(usual)
                    })
                })
        };
        let error = match done {
            Ok(()) => return Ok(()),
            Err(error) => judged(error),
        };
        if !matches!(error, DbError::Locked(_) | DbError::Collided(_)) {
            return Err(
                anyhow::Error::new(error).context(format!("the migration {name} has changed nothing"))
            );
        }
        if begun.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            let holders = turn.held_up_by();
            return Err(anyhow::Error::new(error).context(format!(
                "the migration {name} has changed nothing: for {seconds} s {holders} kept it from its tables; \
                 end that transaction and migrate again"
            )));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The library hands on no more than the words of what a step has run into.
fn judged(error: Box<dyn std::error::Error + Send + Sync>) -> DbError {
    match error.downcast::<diesel::result::Error>() {
        Ok(error) => (*error).into(),
        Err(error) => {
            let text = error.to_string();
            let said = text.split_once(" with: ").map_or(text.as_str(), |(_, said)| said);
            diesel::result::Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(said.to_owned())).into()
        }
    }
}
