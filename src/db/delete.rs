//! Deleting a picture: what is known of it, its row marked as deleted, and the end of the job that has deleted it.

use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text};
use diesel::{OptionalExtension, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::shown::data_with_image;
use super::statement::on_connection;
use super::{Db, DbError};

/// A picture that is to be deleted, as far as this database knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deletable {
    /// Its row of `images`, where there is one.
    pub row: Option<DeletableRow>,
    /// What the ledger knows of it, where it does.
    pub made: Option<Made>,
}

/// A row of `images`.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct DeletableRow {
    /// Its number.
    #[diesel(sql_type = Integer)]
    pub id: i32,
    /// Text with a JSON array of addresses, as whoever made it has written it.
    #[diesel(sql_type = Nullable<Text>)]
    pub formats: Option<String>,
    /// Whether it is marked as deleted.
    #[diesel(sql_type = Bool)]
    pub is_deleted: bool,
}

/// A picture that a job has made.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Made {
    /// Row of `images`.
    #[diesel(sql_type = Nullable<Integer>)]
    pub image_id: Option<i32>,
    /// Its address.
    #[diesel(sql_type = Nullable<Text>)]
    pub image_url: Option<String>,
    /// All objects that belong to it.
    #[diesel(sql_type = Array<Text>)]
    pub object_keys: Vec<String>,
}

#[derive(QueryableByName)]
struct ImageId {
    #[diesel(sql_type = Integer)]
    id: i32,
}

/// The end of a job that has deleted a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedRecord {
    /// Row of `ac_background_jobs`.
    pub job_id: i32,
    /// The caller's fence.
    pub fence: i64,
    /// The row of the picture, where there was one.
    pub image_id: Option<i32>,
    /// Its address, where that is known.
    pub image_url: Option<String>,
    /// What has become of it, for the application.
    pub word: &'static str,
}

/// A row of a picture, by what the next words say.
const ROW: &str = "SELECT id, formats::text AS formats, coalesce(deleted, false) AS is_deleted FROM images";
/// A job that has made a picture: one that has deleted it has no objects.
const MADE: &str =
    "SELECT image_id, image_url, object_keys FROM generative_ai.jobs WHERE object_keys IS NOT NULL";

impl Db {
    /// What is known of a picture, by its number or its address. Where its row tells what is asked for, or the ledger knows the address,
    /// nothing is looked through for it; otherwise the ledger, or `images`, is read once.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn deletable(
        &self,
        image_id: Option<i32>,
        image_url: Option<&str>,
    ) -> Result<Deletable, DbError> {
        on_connection(&self.pool, async |connection| {
            look(connection, image_id, image_url).await
        })
        .await
    }

    /// Another row of `images` that shows one of these addresses, and is not deleted: an application may have copied rows. Reads `images`
    /// from end to end, as nothing there is found by its address.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn also_shown_by(&self, urls: &[String], but: Option<i32>) -> Result<Option<i32>, DbError> {
        let select = sql_query(
            r"SELECT id FROM images
              WHERE NOT coalesce(deleted, false) AND id IS DISTINCT FROM $2
                AND EXISTS (SELECT FROM unnest($1) AS url
                    WHERE strpos(replace(formats::text, '\/', '/'), to_json(url)::text) > 0)
              ORDER BY id LIMIT 1",
        )
        .bind::<Array<Text>, _>(urls)
        .bind::<Nullable<Integer>, _>(but);
        let row: Option<ImageId> = on_connection(&self.pool, async |connection| {
            select.get_result(connection).await.optional()
        })
        .await?;
        Ok(row.map(|row| row.id))
    }

    /// Marks a row of `images` as deleted, as the application does.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn mark_image_deleted(&self, image_id: i32) -> Result<(), DbError> {
        let update = sql_query(
            "UPDATE images SET deleted = true, updated_at = now() WHERE id = $1 AND NOT coalesce(deleted, false)",
        )
        .bind::<Integer, _>(image_id);
        on_connection(&self.pool, async |connection| update.execute(connection).await)
            .await
            .map(|_| ())
    }

    /// Ends a job that has deleted a picture. `false`: the job is somebody else's, or has ended.
    ///
    /// # Errors
    /// [`DbError`]; a second call finds the job ended.
    pub async fn record_deletion(&self, record: &DeletedRecord) -> Result<bool, DbError> {
        let update = sql_query(concat!(
            "WITH done AS (
                UPDATE generative_ai.jobs SET
                    state = 'done', finished_at = now(), package = '', next_attempt_at = NULL,
                    error_class = NULL, error_message = NULL, error_details = NULL, image_id = $3, image_url = $4
                WHERE job_id = $1 AND fence = $2 AND state = 'begun' RETURNING job_id
             ), shown AS (
                UPDATE ac_background_jobs AS shown_row SET progress = 100, error = NULL, updated_at = now(), data = ",
            data_with_image!(
                "shown_row.data",
                "jsonb_strip_nulls(jsonb_build_object('imageId', $3, 'imageUrl', $4, 'imageDeletion', $5))"
            ),
            " FROM done WHERE shown_row.id = done.job_id
             )
             SELECT job_id FROM done"
        ))
        .bind::<Integer, _>(record.job_id)
        .bind::<BigInt, _>(record.fence)
        .bind::<Nullable<Integer>, _>(record.image_id)
        .bind::<Nullable<Text>, _>(&record.image_url)
        .bind::<Text, _>(record.word);
        let rows: Vec<super::cancel::JobId> =
            on_connection(&self.pool, async |connection| update.load(connection).await).await?;
        Ok(!rows.is_empty())
    }
}

