//! Erasing: what the ledger knows of a job and its picture goes, and a row stays that says that there was one, so that no package of it is
//! drawn again.
//!
//! Three steps, each of which can be done again: [`Db::mark_erased`] keeps the names of the objects, which the caller removes; then
//! [`Db::finish_erasing`].

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Bytea, Integer, Nullable, Text, Timestamptz};
use diesel::{OptionalExtension, QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use uuid::Uuid;

use super::fail::storable;
use super::locks::patiently;
use super::statement::on_connection;
use super::{Db, DbError};

/// What there is of a job.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Erasable {
    /// Its last owner's fence; `None`: the ledger does not know the job.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub fence: Option<i64>,
    /// Its state.
    #[diesel(sql_type = Nullable<Text>)]
    pub state: Option<String>,
    /// Who works on it.
    #[diesel(sql_type = Nullable<Text>)]
    pub worker_id: Option<String>,
    /// How many other jobs had the number before.
    #[diesel(sql_type = Integer)]
    pub reuses: i32,
    /// Its package, empty once it has ended.
    #[diesel(sql_type = Text)]
    pub package: String,
    /// All objects that belong to it, as far as that was written down.
    #[diesel(sql_type = Array<Text>)]
    pub object_keys: Vec<String>,
    /// The address of its picture, until it is erased.
    #[diesel(sql_type = Nullable<Text>)]
    pub image_url: Option<String>,
    /// The call that is open, and its provider.
    #[diesel(sql_type = Nullable<Integer>)]
    pub call_no: Option<i32>,
    /// Who was asked.
    #[diesel(sql_type = Nullable<Text>)]
    pub provider: Option<String>,
    /// Who has asked, and may still wait for the answer.
    #[diesel(sql_type = Nullable<Text>)]
    pub caller: Option<String>,
}

/// A dead package, to be erased.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct DeadBytes {
    /// Row of `generative_ai.dead_packages`.
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    pub id: Uuid,
    /// When it died.
    #[diesel(sql_type = Timestamptz)]
    pub dead_at: DateTime<Utc>,
    /// As it was pushed.
    #[diesel(sql_type = Bytea)]
    pub payload: Vec<u8>,
}

/// What was erased in Postgres.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, QueryableByName)]
pub struct Erased {
    /// Dead packages.
    #[diesel(sql_type = BigInt)]
    pub dead: i64,
    /// Ends that were posted, or were to be, with the addresses.
    #[diesel(sql_type = BigInt)]
    pub callbacks: i64,
    /// Row of `images`, where the job had one.
    #[diesel(sql_type = Nullable<Integer>)]
    pub image_id: Option<i32>,
    /// Whether that row is marked as deleted; not where this account may not do so.
    #[diesel(sql_type = Bool)]
    pub is_image_marked: bool,
}

#[derive(QueryableByName)]
struct MayMark {
    #[diesel(sql_type = Bool)]
    may: bool,
}

#[derive(QueryableByName)]
struct Candidate {
    #[diesel(sql_type = Integer)]
    job_id: i32,
    #[diesel(sql_type = Nullable<Text>)]
    package: Option<String>,
    #[diesel(sql_type = Nullable<Bytea>)]
    payload: Option<Vec<u8>>,
}

/// A job, and the package that may be of the user who is looked for; `None`: it is.
pub type MaybeOfUser = (i32, Option<Vec<u8>>);

