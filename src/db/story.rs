//! All that Postgres knows of one job, for people who want to know what became of it.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Bool, Double, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde::Serialize;
use serde_json::Value;

use super::callbacks::OF_JOB;
use super::statement::on_connection;
use super::{CallbackRow, Db, DbError};

/// The rows of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// The application's row.
    pub shown: Option<ShownRow>,
    /// The worker's own row, once the job has been begun.
    pub ledger: Option<LedgerRow>,
    /// What has been asked of providers that cost money, in its order.
    pub calls: Vec<CallRow>,
    /// The image row.
    pub image: Option<ImageRow>,
    /// To whom its ends were posted, or are to be.
    pub callbacks: Vec<CallbackRow>,
}

/// What the person who waits sees.
#[derive(Clone, Debug, PartialEq, Serialize, QueryableByName)]
#[serde(rename_all = "camelCase")]
pub struct ShownRow {
    /// 5 (queued) to 100 (done).
    #[diesel(sql_type = Nullable<Integer>)]
    pub progress: Option<i32>,
    /// Why it has failed for good.
    #[diesel(sql_type = Nullable<Text>)]
    pub error: Option<String>,
    /// `data.imageId`
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub image_id: Option<Value>,
    /// `data.imageUrl`
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub image_url: Option<Value>,
    /// When the application made it.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub created_at: Option<DateTime<Utc>>,
    /// Its last change.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub updated_at: Option<DateTime<Utc>>,
}

/// The worker's own row.
#[derive(Clone, Debug, PartialEq, Serialize, QueryableByName)]
#[serde(rename_all = "camelCase")]
pub struct LedgerRow {
    /// `waiting`, `begun`, `retry_wait`, `held`, `done`, `dead`, …
    #[diesel(sql_type = Text)]
    pub state: String,
    /// The owner, or who was it last.
    #[diesel(sql_type = Nullable<Text>)]
    pub worker_id: Option<String>,
    /// How often its package has been delivered.
    #[diesel(sql_type = Integer)]
    pub deliveries: i32,
    /// Failed attempts of this life.
    #[diesel(sql_type = Integer)]
    pub attempts: i32,
    /// Owners that were lost with it in their hands.
    #[diesel(sql_type = Integer)]
    pub crashes: i32,
    /// When it was last begun.
    #[diesel(sql_type = Timestamptz)]
    pub begun_at: DateTime<Utc>,
    /// When it is due again.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// How long until then.
    #[diesel(sql_type = Nullable<Double>)]
    pub due_in_s: Option<f64>,
    /// When it was done, or failed for good.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
    /// Class of the last failure.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_class: Option<String>,
    /// Its sentence for the person.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_message: Option<String>,
    /// What only an operator wants to know of it.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_details: Option<String>,
    /// Row of `images`.
    #[diesel(sql_type = Nullable<Integer>)]
    pub image_id: Option<i32>,
    /// Its public URL.
    #[diesel(sql_type = Nullable<Text>)]
    pub image_url: Option<String>,
    /// All objects that belong to it.
    #[diesel(sql_type = Nullable<Array<Text>>)]
    pub object_keys: Option<Vec<String>>,
    /// Which mark says that the picture is machine-made.
    #[diesel(sql_type = Nullable<Text>)]
    pub provenance_mark: Option<String>,
    /// Who drew it.
    #[diesel(sql_type = Nullable<Text>)]
    pub provider: Option<String>,
    /// With which model.
    #[diesel(sql_type = Nullable<Text>)]
    pub model: Option<String>,
    /// The provider's own id of the call.
    #[diesel(sql_type = Nullable<Text>)]
    pub provider_request_id: Option<String>,
}