async fn look(
    connection: &mut AsyncPgConnection,
    image_id: Option<i32>,
    image_url: Option<&str>,
) -> diesel::QueryResult<Deletable> {
    let mut row = match image_id {
        Some(image_id) => row_by_id(connection, image_id).await?,
        None => None,
    };
    let shown = row.as_ref().map(DeletableRow::urls).unwrap_or_default();
    let url = image_url.or_else(|| shown.as_slice().first().map(String::as_str));
    let mut made = match url {
        Some(url) => made_at(connection, url).await?,
        None => None,
    };
    match (&row, &made, image_id) {
        (None, None, Some(image_id)) => made = made_as(connection, image_id).await?,
        (None, Some(made), None) if let Some(image_id) = made.image_id => {
            row = row_by_id(connection, image_id).await?;
        }
        (None, None, None) if let Some(url) = image_url => row = row_with(connection, url).await?,
        _ => {}
    }
    Ok(Deletable { row, made })
}

async fn row_by_id(connection: &mut AsyncPgConnection, id: i32) -> diesel::QueryResult<Option<DeletableRow>> {
    let select = sql_query(format!("{ROW} WHERE id = $1")).bind::<Integer, _>(id);
    select.get_result(connection).await.optional()
}

/// A row that the ledger has forgotten, as the worker writes it.
async fn row_with(
    connection: &mut AsyncPgConnection,
    url: &str,
) -> diesel::QueryResult<Option<DeletableRow>> {
    let formats = serde_json::json!([url]).to_string();
    let select = sql_query(format!("{ROW} WHERE formats::text = $1 LIMIT 1")).bind::<Text, _>(formats);
    select.get_result(connection).await.optional()
}

async fn made_at(connection: &mut AsyncPgConnection, url: &str) -> diesel::QueryResult<Option<Made>> {
    let select = sql_query(format!("{MADE} AND image_url = $1 LIMIT 1")).bind::<Text, _>(url);
    select.get_result(connection).await.optional()
}

/// A picture whose row somebody has removed.
async fn made_as(connection: &mut AsyncPgConnection, image_id: i32) -> diesel::QueryResult<Option<Made>> {
    let select = sql_query(format!("{MADE} AND image_id = $1 LIMIT 1")).bind::<Integer, _>(image_id);
    select.get_result(connection).await.optional()
}

impl DeletableRow {
    /// The addresses at which it is shown.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let formats = self.formats.as_deref().unwrap_or_default();
        serde_json::from_str(formats).unwrap_or_default()
    }
}
