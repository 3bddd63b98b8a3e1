//! How a Postgres server is set up, and what this account may do there: what an operator would look at first.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use tokio::time::Instant;

use super::statement::on_connection;
use super::{Db, DbError};

/// How a server is set up.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct PostgresFacts {
    /// As it calls itself.
    #[diesel(sql_type = Text)]
    pub version: String,
    /// 160004 for 16.4
    #[diesel(sql_type = Integer)]
    pub version_number: i32,
    /// Whether it is a standby, to which nothing can be written.
    #[diesel(sql_type = Bool)]
    pub is_standby: bool,
    /// `fsync`
    #[diesel(sql_type = Text)]
    pub fsync: String,
    /// `synchronous_commit`, for this account.
    #[diesel(sql_type = Text)]
    pub synchronous_commit: String,
    /// Connections that are open, to all of its databases.
    #[diesel(sql_type = BigInt)]
    pub connections: i64,
    /// Connections that it takes.
    #[diesel(sql_type = BigInt)]
    pub max_connections: i64,
    /// Its time.
    #[diesel(sql_type = Timestamptz)]
    pub now: DateTime<Utc>,
}

/// A right that this account lacks.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct MissingRight {
    /// On what.
    #[diesel(sql_type = Text)]
    pub object: String,
    /// Which.
    #[diesel(sql_type = Text)]
    pub right: String,
    /// Whether the object is there at all.
    #[diesel(sql_type = Nullable<Bool>)]
    pub is_there: Option<bool>,
    /// Whether `run` needs it; otherwise a command does.
    #[diesel(sql_type = Bool)]
    pub is_needed: bool,
}

/// A table of the application that stands in several schemas: one of them is nobody's, or another application's.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Twins {
    /// Its name.
    #[diesel(sql_type = Text)]
    pub table: String,
    /// The schema whose table this account uses.
    #[diesel(sql_type = Text)]
    pub used: String,
    /// The other ones.
    #[diesel(sql_type = Text)]
    pub others: String,
}

const TWINS: &str = "
    SELECT name AS table, string_agg(quote_ident(nspname), ', ') FILTER (WHERE is_used) AS used,
        string_agg(quote_ident(nspname), ', ' ORDER BY nspname) FILTER (WHERE NOT is_used) AS others
    FROM unnest(ARRAY['ac_background_jobs', 'images']) AS name
    JOIN pg_class AS found ON found.relname = name AND found.relkind IN ('r', 'p')
    JOIN pg_namespace AS space ON space.oid = found.relnamespace,
    LATERAL (SELECT found.oid = to_regclass(name)) AS asked(is_used)
    GROUP BY name HAVING count(*) > 1 AND bool_or(is_used) ORDER BY name";

/// What keeps this version from working here, whatever its rows are.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub(super) struct Base {
    /// As it calls itself.
    #[diesel(sql_type = Text)]
    pub(super) version: String,
    /// 160004 for 16.4
    #[diesel(sql_type = Integer)]
    pub(super) version_number: i32,
    #[diesel(sql_type = Bool)]
    pub(super) is_standby: bool,
    #[diesel(sql_type = Bool)]
    pub(super) is_read_only: bool,
    /// `UTF8`
    #[diesel(sql_type = Text)]
    pub(super) encoding: String,
}

const BASE: &str = "
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer AS version_number,
        pg_is_in_recovery() AS is_standby, current_setting('transaction_read_only') = 'on' AS is_read_only,
        current_setting('server_encoding') AS encoding";

/// A column of the application's tables that is not as a worker needs it.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub(super) struct WrongColumn {
    #[diesel(sql_type = Text)]
    pub(super) table: String,
    #[diesel(sql_type = Text)]
    pub(super) name: String,
    /// The type that it should have; `None` where any will do that takes the values.
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) wanted: Option<String>,
    /// Its type; `None` where it is missing.
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) found: Option<String>,
}

