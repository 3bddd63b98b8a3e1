//! The latest pictures, page by page.

use chrono::{DateTime, NaiveDate, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Double, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::super::statement::on_connection;
use super::super::{Db, DbError};

/// Which pictures are meant: those for which everything holds that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PictureFilter {
    /// Drawn by this provider.
    pub provider: Option<String>,
    /// With this model.
    pub model: Option<String>,
    /// An icon, or a picture of any other type.
    pub is_icon: Option<bool>,
    /// Of this user.
    pub user_id: Option<i32>,
    /// Of this collection: its id, or `type/id`.
    pub collection: Option<String>,
    /// Done on this day, UTC.
    pub day: Option<NaiveDate>,
    /// Of jobs with lower numbers.
    pub before: Option<i32>,
}

/// A finished picture.
#[derive(Clone, Debug, PartialEq, QueryableByName)]
pub struct Picture {
    /// Whose it is.
    #[diesel(sql_type = Integer)]
    pub job_id: i32,
    /// Row of `images`.
    #[diesel(sql_type = Integer)]
    pub image_id: i32,
    /// Who drew it.
    #[diesel(sql_type = Nullable<Text>)]
    pub provider: Option<String>,
    /// With which model.
    #[diesel(sql_type = Nullable<Text>)]
    pub model: Option<String>,
    /// US dollars.
    #[diesel(sql_type = Nullable<Double>)]
    pub cost_usd: Option<f64>,
    /// `reported`, `computed` or `estimated`.
    #[diesel(sql_type = Nullable<Text>)]
    pub cost_basis: Option<String>,
    /// When it was done.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
    /// How long the last attempt took.
    #[diesel(sql_type = Nullable<Double>)]
    pub took_s: Option<f64>,
    /// The object that is shown.
    #[diesel(sql_type = Nullable<Text>)]
    pub object_key: Option<String>,
    /// Its owner.
    #[diesel(sql_type = Nullable<Integer>)]
    pub user_id: Option<i32>,
    /// Whether the application has deleted it.
    #[diesel(sql_type = Bool)]
    pub is_deleted: bool,
}

/// Pictures, and where the next ones begin.
#[derive(Clone, Debug, PartialEq)]
pub struct PicturePage {
    /// The newest jobs first.
    pub pictures: Vec<Picture>,
    /// To go on with; `None`: there are no more.
    pub next_before: Option<i32>,
}

#[derive(QueryableByName)]
struct Objects {
    #[diesel(sql_type = Nullable<Array<Text>>)]
    object_keys: Option<Vec<String>>,
    #[diesel(sql_type = Nullable<Text>)]
    image_url: Option<String>,
}

#[derive(QueryableByName)]
struct Last {
    #[diesel(sql_type = Nullable<Integer>)]
    last: Option<i32>,
}

/// Jobs that are looked through for one page.
const LOOKED_AT: i64 = 20_000;

/// The jobs that are looked through: `$2` of them before the job `$1`, of the collection `$3` where one is asked for.
fn window(filter: &PictureFilter) -> String {
    let chosen = match filter.collection {
        // In the words of the index of collections.
        Some(_) => "object_keys IS NOT NULL AND split_part(object_keys[1], '/', 3) = $3",
        None => "$3 IS NULL",
    };
    format!(
        "SELECT job_id, state, image_id, provider, model, cost_usd, cost_basis, finished_at, begun_at, object_keys
         FROM generative_ai.jobs WHERE job_id < $1 AND {chosen} ORDER BY job_id DESC LIMIT $2"
    )
}

/// The id of a collection that is named by it, or as `type/id`.
pub(super) fn collection_id(collection: &str) -> &str {
    collection.rsplit('/').next().unwrap_or_default()
}

