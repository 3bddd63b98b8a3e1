//! Ending an attempt: with a picture, with another attempt to come, or for good.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Bytea, Double, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::statement::{Keyed, batch_statement};
use super::{Db, DbError};
use crate::failure::Failure;

/// A stored picture and where it came from.
#[derive(Clone, Debug)]
pub struct PictureRecord {
    /// Row of `ac_background_jobs`.
    pub job_id: i32,
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
    /// US dollars.
    pub cost_usd: Option<f64>,
}

/// The image row of a finished job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Row of `images`.
    pub image_id: i32,
    /// Its public URL.
    pub image_url: String,
}

/// An attempt that failed and is to be followed by another.
#[derive(Clone, Debug)]
pub struct RetryRequest {
    /// Row of `ac_background_jobs`.
    pub job_id: i32,
    /// The caller's fence.
    pub fence: i64,
    /// Until the next attempt.
    pub delay: Duration,
    /// Why.
    pub failure: Failure,
}

/// An attempt that failed and is the last one.
#[derive(Clone, Debug)]
pub struct BuryRequest {
    /// Row of `ac_background_jobs`.
    pub job_id: i32,
    /// The caller's fence.
    pub fence: i64,
    /// The package as it was pushed.
    pub payload: Vec<u8>,
    /// Why.
    pub failure: Failure,
    /// Who tried last.
    pub worker_id: String,
}

/// A package that has been kept as dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buried {
    /// Row of `generative_ai.dead_packages`.
    pub id: Uuid,
    /// Failed attempts.
    pub attempts: u32,
    /// When.
    pub dead_at: DateTime<Utc>,
}

impl Db {
    /// Records a picture: image row, job row and ledger in one commit. Accepted from any attempt, also from one
    /// that has lost its fence, as long as the job has no picture; after that the first picture is returned.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again and never makes a second image row.
    pub async fn record(&self, picture: PictureRecord) -> Result<Recorded, DbError> {
        match self.submit_record(picture.clone()).await {
            // What deleting the person would have done to an image made before.
            Err(DbError::UnknownUser(_)) => {
                self.submit_record(PictureRecord {
                    user_id: None,
                    ..picture
                })
                .await
            }
            result => result,
        }
    }

    async fn submit_record(&self, picture: PictureRecord) -> Result<Recorded, DbError> {
        self.record
            .submit(picture)
            .await
            .unwrap_or_else(|| Err(DbError::lane_ended()))
    }

    /// Ends an attempt with another to come; `None` when somebody else owns the job now.
    /// Returns how many attempts have failed.
    ///
    /// # Errors
    /// [`DbError`]; a second call finds the fence used and answers `None`.
    pub async fn retry(&self, request: RetryRequest) -> Result<Option<u32>, DbError> {
        self.retry
            .submit(request)
            .await
            .unwrap_or_else(|| Err(DbError::lane_ended()))
    }

    /// Ends a job for good and tells the person why; `None` when somebody else owns the job now.
    ///
    /// # Errors
    /// [`DbError`]; a second call finds the fence used and answers `None`.
    pub async fn bury(&self, request: BuryRequest) -> Result<Option<Buried>, DbError> {
        self.bury
            .submit(request)
            .await
            .unwrap_or_else(|| Err(DbError::lane_ended()))
    }
}

macro_rules! keyed_by_job {
    ($($request:ty),+) => { $(
        impl Keyed for $request {
            type Key = i32;
            fn key(&self) -> i32 {
                self.job_id
            }
        }
    )+ };
}
keyed_by_job!(PictureRecord, RetryRequest, BuryRequest);

