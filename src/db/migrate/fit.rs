//! Whether this version can work with a database: what it lacks, what is newer there, and where the application's
//! tables stand.

use std::collections::HashSet;

use anyhow::Context;
use diesel::sql_types::{Array, Bool, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::Names;

/// A database that this version must not work with as it is. Mended by an operator.
#[derive(Debug, thiserror::Error)]
pub enum UnfitDatabase {
    /// A newer version of the worker has changed it in a way that this version cannot work with. Holds the newest
    /// migration that is unknown here.
    ///
    /// A migration that only adds, as nearly all do, keeps no older version from working, so that a roll-out can be
    /// rolled back. One that does more says so: it sets `needs_migration` of `generative_ai.installation` to its own
    /// version.
    #[error(
        "the database has migration {0}, which this version of the worker does not know; use the newer version"
    )]
    Newer(String),
    /// It lacks migrations; their names, oldest first.
    #[error(
        "DATABASE_URL: the database lacks {} migration(s), from {} on; run generative-ai-worker migrate",
        .0.len(), .0.iter().map(String::as_str).next().unwrap_or_default()
    )]
    Lacks(Vec<String>),
    /// The application's tables stand where this account does not look. Made anew beside them, nobody would ever read
    /// them.
    #[error(
        "DATABASE_URL: the table {table} stands in the schema {schemas}, and this account looks in {path}: set the search_path, \
         by ALTER ROLE {role} SET search_path = {first}, or by ?options=-csearch_path%3D{first} at the end of the URL. If \
         that table is another application's, make {table} where this account looks"
    )]
    Elsewhere {
        /// Which.
        table: String,
        /// Where it stands.
        schemas: String,
        /// The first of them.
        first: String,
        /// Where this account looks.
        path: String,
        /// This account.
        role: String,
    },
    /// The search path of this account names no schema that is there.
    #[error(
        "DATABASE_URL: this account looks for tables in {path}, and there is no such schema, or it may not use it: make the \
         schema, GRANT USAGE on it, or set another search_path"
    )]
    Nowhere {
        /// Where this account looks.
        path: String,
    },
    /// It cannot hold every text.
    #[error(
        "DATABASE_URL: the database has the encoding {0}, which cannot hold every text: make one with ENCODING 'UTF8' and \
         TEMPLATE template0, and move the tables there"
    )]
    Encoding(String),
    /// It takes too few connections of this account.
    #[error(
        "DATABASE_URL: the {what} {name} may not have as many connections at once as a replica opens, up to {most}: ALTER {} {name} \
         CONNECTION LIMIT {most} or more for each replica, or -1",
        .what.to_uppercase()
    )]
    Crowded {
        /// `role` or `database`.
        what: String,
        /// Its name, quoted where needed.
        name: String,
        /// What a replica opens.
        most: usize,
    },
    /// One of the application's tables is gone, after they were adopted or made.
    #[error(
        "DATABASE_URL: there is no table {0} where this account looks, in {1}; it was there when the database was migrated"
    )]
    Gone(String, String),
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

/// Where a table of the application stands.
#[derive(QueryableByName)]
struct Place {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    is_seen: bool,
    /// Other schemas that have one of that name, quoted where needed.
    #[diesel(sql_type = Array<Text>)]
    schemas: Vec<String>,
    /// The first existing schema of the path.
    #[diesel(sql_type = Nullable<Text>)]
    home: Option<String>,
    #[diesel(sql_type = Text)]
    path: String,
    #[diesel(sql_type = Text)]
    role: String,
}

/// What the database and this account are, whatever is in them.
#[derive(QueryableByName)]
struct Frame {
    #[diesel(sql_type = Text)]
    encoding: String,
    /// What has the lowest limit of connections.
    #[diesel(sql_type = Nullable<Text>)]
    what: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<Integer>)]
    connections: Option<i32>,
}

/// A superuser's connections are not limited.
const FRAME: &str = "
    SELECT current_setting('server_encoding') AS encoding, what, name, connections
    FROM (SELECT) AS one LEFT JOIN LATERAL (
        SELECT 'role' AS what, quote_ident(rolname) AS name, rolconnlimit AS connections
        FROM pg_roles WHERE rolname = session_user AND NOT rolsuper AND rolconnlimit >= 0
        UNION ALL
        SELECT 'database', quote_ident(datname), datconnlimit FROM pg_database
        WHERE datname = current_database() AND datconnlimit >= 0
            AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user)
        ORDER BY 3 LIMIT 1) AS limited ON true";

/// So many a replica cannot do with less, and `migrate` opens.
const LEAST_CONNECTIONS: i32 = 4;

const PLACES: &str = "
    SELECT name, to_regclass(name) IS NOT NULL AS is_seen, current_setting('search_path') AS path,
        quote_ident(current_user) AS role,
        (SELECT home FROM unnest(current_schemas(false)) AS home WHERE home <> 'generative_ai' LIMIT 1)::text AS home,
        ARRAY(SELECT quote_ident(space.nspname) FROM pg_class AS found JOIN pg_namespace AS space ON space.oid = found.relnamespace
            WHERE found.relname = name AND found.relkind IN ('r', 'p', 'v', 'm', 'f')
                AND space.nspname NOT LIKE 'pg\\_%' AND space.nspname <> 'information_schema'
                AND has_schema_privilege(space.oid, 'USAGE')
            ORDER BY space.nspname) AS schemas
    FROM unnest(ARRAY['ac_background_jobs', 'images']) AS name";