impl Db {
    /// What there is of a job; `None`: neither the application nor the ledger has a row of it.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn erasable(&self, job_id: i32) -> Result<Option<Erasable>, DbError> {
        let select = sql_query(
            "SELECT job.fence, job.state, CASE job.state WHEN 'begun' THEN job.worker_id END AS worker_id,
                coalesce(job.reuses, 0) AS reuses, coalesce(job.package, '') AS package, coalesce(job.object_keys, '{}') AS object_keys,
                CASE WHEN job.object_keys IS NOT NULL THEN job.image_url END AS image_url,
                call.call_no, call.provider, CASE WHEN call.deadline_at > now() THEN call.worker_id END AS caller
             FROM (VALUES ($1)) AS asked(job_id)
             LEFT JOIN generative_ai.jobs AS job ON job.job_id = asked.job_id
             LEFT JOIN ac_background_jobs AS shown_row ON shown_row.id = asked.job_id
             LEFT JOIN generative_ai.provider_calls AS call
                ON call.job_id = asked.job_id AND call.state IN ('intended', 'accepted')
             WHERE job.job_id IS NOT NULL OR shown_row.id IS NOT NULL",
        )
        .bind::<Integer, _>(job_id);
        on_connection(&self.pool, async |connection| {
            select.get_result(connection).await.optional()
        })
        .await
    }

    /// The dead packages of a job, whatever became of them.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn dead_bytes(&self, job_id: i32) -> Result<Vec<DeadBytes>, DbError> {
        let select =
            sql_query("SELECT id, dead_at, payload FROM generative_ai.dead_packages WHERE job_id = $1")
                .bind::<Integer, _>(job_id);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }

    /// Jobs of `queue` that may be of a user: those whose images are, and those whose packages mention the number as `userId`, each
    /// with its package to look into.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn maybe_of_user(&self, queue: &str, user_id: i32) -> Result<Vec<MaybeOfUser>, DbError> {
        // Also in a text within a text.
        let mention = format!(r#"userId[\\]*"\s*:\s*[\\]*"?0*{user_id}(\D|$)"#);
        let select = sql_query(
            "SELECT job.job_id, NULL AS package, NULL::bytea AS payload FROM generative_ai.jobs AS job
                JOIN images AS image ON image.id = job.image_id
                WHERE image.user_id = $2 AND coalesce(job.queue, $1) = $1
             UNION ALL
             SELECT job.job_id, job.package, NULL FROM generative_ai.jobs AS job
                WHERE job.package <> '' AND job.package ~ $3 AND coalesce(job.queue, $1) = $1
             UNION ALL
             SELECT dead.job_id, NULL, dead.payload FROM generative_ai.dead_packages AS dead
                LEFT JOIN generative_ai.jobs AS job ON job.job_id = dead.job_id
                WHERE dead.job_id IS NOT NULL AND encode(dead.payload, 'escape') ~ $3 AND coalesce(job.queue, $1) = $1
             ORDER BY 1",
        )
        .bind::<Text, _>(queue)
        .bind::<Integer, _>(user_id)
        .bind::<Text, _>(mention);
        let rows: Vec<Candidate> =
            on_connection(&self.pool, async |connection| select.load(connection).await).await?;
        let rows = rows.into_iter();
        Ok(rows
            .map(|row| {
                (
                    row.job_id,
                    row.payload.or_else(|| row.package.map(String::into_bytes)),
                )
            })
            .collect())
    }

    /// Ends a job, as one that is erased, under a new fence: its prompt goes, and nobody can record a picture for it. `object_keys` are
    /// kept until they are removed. `false`: it has changed since.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again. Rows that somebody has locked are waited for, and who has is said.
    pub async fn mark_erased(
        &self,
        job_id: i32,
        found: &Erasable,
        object_keys: &[String],
        message: &str,
    ) -> Result<bool, DbError> {
        let update = sql_query(
            "WITH erased AS (
                INSERT INTO generative_ai.jobs AS job
                    (job_id, state, deliveries, package, finished_at, error_class, error_message, object_keys, row_created_at)
                SELECT asked.job_id, 'cancelled', 0, '', now(), 'cancelled', $4, $3, shown_row.created_at
                FROM (VALUES ($1)) AS asked(job_id) LEFT JOIN ac_background_jobs AS shown_row ON shown_row.id = asked.job_id
                ON CONFLICT (job_id) DO UPDATE SET
                    state = 'cancelled', fence = job.fence + 1, package = '', worker_id = NULL, next_attempt_at = NULL,
                    finished_at = coalesce(job.finished_at, now()), error_class = 'cancelled', error_message = excluded.error_message,
                    error_details = NULL, object_keys = excluded.object_keys, callback_urls = '{}'
                WHERE job.fence = $2
                RETURNING job.job_id
             ), told AS (
                UPDATE ac_background_jobs AS shown_row SET error = $4, updated_at = now(), data = CASE jsonb_typeof(shown_row.data)
                    WHEN 'object' THEN shown_row.data - 'imageId' - 'imageUrl'
                    WHEN 'string' THEN to_jsonb(regexp_replace(shown_row.data #>> '{}',
                        ',?\\s*\"imageId\"\\s*:\\s*\\d+\\s*,\\s*\"imageUrl\"\\s*:\\s*\"[^\"]*\"', ''))
                    ELSE shown_row.data END
                FROM erased WHERE shown_row.id = erased.job_id
             ), ended AS (
                UPDATE generative_ai.provider_calls AS call SET state = 'unknown', ended_at = now(), error_class = 'cancelled',
                    error_details = 'the job was erased while nobody knew what this call brings'
                FROM erased WHERE call.job_id = erased.job_id AND call.state = 'intended'
             )
             SELECT job_id FROM erased",
        )
        .bind::<Integer, _>(job_id)
        .bind::<BigInt, _>(found.fence.unwrap_or_default())
        .bind::<Array<Text>, _>(object_keys)
        .bind::<Text, _>(storable(message).into_owned());
        let rows: Vec<super::cancel::JobId> =
            patiently(&self.pool, |connection| update.clone().load(connection).boxed()).await?;
        Ok(!rows.is_empty())
    }

    /// Forgets the rest of an erased job, once its objects are gone: what the ledger knows of its picture, where its calls' pictures can
    /// be had, its dead packages, and where its end was or is to be posted. Its calls stay for the books.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn finish_erasing(&self, job_id: i32) -> Result<Erased, DbError> {
        let may = sql_query(
            "SELECT has_column_privilege('images', 'deleted', 'UPDATE') AND has_column_privilege('images', 'formats', 'UPDATE') AS may",
        );
        let rows: Vec<MayMark> =
            on_connection(&self.pool, async |connection| may.load(connection).await).await?;
        let mark = match rows.iter().any(|row| row.may) {
            true => {
                "UPDATE images AS image SET deleted = true, formats = '[]', updated_at = now() FROM known
                 WHERE image.id = known.image_id RETURNING image.id"
            }
            false => "SELECT NULL::integer AS id WHERE false",
        };
        let update = sql_query(format!(
            "WITH known AS (
                SELECT job_id, image_id FROM generative_ai.jobs WHERE job_id = $1 FOR UPDATE
             ), forgotten AS (
                UPDATE generative_ai.jobs AS job SET
                    object_keys = NULL, image_id = NULL, image_url = NULL, provenance_mark = NULL, provider_request_id = NULL,
                    usage = NULL, error_details = NULL, package = ''
                FROM known WHERE job.job_id = known.job_id AND job.state = 'cancelled'
             ), calls AS (
                UPDATE generative_ai.provider_calls AS call SET handle = NULL, provider_request_id = NULL, error_details = NULL
                WHERE call.job_id = $1 AND call.state NOT IN ('intended', 'accepted')
             ), dead AS (
                DELETE FROM generative_ai.dead_packages AS dead WHERE dead.job_id = $1 RETURNING dead.id
             ), callbacks AS (
                DELETE FROM generative_ai.callbacks AS callback WHERE callback.job_id = $1 RETURNING callback.id
             ), marked AS ({mark})
             SELECT (SELECT count(*) FROM dead) AS dead, (SELECT count(*) FROM callbacks) AS callbacks, (SELECT image_id FROM known) AS image_id,
                EXISTS (SELECT FROM marked) AS is_image_marked"
        ))
        .bind::<Integer, _>(job_id);
        on_connection(&self.pool, async |connection| update.get_result(connection).await).await
    }
}