batch_statement! {
    /// The lock on the job row comes first, so that of two attempts that finish at once one makes the image
    /// row and the other finds it. `formats` is unique, as its URLs derive from the job: it leads from the
    /// new image row back to its job.
    RecordPictures {
        job_id: i32 as Integer,
        user_id: Option<i32> as Nullable<Integer>,
        formats: String as Text,
        image_url: String as Text,
        object_keys: String as Text,
        bucket: Option<String> as Nullable<Text>,
        provenance_mark: Option<String> as Nullable<Text>,
        provider: String as Text,
        model: String as Text,
        provider_request_id: Option<String> as Nullable<Text>,
        usage: Option<serde_json::Value> as Nullable<Jsonb>,
        cost_usd: Option<f64> as Nullable<Double>,
    } -> (Integer, Nullable<Integer>, Nullable<Text>)
    "
    , open AS (
        SELECT job.job_id FROM generative_ai.jobs AS job JOIN asked ON asked.job_id = job.job_id
        WHERE job.state <> 'done' ORDER BY job.job_id FOR UPDATE OF job
    ), image AS (
        INSERT INTO images (user_id, s3_bucket_name, original_filename, formats, user_agent, ip_address, deleted, created_at, updated_at)
        SELECT asked.user_id, asked.bucket, 'n/a', asked.formats, 'AI worker', '127.0.0.1', false, now(), now()
        FROM asked JOIN open ON open.job_id = asked.job_id
        RETURNING id, formats
    ), done AS (
        UPDATE generative_ai.jobs AS job SET
            state = 'done', finished_at = now(), next_attempt_at = NULL,
            error_class = NULL, error_message = NULL, error_details = NULL,
            image_id = image.id, image_url = asked.image_url, object_keys = string_to_array(asked.object_keys, E'\\n'),
            provenance_mark = asked.provenance_mark, provider = asked.provider, model = asked.model,
            provider_request_id = asked.provider_request_id, usage = asked.usage, cost_usd = asked.cost_usd
        FROM asked JOIN image ON image.formats = asked.formats
        WHERE job.job_id = asked.job_id
        RETURNING job.job_id, job.image_id, job.image_url
    ), shown AS (
        UPDATE ac_background_jobs AS shown_row SET
            data = (CASE WHEN jsonb_typeof(shown_row.data) = 'object' THEN shown_row.data ELSE '{}'::jsonb END)
                || jsonb_build_object('imageId', done.image_id, 'imageUrl', done.image_url),
            progress = 100, error = NULL, updated_at = now()
        FROM done WHERE shown_row.id = done.job_id
    )
    SELECT asked.job_id, coalesce(done.image_id, job.image_id), coalesce(done.image_url, job.image_url)
    FROM asked
    LEFT JOIN done ON done.job_id = asked.job_id
    LEFT JOIN generative_ai.jobs AS job ON job.job_id = asked.job_id
    "
}

pub(super) fn run_record(
    connection: &mut AsyncPgConnection,
    pictures: Vec<PictureRecord>,
) -> BoxFuture<'_, Result<HashMap<i32, Recorded>, DbError>> {
    async move {
        let mut statement = RecordPictures::default();
        for picture in pictures {
            statement.job_id.push(picture.job_id);
            statement.user_id.push(picture.user_id);
            statement
                .formats
                .push(serde_json::json!(picture.urls).to_string());
            statement
                .image_url
                .push(picture.urls.into_iter().next().unwrap_or_default());
            statement.object_keys.push(picture.object_keys.join("\n"));
            statement.bucket.push(picture.bucket);
            statement
                .provenance_mark
                .push(picture.provenance_mark.map(str::to_owned));
            statement.provider.push(picture.provider);
            statement.model.push(picture.model);
            statement.provider_request_id.push(picture.provider_request_id);
            statement.usage.push(picture.usage);
            statement.cost_usd.push(picture.cost_usd);
        }
        let rows: Vec<(i32, Option<i32>, Option<String>)> = statement.load(connection).await?;
        Ok(rows
            .into_iter()
            .filter_map(|(job_id, image_id, image_url)| {
                Some((
                    job_id,
                    Recorded {
                        image_id: image_id?,
                        image_url: image_url?,
                    },
                ))
            })
            .collect())
    }
    .boxed()
}

batch_statement! {
    /// Fenced: an owner that was replaced changes nothing.
    RetryJobs {
        job_id: i32 as Integer,
        fence: i64 as BigInt,
        delay_ms: i64 as BigInt,
        error_class: String as Text,
        error_message: String as Text,
        error_details: Option<String> as Nullable<Text>,
    } -> (Integer, Nullable<Integer>)
    "
    , failed AS (
        UPDATE generative_ai.jobs AS job SET
            state = 'retry_wait', attempts = job.attempts + 1,
            next_attempt_at = now() + asked.delay_ms * interval '1 millisecond',
            error_class = asked.error_class, error_message = asked.error_message, error_details = asked.error_details
        FROM asked
        WHERE job.job_id = asked.job_id AND job.fence = asked.fence AND job.state = 'begun'
        RETURNING job.job_id, job.attempts
    )
    SELECT asked.job_id, failed.attempts FROM asked LEFT JOIN failed ON failed.job_id = asked.job_id
    "
}