impl Db {
    /// Some pictures of jobs of all queues. Looks through 20,000 jobs, or 20,000 of a collection, and goes on from there the next time.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn pictures(&self, filter: &PictureFilter, most: u32) -> Result<PicturePage, DbError> {
        let before = filter.before.unwrap_or(i32::MAX);
        let window = window(filter);
        let collection_id = filter.collection.as_deref().map(collection_id);
        let query = format!(
            "SELECT job.job_id, job.image_id, job.provider, job.model, job.cost_usd, job.cost_basis, job.finished_at,
                extract(epoch FROM job.finished_at - job.begun_at)::double precision AS took_s, job.object_keys[1] AS object_key,
                image.user_id, coalesce(image.deleted, true) AS is_deleted
             FROM ({window}) AS job LEFT JOIN images AS image ON image.id = job.image_id
             WHERE job.state = 'done' AND job.image_id IS NOT NULL AND job.object_keys IS NOT NULL
                AND ($4 IS NULL OR job.provider = $4) AND ($5 IS NULL OR job.model = $5) AND ($6 IS NULL OR image.user_id = $6)
                AND ($7 IS NULL OR $7 = $3 OR split_part(job.object_keys[1], '/', 2) || '/' || $3 = $7)
                AND ($8 IS NULL OR (job.finished_at AT TIME ZONE 'UTC')::date = $8)
                AND ($9 IS NULL OR (job.object_keys[1] LIKE '%-icon.%') = $9)
             ORDER BY job.job_id DESC LIMIT $10"
        );
        let select = sql_query(query)
            .bind::<Integer, _>(before)
            .bind::<BigInt, _>(LOOKED_AT)
            .bind::<Nullable<Text>, _>(collection_id)
            .bind::<Nullable<Text>, _>(&filter.provider)
            .bind::<Nullable<Text>, _>(&filter.model)
            .bind::<Nullable<Integer>, _>(filter.user_id)
            .bind::<Nullable<Text>, _>(&filter.collection)
            .bind::<Nullable<diesel::sql_types::Date>, _>(filter.day)
            .bind::<Nullable<Bool>, _>(filter.is_icon)
            .bind::<BigInt, _>(i64::from(most) + 1);
        let mut pictures: Vec<Picture> =
            on_connection(&self.pool, async |connection| select.load(connection).await).await?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if pictures.len() > most {
            pictures.truncate(most);
            let next_before = pictures.last().map(|picture| picture.job_id);
            return Ok(PicturePage {
                pictures,
                next_before,
            });
        }
        // The end of the window, and not of the jobs.
        let end = sql_query(format!(
            "SELECT min(job_id) AS last FROM ({window}) AS job HAVING count(*) = $2"
        ))
        .bind::<Integer, _>(before)
        .bind::<BigInt, _>(LOOKED_AT)
        .bind::<Nullable<Text>, _>(collection_id);
        let ends: Vec<Last> =
            on_connection(&self.pool, async |connection| end.load(connection).await).await?;
        let next_before = ends.into_iter().next().and_then(|end| end.last);
        Ok(PicturePage {
            pictures,
            next_before,
        })
    }

    /// The name of the object that is shown as this picture: of this job, or else of one of the latest ones.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn object_of_image(
        &self,
        image_id: i32,
        job_id: Option<i32>,
    ) -> Result<Option<String>, DbError> {
        let of_job =
            "SELECT object_keys, image_url FROM generative_ai.jobs WHERE job_id = $2 AND image_id = $1";
        let of_latest = "SELECT object_keys, image_url FROM (
                SELECT image_id, object_keys, image_url FROM generative_ai.jobs ORDER BY job_id DESC LIMIT 20000
            ) AS job WHERE image_id = $1 AND object_keys IS NOT NULL AND $2 IS NULL LIMIT 1";
        let select = sql_query(if job_id.is_some() { of_job } else { of_latest })
            .bind::<Integer, _>(image_id)
            .bind::<Nullable<Integer>, _>(job_id);
        let rows: Vec<Objects> =
            on_connection(&self.pool, async |connection| select.load(connection).await).await?;
        Ok(rows.into_iter().next().and_then(|row| {
            let keys = row.object_keys?;
            let url = row.image_url.unwrap_or_default();
            let shown = keys.iter().find(|key| url.ends_with(key.as_str()));
            shown.or_else(|| keys.as_slice().first()).cloned()
        }))
    }
}
