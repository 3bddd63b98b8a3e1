//! Whether the columns of the application hold texts as long as those that are written there: a column that is too short refuses
//! each row, and the picture is paid for by then.

use diesel::sql_types::{Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::statement::on_connection;
use super::{Db, DbError};

/// What is written into a row of `images`, as the store has it.
#[derive(Clone, Debug, Default)]
pub struct PictureNames {
    /// A public address as it usually is.
    pub url: String,
    /// The longest that a package can ask for.
    pub longest_url: String,
    /// The bucket, where the store has one.
    pub bucket: Option<String>,
}

impl PictureNames {
    /// What `formats` holds for one address.
    pub(super) fn formats(url: &str) -> String {
        serde_json::json!([url]).to_string()
    }
}

/// A column that holds fewer characters than a text of its kind may have.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub(super) struct ShortColumn {
    #[diesel(sql_type = Text)]
    pub(super) table: String,
    #[diesel(sql_type = Text)]
    pub(super) name: String,
    /// What stands there, to be followed by how much it takes.
    #[diesel(sql_type = Text)]
    pub(super) what: String,
    #[diesel(sql_type = Integer)]
    pub(super) holds: i32,
    /// As it usually is.
    #[diesel(sql_type = Integer)]
    pub(super) usual: i32,
    #[diesel(sql_type = Integer)]
    pub(super) longest: i32,
}

/// A sentence for a person is one or two lines of text, and some list all that is wrong with a package.
const SHORT_COLUMNS: &str = "
    SELECT \"table\", name, what, room.modifier - 4 AS holds, usual, longest
    FROM (VALUES ('ac_background_jobs', 'error', 'the reason of a job that has failed takes', 200, 1000),
        ('images', 'formats', 'the addresses of a picture take', $1, $2),
        ('images', 's3_bucket_name', 'the name of the bucket takes', $3, $3),
        ('images', 'original_filename', 'the name of the file takes', 3, 3),
        ('images', 'user_agent', 'the name of this worker takes', 9, 9),
        ('images', 'ip_address', 'an address takes', 9, 9)) AS asked(\"table\", name, what, usual, longest)
    JOIN pg_attribute AS found ON found.attrelid = to_regclass(\"table\") AND found.attname = name AND NOT found.attisdropped
    JOIN pg_type AS type ON type.oid = found.atttypid,
    LATERAL (SELECT coalesce(nullif(type.typbasetype, 0), type.oid) AS base,
        CASE WHEN type.typtype = 'd' THEN type.typtypmod ELSE found.atttypmod END AS modifier) AS room
    WHERE room.base IN ('varchar'::regtype, 'bpchar'::regtype) AND room.modifier > 4 AND room.modifier - 4 < longest
    ORDER BY 1, 2";

impl Db {
    /// Columns of the application's tables that hold too little.
    ///
    /// # Errors
    /// [`DbError`].
    pub(super) async fn short_columns(&self, names: &PictureNames) -> Result<Vec<ShortColumn>, DbError> {
        let select = sql_query(SHORT_COLUMNS)
            .bind::<Integer, _>(characters(&PictureNames::formats(&names.url)))
            .bind::<Integer, _>(characters(&PictureNames::formats(&names.longest_url)))
            .bind::<Integer, _>(characters(names.bucket.as_deref().unwrap_or_default()));
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }
}

fn characters(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX)
}
