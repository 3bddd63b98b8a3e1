//! Ending a job with its picture.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::sql_types::{Array, Bool, Double, Integer, Jsonb, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::FutureExt;

use super::shown::data_with_image;
use super::statement::{Answers, Keyed, batch_statement, on_connection};
use super::{Db, DbError};

/// A stored picture and where it came from.
#[derive(Clone, Debug)]
pub struct PictureRecord {
    /// Row of `ac_background_jobs`.
    pub job_id: i32,
    /// How many other jobs had the number before: the picture of one of them is not this job's.
    pub reuses: i32,
    /// Owner of the image row.
    pub user_id: Option<i32>,
    /// Public URLs, the one to show first. Never empty.
    pub urls: Vec<String>,
    /// Keys of all objects that belong to the image, also those that are not shown.
    pub object_keys: Vec<String>,
    /// Bucket, where the store has one.
    pub bucket: Option<String>,
    /// Which mark says that the picture is machine-made, where that is known.
    pub provenance_mark: Option<&'static str>,
    /// Who drew it.
    pub provider: String,
    /// With which model.
    pub model: String,
    /// The provider's own id of the call.
    pub provider_request_id: Option<String>,
    /// As the provider reported it.
    pub usage: Option<serde_json::Value>,
    /// US dollars, and how that figure came to be.
    pub cost: Option<(f64, &'static str)>,
    /// The call that brought it, where it cost money.
    pub call_no: Option<i32>,
}

/// What recording a picture came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The job has its image row.
    Image {
        /// Row of `images`.
        image_id: i32,
        /// Its public URL.
        image_url: String,
    },
    /// Somebody has ended the job. Its call is paid all the same, and its objects are for [`Db::keep_picture`].
    Ended,
    /// Postgres has lost that the job was begun, in a failover say: begin it again, and record again.
    NotBegun,
}

impl Db {
    /// Records a picture: image row, job row and ledger in one commit. Accepted from any attempt, also from one
    /// that has lost its fence, as long as the job has no picture; after that the first picture is returned.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again and never makes a second image row.
    pub async fn record(&self, picture: Arc<PictureRecord>) -> Result<Recorded, DbError> {
        match self.record.submit(picture.clone()).await {
            // What deleting the person would have done to an image made before.
            Err(DbError::UnknownUser(_)) => {
                let ownerless = PictureRecord {
                    user_id: None,
                    ..PictureRecord::clone(&picture)
                };
                self.record.submit(Arc::new(ownerless)).await
            }
            result => result,
        }
    }

    /// Keeps what is known of a picture that is not its job's: its objects, and what its call has cost. A job that could not be
    /// recorded finds it in the store when it is begun again; of one that somebody has ended the objects are known.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn keep_picture(&self, picture: &PictureRecord) -> Result<(), DbError> {
        let update = diesel::sql_query(
            "WITH paid AS (
                UPDATE generative_ai.provider_calls AS call SET
                    state = 'succeeded', ended_at = now(), error_class = NULL, error_details = NULL,
                    provider_request_id = coalesce($3, call.provider_request_id), usage = $4, cost_usd = $5, cost_basis = $6
                WHERE call.job_id = $1 AND call.call_no = $2 AND call.state <> 'succeeded'
             )
             UPDATE generative_ai.jobs SET object_keys = $7, provenance_mark = coalesce($8, provenance_mark)
             WHERE job_id = $1 AND reuses = $9 AND state <> 'done'",
        )
        .bind::<Integer, _>(picture.job_id)
        .bind::<Nullable<Integer>, _>(picture.call_no)
        .bind::<Nullable<Text>, _>(&picture.provider_request_id)
        .bind::<Nullable<Jsonb>, _>(&picture.usage)
        .bind::<Nullable<Double>, _>(picture.cost.map(|(usd, _)| usd))
        .bind::<Nullable<Text>, _>(picture.cost.map(|(_, basis)| basis))
        .bind::<Array<Text>, _>(&picture.object_keys)
        .bind::<Nullable<Text>, _>(picture.provenance_mark)
        .bind::<Integer, _>(picture.reuses);
        on_connection(&self.pool, async |connection| update.execute(connection).await)
            .await
            .map(|_| ())
    }
}

impl Keyed for PictureRecord {
    type Key = i32;
    fn key(&self) -> i32 {
        self.job_id
    }

    fn shown_row(&self) -> Option<i32> {
        Some(self.job_id)
    }
}