/// A call that costs money.
#[derive(Clone, Debug, PartialEq, Serialize, QueryableByName)]
#[serde(rename_all = "camelCase")]
pub struct CallRow {
    /// Counts the calls of the job from 1.
    #[diesel(sql_type = Integer)]
    pub call_no: i32,
    /// Who was asked.
    #[diesel(sql_type = Text)]
    pub provider: String,
    /// For which model.
    #[diesel(sql_type = Text)]
    pub model: String,
    /// `intended`, `accepted`, `succeeded`, `failed` or `unknown`.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// Who asked.
    #[diesel(sql_type = Text)]
    pub worker_id: String,
    /// What the provider can be asked for the picture by.
    #[diesel(sql_type = Nullable<Text>)]
    pub handle: Option<String>,
    /// What the provider's support asks for.
    #[diesel(sql_type = Nullable<Text>)]
    pub provider_request_id: Option<String>,
    /// When.
    #[diesel(sql_type = Timestamptz)]
    pub sent_at: DateTime<Utc>,
    /// Nobody waits for it after this.
    #[diesel(sql_type = Timestamptz)]
    pub deadline_at: DateTime<Utc>,
    /// When it was over.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub ended_at: Option<DateTime<Utc>>,
    /// How long it took, or has taken so far.
    #[diesel(sql_type = Double)]
    pub took_s: f64,
    /// Class of its failure.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_class: Option<String>,
    /// What the provider said.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_details: Option<String>,
    /// US dollars.
    #[diesel(sql_type = Nullable<Double>)]
    pub cost_usd: Option<f64>,
    /// `reported`, `computed` or `estimated`.
    #[diesel(sql_type = Nullable<Text>)]
    pub cost_basis: Option<String>,
}

/// The row of a finished picture.
#[derive(Clone, Debug, PartialEq, Serialize, QueryableByName)]
#[serde(rename_all = "camelCase")]
pub struct ImageRow {
    /// Row of `images`.
    #[diesel(sql_type = Integer)]
    pub id: i32,
    /// Public URLs, as JSON.
    #[diesel(sql_type = Nullable<Text>)]
    pub formats: Option<String>,
    /// Its owner.
    #[diesel(sql_type = Nullable<Integer>)]
    pub user_id: Option<i32>,
    /// Whether the application has deleted it.
    #[diesel(sql_type = Bool)]
    pub deleted: bool,
}

const SHOWN: &str = "SELECT progress, error, data->'imageId' AS image_id, data->'imageUrl' AS image_url, created_at, updated_at
    FROM ac_background_jobs WHERE id = $1";
const LEDGER: &str = "SELECT state, worker_id, deliveries, attempts, crashes, begun_at, next_attempt_at,
        extract(epoch FROM next_attempt_at - now())::double precision AS due_in_s, finished_at,
        error_class, error_message, error_details, image_id, image_url, object_keys, provenance_mark,
        provider, model, provider_request_id
    FROM generative_ai.jobs WHERE job_id = $1";
const CALLS: &str = "SELECT call_no, provider, model, state, worker_id, handle, provider_request_id, sent_at, deadline_at, ended_at,
        extract(epoch FROM coalesce(ended_at, now()) - sent_at)::double precision AS took_s,
        error_class, error_details, cost_usd, cost_basis
    FROM generative_ai.provider_calls WHERE job_id = $1 ORDER BY call_no";
const IMAGE: &str = "SELECT image.id, image.formats, image.user_id, image.deleted
    FROM images AS image JOIN generative_ai.jobs AS job ON job.image_id = image.id WHERE job.job_id = $1";

impl Db {
    /// Reads the rows of a job, each as it is at its own moment.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn story(&self, job_id: i32) -> Result<Story, DbError> {
        let of_job = |query: &'static str| sql_query(query).bind::<Integer, _>(job_id);
        on_connection(&self.pool, async |connection| {
            let shown: Vec<ShownRow> = of_job(SHOWN).load(connection).await?;
            let ledger: Vec<LedgerRow> = of_job(LEDGER).load(connection).await?;
            let calls = of_job(CALLS).load(connection).await?;
            let image: Vec<ImageRow> = of_job(IMAGE).load(connection).await?;
            let callbacks = of_job(OF_JOB).load(connection).await?;
            Ok::<_, diesel::result::Error>(Story {
                shown: shown.into_iter().next(),
                ledger: ledger.into_iter().next(),
                calls,
                image: image.into_iter().next(),
                callbacks,
            })
        })
        .await
    }
}