/// What of the migrations that this version knows is to be applied.
///
/// # Errors
/// [`UnfitDatabase`], or when Postgres refuses a query.
pub(super) async fn pending(
    connection: &mut AsyncPgConnection,
    known: Names,
    reach: &Reach,
) -> anyhow::Result<Names> {
    check_frame(connection, reach).await?;
    let applied = applied(connection).await?;
    let unknown = applied.iter().filter(|version| !known.contains_key(*version));
    if let Some(newest) = unknown.max() {
        let needed = needed(connection).await;
        if !needed.is_some_and(|needed| known.contains_key(&needed)) {
            return Err(UnfitDatabase::Newer(newest.clone()).into());
        }
        tracing::warn!(
            "the database has migration {newest}, of a newer version of the worker; it only adds, so this version goes on"
        );
    }
    let is_adopted = known.keys().next().is_some_and(|oldest| applied.contains(oldest));
    check_places(connection, is_adopted).await?;
    let pending = known
        .into_iter()
        .filter(|(version, _)| !applied.contains(version));
    Ok(pending.collect())
}

/// How a database is reached.
pub(super) struct Reach {
    /// Whether its sessions are this process's own, and not lent by a pooler, which opens as many as it was told to.
    pub(super) is_direct: bool,
    /// Connections that a replica opens at the most.
    pub(super) most: usize,
}

async fn check_frame(connection: &mut AsyncPgConnection, reach: &Reach) -> anyhow::Result<()> {
    let frames: Vec<Frame> = sql_query(FRAME)
        .load(connection)
        .await
        .context("DATABASE_URL: Postgres refused a query")?;
    let Some(Frame {
        encoding,
        what,
        name,
        connections,
    }) = frames.into_iter().next()
    else {
        return Ok(());
    };
    if !matches!(encoding.as_str(), "UTF8" | "SQL_ASCII") {
        return Err(UnfitDatabase::Encoding(encoding).into());
    }
    match (what, name, connections) {
        (Some(what), Some(name), Some(limit)) if reach.is_direct && limit < LEAST_CONNECTIONS => {
            let most = reach.most;
            Err(UnfitDatabase::Crowded { what, name, most }.into())
        }
        _ => Ok(()),
    }
}

async fn applied(connection: &mut AsyncPgConnection) -> anyhow::Result<HashSet<String>> {
    let list = "generative_ai.__diesel_schema_migrations";
    let there =
        format!("SELECT to_regclass('{list}')::text AS version WHERE to_regclass('{list}') IS NOT NULL");
    let is_there = first(connection, &there).await.context(
        "DATABASE_URL: the worker's own schema cannot be looked into: GRANT USAGE ON SCHEMA generative_ai to this account",
    )?;
    if is_there.is_none() {
        return Ok(HashSet::new());
    }
    let rows: Vec<Version> = sql_query(format!("SELECT version FROM {list}"))
        .load(connection)
        .await
        .context(
            "DATABASE_URL: the list of applied migrations cannot be read: GRANT SELECT ON ALL TABLES IN SCHEMA generative_ai to \
             this account",
        )?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

/// The newest migration that a version has to know to work with this database; `None` where it does not say.
async fn needed(connection: &mut AsyncPgConnection) -> Option<String> {
    let query = "SELECT needs_migration AS version FROM generative_ai.installation";
    // A transaction around it would not outlive a refusal.
    let needed = connection
        .transaction(async |connection| first(connection, query).await)
        .await;
    Some(needed.ok()??.version)
}

async fn first(connection: &mut AsyncPgConnection, query: &str) -> anyhow::Result<Option<Version>> {
    Ok(sql_query(query)
        .load(connection)
        .await
        .context("DATABASE_URL: Postgres refused a query")?
        .into_iter()
        .next())
}

async fn check_places(connection: &mut AsyncPgConnection, is_adopted: bool) -> anyhow::Result<()> {
    let places: Vec<Place> = sql_query(PLACES)
        .load(connection)
        .await
        .context("DATABASE_URL: Postgres refused a query")?;
    let Some(missing) = places.into_iter().find(|place| !place.is_seen) else {
        return Ok(());
    };
    let Place {
        name,
        schemas,
        path,
        role,
        home,
        ..
    } = missing;
    if let Some(first) = schemas.as_slice().first().cloned() {
        let schemas = schemas.join(", ");
        return Err(UnfitDatabase::Elsewhere {
            table: name,
            schemas,
            first,
            path,
            role,
        }
        .into());
    }
    if home.is_none() {
        return Err(UnfitDatabase::Nowhere { path }.into());
    }
    if is_adopted {
        return Err(UnfitDatabase::Gone(name, path).into());
    }
    Ok(())
}