/// A statement over pictures, of which `wanted` are to become their jobs'. The calls of `paid` are paid.
///
/// Image rows are made in an order and lead back to their jobs by their places in it, since a trigger of the application
/// may rewrite whatever they hold; where one of them is left out, all of it fails, as the last of them has no place then.
macro_rules! picture_statement {
    ($(#[$doc:meta])* $name:ident -> $columns:tt, wanted: $wanted:literal, paid: $paid:literal, data: $data:expr, $answers:literal) => {
        batch_statement! {
            $(#[$doc])*
            $name {
                job_id: i32 as Integer,
                reuses: i32 as Integer,
                user_id: Option<i32> as Nullable<Integer>,
                formats: String as Text,
                image_url: &'v str as Text,
                object_keys: String as Text,
                bucket: Option<&'v str> as Nullable<Text>,
                provenance_mark: Option<&'v str> as Nullable<Text>,
                provider: &'v str as Text,
                model: &'v str as Text,
                provider_request_id: Option<&'v str> as Nullable<Text>,
                usage: Option<&'v serde_json::Value> as Nullable<Jsonb>,
                cost_usd: Option<f64> as Nullable<Double>,
                cost_basis: Option<&'v str> as Nullable<Text>,
                call_no: Option<i32> as Nullable<Integer>,
            } -> $columns
            concat!($wanted, "
    , inserted AS (
        INSERT INTO images (user_id, s3_bucket_name, original_filename, formats, user_agent, ip_address, deleted, created_at, updated_at)
        SELECT user_id, bucket, 'n/a', formats, 'AI worker', '127.0.0.1', false, now(), now() FROM wanted ORDER BY place
        RETURNING id
    ), image AS (
        SELECT array_agg(id) AS ids FROM inserted
    ), done AS (
        UPDATE generative_ai.jobs AS row SET
            state = 'done', finished_at = now(), package = '', next_attempt_at = NULL,
            error_class = NULL, error_message = NULL, error_details = NULL,
            image_id = coalesce(
                image.ids[wanted.place],
                ('images has taken ' || coalesce(cardinality(image.ids), 0) || ' rows, which is too few')::integer
            ),
            image_url = wanted.image_url, object_keys = string_to_array(wanted.object_keys, E'\\n'),
            provenance_mark = wanted.provenance_mark, provider = wanted.provider, model = wanted.model,
            provider_request_id = wanted.provider_request_id, usage = wanted.usage, cost_usd = wanted.cost_usd, cost_basis = wanted.cost_basis
        FROM wanted CROSS JOIN image
        WHERE row.job_id = wanted.job_id
        RETURNING row.job_id, row.image_id, row.image_url
    ), paid AS (
        UPDATE generative_ai.provider_calls AS call SET
            state = 'succeeded', ended_at = now(), error_class = NULL, error_details = NULL,
            provider_request_id = coalesce(picture.provider_request_id, call.provider_request_id),
            usage = picture.usage, cost_usd = picture.cost_usd, cost_basis = picture.cost_basis
        FROM ", $paid, " AS picture
        WHERE call.job_id = picture.job_id AND call.call_no = picture.call_no AND call.state <> 'succeeded'
    ), shown AS (
        UPDATE ac_background_jobs AS shown_row SET data = ", $data, ", progress = 100, error = NULL, updated_at = now()
        FROM done WHERE shown_row.id = done.job_id
    )
    ", $answers)
        }

        impl<'v> $name<'v> {
            fn of(pictures: &[&'v PictureRecord]) -> Self {
                let mut statement = Self::default();
                for picture in pictures {
                    statement.job_id.push(picture.job_id);
                    statement.reuses.push(picture.reuses);
                    statement.user_id.push(picture.user_id);
                    statement
                        .formats
                        .push(serde_json::json!(picture.urls).to_string());
                    statement
                        .image_url
                        .push(picture.urls.iter().map(String::as_str).next().unwrap_or_default());
                    statement.object_keys.push(picture.object_keys.join("\n"));
                    statement.bucket.push(picture.bucket.as_deref());
                    statement.provenance_mark.push(picture.provenance_mark);
                    statement.provider.push(&picture.provider);
                    statement.model.push(&picture.model);
                    statement
                        .provider_request_id
                        .push(picture.provider_request_id.as_deref());
                    statement.usage.push(picture.usage.as_ref());
                    statement.cost_usd.push(picture.cost.map(|(usd, _)| usd));
                    statement.cost_basis.push(picture.cost.map(|(_, basis)| basis));
                    statement.call_no.push(picture.call_no);
                }
                statement
            }
        }
    };
}

picture_statement! {
    /// Pictures of jobs that have not ended and whose rows in `ac_background_jobs` are there, are free and hold an object, as
    /// nearly all do. Those that are not among the answers are for [`RecordPictures`].
    RecordPlainPictures -> (Integer, Integer, Text),
    wanted: "
    , plain AS (
        SELECT asked.* FROM asked
            JOIN generative_ai.jobs AS job ON job.job_id = asked.job_id AND job.reuses = asked.reuses
            JOIN ac_background_jobs AS shown_row ON shown_row.id = asked.job_id
        WHERE job.state NOT IN ('done', 'cancelled') AND (shown_row.data IS NULL OR jsonb_typeof(shown_row.data) = 'object')
        ORDER BY asked.job_id FOR UPDATE OF job FOR NO KEY UPDATE OF shown_row SKIP LOCKED
    ), wanted AS (
        SELECT *, row_number() OVER () AS place FROM plain
    )",
    paid: "wanted",
    data: "coalesce(shown_row.data, '{}') || jsonb_build_object('imageId', done.image_id, 'imageUrl', done.image_url)",
    "SELECT job_id, image_id, image_url FROM done"
}

picture_statement! {
    /// All others. The lock on the job row comes first, so that of two attempts that finish at once one makes the image row and
    /// the other finds it. The call is paid, also when its picture came too late to be the job's, or cannot be recorded yet.
    ///
    /// Jobs whose rows in `ac_background_jobs` others have locked are left out.
    RecordPictures -> (Integer, Nullable<Integer>, Nullable<Text>, Bool),
    wanted: "
    , known AS (
        SELECT job.job_id, CASE WHEN job.reuses = asked.reuses THEN job.state ELSE 'renewed' END AS state,
            CASE WHEN job.reuses = asked.reuses THEN job.image_id END AS image_id, job.image_url
        FROM generative_ai.jobs AS job JOIN asked ON asked.job_id = job.job_id ORDER BY job.job_id FOR UPDATE OF job
    ), free AS (
        SELECT shown_row.id FROM known JOIN ac_background_jobs AS shown_row ON shown_row.id = known.job_id
        WHERE known.state NOT IN ('done', 'cancelled', 'renewed') FOR NO KEY UPDATE OF shown_row SKIP LOCKED
    ), wanted AS (
        SELECT asked.*, row_number() OVER () AS place
        FROM asked JOIN known ON known.job_id = asked.job_id LEFT JOIN free ON free.id = known.job_id
        WHERE known.state NOT IN ('done', 'cancelled', 'renewed')
            AND (free.id IS NOT NULL OR NOT EXISTS (SELECT FROM ac_background_jobs AS shown_row WHERE shown_row.id = known.job_id))
    )",
    paid: "asked",
    data: data_with_image!("shown_row.data", "jsonb_build_object('imageId', done.image_id, 'imageUrl', done.image_url)"),
    "SELECT asked.job_id, coalesce(done.image_id, known.image_id), coalesce(done.image_url, known.image_url), known.job_id IS NOT NULL
    FROM asked
    LEFT JOIN known ON known.job_id = asked.job_id
    LEFT JOIN done ON done.job_id = asked.job_id
    WHERE known.job_id IS NULL OR done.job_id IS NOT NULL OR known.state IN ('done', 'cancelled', 'renewed')"
}

/// Job, image, its URL, whether there is a row of the job in the ledger.
type RecordedRow = (i32, Option<i32>, Option<String>, bool);

pub(super) fn run_record<'c>(
    connection: &'c mut AsyncPgConnection,
    pictures: &'c [Arc<PictureRecord>],
) -> Answers<'c, Arc<PictureRecord>, Recorded> {
    async move {
        let pictures: Vec<&PictureRecord> = pictures.iter().map(AsRef::as_ref).collect();
        let rows: Vec<(i32, i32, String)> = RecordPlainPictures::of(&pictures).load(connection).await?;
        let mut recorded = HashMap::with_capacity(pictures.len());
        for (job_id, image_id, image_url) in rows {
            recorded.insert(job_id, Recorded::Image { image_id, image_url });
        }
        let is_left = |picture: &&PictureRecord| !recorded.contains_key(&picture.job_id);
        let others: Vec<&PictureRecord> = pictures.into_iter().filter(is_left).collect();
        if !others.is_empty() {
            let rows: Vec<RecordedRow> = RecordPictures::of(&others).load(connection).await?;
            recorded.extend(rows.into_iter().map(|(job_id, image_id, image_url, is_begun)| {
                let outcome = match image_id.zip(image_url) {
                    Some((image_id, image_url)) => Recorded::Image { image_id, image_url },
                    None if is_begun => Recorded::Ended,
                    None => Recorded::NotBegun,
                };
                (job_id, outcome)
            }));
        }
        Ok(recorded)
    }
    .boxed()
}