pub(super) fn run_retry(
    connection: &mut AsyncPgConnection,
    requests: Vec<RetryRequest>,
) -> BoxFuture<'_, Result<HashMap<i32, Option<u32>>, DbError>> {
    async move {
        let mut statement = RetryJobs::default();
        for request in requests {
            statement.job_id.push(request.job_id);
            statement.fence.push(request.fence);
            statement
                .delay_ms
                .push(i64::try_from(request.delay.as_millis()).unwrap_or(i64::MAX));
            statement.error_class.push(request.failure.class.to_string());
            statement.error_message.push(storable(request.failure.message));
            statement
                .error_details
                .push(request.failure.details.map(storable));
        }
        let rows: Vec<(i32, Option<i32>)> = statement.load(connection).await?;
        Ok(rows
            .into_iter()
            .map(|(job_id, attempts)| (job_id, attempts.map(i32::cast_unsigned)))
            .collect())
    }
    .boxed()
}

batch_statement! {
    /// Fenced like a retry; the person's sentence, the ledger and the kept package are one commit.
    BuryJobs {
        job_id: i32 as Integer,
        fence: i64 as BigInt,
        dead_id: Uuid as diesel::sql_types::Uuid,
        payload: Vec<u8> as Bytea,
        error_class: String as Text,
        error_message: String as Text,
        error_details: Option<String> as Nullable<Text>,
        worker_id: String as Text,
    } -> (Integer, Nullable<diesel::sql_types::Uuid>, Nullable<Integer>, Nullable<Timestamptz>)
    "
    , dead AS (
        UPDATE generative_ai.jobs AS job SET
            state = 'dead', attempts = job.attempts + 1, finished_at = now(), next_attempt_at = NULL,
            error_class = asked.error_class, error_message = asked.error_message, error_details = asked.error_details
        FROM asked
        WHERE job.job_id = asked.job_id AND job.fence = asked.fence AND job.state = 'begun'
        RETURNING job.job_id, job.attempts
    ), kept AS (
        INSERT INTO generative_ai.dead_packages (id, job_id, payload, reason, details, error_class, attempts, worker_id)
        SELECT asked.dead_id, asked.job_id, asked.payload, asked.error_message, asked.error_details,
            asked.error_class, dead.attempts, asked.worker_id
        FROM asked JOIN dead ON dead.job_id = asked.job_id
        RETURNING id, job_id, attempts, dead_at
    ), shown AS (
        UPDATE ac_background_jobs AS shown_row SET error = asked.error_message, updated_at = now()
        FROM asked JOIN dead ON dead.job_id = asked.job_id WHERE shown_row.id = asked.job_id
    )
    SELECT asked.job_id, kept.id, kept.attempts, kept.dead_at
    FROM asked LEFT JOIN kept ON kept.job_id = asked.job_id
    "
}

type BuriedRow = (i32, Option<Uuid>, Option<i32>, Option<DateTime<Utc>>);

pub(super) fn run_bury(
    connection: &mut AsyncPgConnection,
    requests: Vec<BuryRequest>,
) -> BoxFuture<'_, Result<HashMap<i32, Option<Buried>>, DbError>> {
    async move {
        let mut statement = BuryJobs::default();
        for request in requests {
            statement.job_id.push(request.job_id);
            statement.fence.push(request.fence);
            statement.dead_id.push(Uuid::new_v4());
            statement.payload.push(request.payload);
            statement.error_class.push(request.failure.class.to_string());
            statement.error_message.push(storable(request.failure.message));
            statement
                .error_details
                .push(request.failure.details.map(storable));
            statement.worker_id.push(request.worker_id);
        }
        let rows: Vec<BuriedRow> = statement.load(connection).await?;
        Ok(rows
            .into_iter()
            .map(|(job_id, id, attempts, dead_at)| {
                let buried = id
                    .zip(attempts)
                    .zip(dead_at)
                    .map(|((id, attempts), dead_at)| Buried {
                        id,
                        attempts: attempts.cast_unsigned(),
                        dead_at,
                    });
                (job_id, buried)
            })
            .collect())
    }
    .boxed()
}

/// Text as Postgres takes it: it has no NUL character.
pub(super) fn storable(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}