const COLUMNS: &str = "
    SELECT \"table\", name, wanted, format_type(found.atttypid, NULL) AS found
    FROM (VALUES ('ac_background_jobs', 'id', 'integer'), ('ac_background_jobs', 'progress', NULL),
        ('ac_background_jobs', 'error', NULL), ('ac_background_jobs', 'data', 'jsonb'),
        ('ac_background_jobs', 'created_at', NULL), ('ac_background_jobs', 'updated_at', NULL),
        ('images', 'id', 'integer'), ('images', 'formats', NULL), ('images', 'original_filename', NULL),
        ('images', 's3_bucket_name', NULL), ('images', 'ip_address', NULL), ('images', 'user_agent', NULL),
        ('images', 'deleted', NULL), ('images', 'user_id', 'integer'), ('images', 'created_at', NULL),
        ('images', 'updated_at', NULL)) AS asked(\"table\", name, wanted)
    LEFT JOIN pg_attribute AS found ON found.attrelid = to_regclass(\"table\") AND found.attname = name AND NOT found.attisdropped
    LEFT JOIN pg_type AS type ON type.oid = found.atttypid
    WHERE found.attname IS NULL OR CASE wanted
        WHEN 'integer' THEN coalesce(nullif(type.typbasetype, 0), type.oid) NOT IN ('integer'::regtype, 'bigint'::regtype)
        WHEN 'jsonb' THEN coalesce(nullif(type.typbasetype, 0), type.oid) <> 'jsonb'::regtype
        ELSE false END
    ORDER BY 1, 2";

/// Rows that row level security hides from this account altogether, as no policy lets it at them.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub(super) struct Hidden {
    #[diesel(sql_type = Text)]
    pub(super) table: String,
    /// `SELECT`
    #[diesel(sql_type = Text)]
    pub(super) command: String,
    #[diesel(sql_type = Text)]
    pub(super) role: String,
}

const HIDDEN: &str = "
    SELECT \"table\", command, quote_ident(current_user) AS role
    FROM (VALUES ('ac_background_jobs', 'r', 'SELECT'), ('ac_background_jobs', 'w', 'UPDATE'), ('images', 'r', 'SELECT'),
        ('images', 'a', 'INSERT'), ('generative_ai.installation', 'r', 'SELECT'),
        ('generative_ai.jobs', 'r', 'SELECT'), ('generative_ai.jobs', 'a', 'INSERT'), ('generative_ai.jobs', 'w', 'UPDATE'),
        ('generative_ai.provider_calls', 'r', 'SELECT'), ('generative_ai.provider_calls', 'a', 'INSERT'),
        ('generative_ai.provider_calls', 'w', 'UPDATE'), ('generative_ai.dead_packages', 'r', 'SELECT'),
        ('generative_ai.dead_packages', 'a', 'INSERT'), ('generative_ai.dead_packages', 'w', 'UPDATE'))
        AS asked(\"table\", letter, command)
    WHERE row_security_active(to_regclass(\"table\")::oid) AND NOT EXISTS (
        SELECT FROM pg_policy WHERE polrelid = to_regclass(\"table\") AND polpermissive AND polcmd::text IN ('*', letter)
            AND EXISTS (SELECT FROM unnest(polroles) AS role
                WHERE CASE WHEN role = 0 THEN true ELSE pg_has_role(role, 'MEMBER') END))
    ORDER BY 1, 2 DESC";

const RIGHTS: &str = "
    WITH asked(object, rights, is_needed) AS (VALUES
        ('ac_background_jobs', ARRAY['SELECT', 'UPDATE'], true),
        ('images', ARRAY['SELECT', 'INSERT'], true),
        ('generative_ai.jobs', ARRAY['SELECT', 'INSERT', 'UPDATE'], true),
        ('generative_ai.provider_calls', ARRAY['SELECT', 'INSERT', 'UPDATE'], true),
        ('generative_ai.dead_packages', ARRAY['SELECT', 'INSERT', 'UPDATE'], true),
        ('generative_ai.callbacks', ARRAY['SELECT', 'INSERT', 'UPDATE'], true),
        ('generative_ai.budget_periods', ARRAY['SELECT', 'INSERT', 'UPDATE'], true),
        ('generative_ai.jobs', ARRAY['DELETE'], false),
        ('generative_ai.provider_calls', ARRAY['DELETE'], false),
        ('generative_ai.dead_packages', ARRAY['DELETE'], false),
        ('generative_ai.callbacks', ARRAY['DELETE'], false),
        ('generative_ai.budget_periods', ARRAY['DELETE'], false),
        ('generative_ai.installation', ARRAY['SELECT'], true))
    SELECT object, \"right\", to_regclass(object) IS NOT NULL AS is_there, is_needed
    FROM asked, unnest(rights) AS \"right\"
    WHERE NOT coalesce(CASE WHEN \"right\" = 'DELETE' THEN has_table_privilege(to_regclass(object), \"right\")
        ELSE has_any_column_privilege(to_regclass(object), \"right\") END, false)
    UNION ALL
    SELECT sequence, 'USAGE', true, true
    FROM (SELECT pg_get_serial_sequence(to_regclass('images')::text, 'id')) AS found(sequence)
    WHERE sequence IS NOT NULL AND NOT has_sequence_privilege(sequence, 'USAGE')
    ORDER BY 1, 2";

impl Db {
    /// Looks at the server's settings. Also returns how far its clock is ahead of this machine's, in ms, as exactly
    /// as one question can tell.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn facts(&self) -> Result<(PostgresFacts, i64), DbError> {
        let select = || {
            sql_query(
                "SELECT current_setting('server_version') AS version,
                    current_setting('server_version_num')::integer AS version_number,
                    pg_is_in_recovery() AS is_standby, current_setting('fsync') AS fsync,
                    current_setting('synchronous_commit') AS synchronous_commit,
                    (SELECT sum(numbackends) FROM pg_stat_database)::bigint AS connections,
                    current_setting('max_connections')::bigint AS max_connections, clock_timestamp() AS now",
            )
        };
        let (rows, middle): (Vec<PostgresFacts>, _) = on_connection(&self.pool, async |connection| {
            // The first one connects and prepares, which takes long.
            let _: Vec<PostgresFacts> = select().load(connection).await?;
            let (before, begun) = (Utc::now(), Instant::now());
            let rows = select().load(connection).await?;
            let half: Duration = begun.elapsed() / 2;
            Ok::<_, diesel::result::Error>((rows, before + half))
        })
        .await?;
        let facts = rows
            .into_iter()
            .next()
            .ok_or_else(|| DbError::Unavailable("it answered nothing".to_owned()))?;
        let ahead = (facts.now - middle).num_milliseconds();
        Ok((facts, ahead))
    }

    /// What this version can work with at all.
    ///
    /// # Errors
    /// [`DbError`].
    pub(super) async fn base(&self) -> Result<Base, DbError> {
        let select = sql_query(BASE);
        on_connection(&self.pool, async |connection| select.get_result(connection).await).await
    }

    /// Columns of the application's tables that are not as they have to be.
    ///
    /// # Errors
    /// [`DbError`].
    pub(super) async fn wrong_columns(&self) -> Result<Vec<WrongColumn>, DbError> {
        let select = sql_query(COLUMNS);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }

    /// Tables none of whose rows this account gets at.
    ///
    /// # Errors
    /// [`DbError`].
    pub(super) async fn hidden(&self) -> Result<Vec<Hidden>, DbError> {
        let select = sql_query(HIDDEN);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }

    /// Tables of the application that stand in several schemas.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn twins(&self) -> Result<Vec<Twins>, DbError> {
        let select = sql_query(TWINS);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }

    /// Rights that this account lacks.
    ///
    /// # Errors
    /// [`DbError`], also when the schema `generative_ai` may not be used.
    pub async fn missing_rights(&self) -> Result<Vec<MissingRight>, DbError> {
        let select = sql_query(RIGHTS);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }
}
