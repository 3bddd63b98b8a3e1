//! All that Postgres knows of one job, for people who want to know what became of it: one statement, so that it is as it was at one moment.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Integer, Json};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::statement::on_connection;
use super::{CallbackRow, Db, DbError, DeadPackage, callbacks, dead};

/// Earlier lives beyond these are not told.
const LIVES: u32 = 50;

/// The rows of a job.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Story {
    /// The application's row.
    pub shown: Option<ShownRow>,
    /// The worker's own row, once the job has been begun.
    pub ledger: Option<LedgerRow>,
    /// What has been asked of providers that cost money, in its order.
    pub calls: Vec<CallRow>,
    /// The image row.
    pub image: Option<ImageRow>,
    /// The packages that have failed for good, the latest first.
    pub dead: Vec<DeadPackage>,
    /// To whom its ends were posted, or are to be.
    pub callbacks: Vec<CallbackRow>,
}

/// What the person who waits sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub struct ShownRow {
    /// 5 (queued) to 100 (done).
    pub progress: Option<i32>,
    /// Why it has failed for good.
    pub error: Option<String>,
    /// `data.imageId`
    pub image_id: Option<Value>,
    /// `data.imageUrl`
    pub image_url: Option<Value>,
    /// When the application made it.
    pub created_at: Option<DateTime<Utc>>,
    /// Its last change.
    pub updated_at: Option<DateTime<Utc>>,
}

/// The worker's own row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub struct LedgerRow {
    /// `waiting`, `begun`, `retry_wait`, `held`, `done`, `dead`, …
    pub state: String,
    /// The owner, or who was it last.
    pub worker_id: Option<String>,
    /// How often its package has been delivered.
    pub deliveries: i32,
    /// Failed attempts of this life.
    pub attempts: i32,
    /// Owners that were lost with it in their hands.
    pub crashes: i32,
    /// When it was last begun.
    pub begun_at: DateTime<Utc>,
    /// When it is due again.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// How long until then.
    pub due_in_s: Option<f64>,
    /// When it was done, or failed for good.
    pub finished_at: Option<DateTime<Utc>>,
    /// Class of the last failure.
    pub error_class: Option<String>,
    /// Its sentence for the person.
    pub error_message: Option<String>,
    /// What only an operator wants to know of it.
    pub error_details: Option<String>,
    /// Row of `images`.
    pub image_id: Option<i32>,
    /// Its public URL.
    pub image_url: Option<String>,
    /// All objects that belong to it.
    pub object_keys: Option<Vec<String>>,
    /// Which mark says that the picture is machine-made.
    pub provenance_mark: Option<String>,
    /// Who drew it.
    pub provider: Option<String>,
    /// With which model.
    pub model: Option<String>,
    /// The provider's own id of the call.
    pub provider_request_id: Option<String>,
}

/// A call that costs money.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub struct CallRow {
    /// Counts the calls of the job from 1.
    pub call_no: i32,
    /// Who was asked.
    pub provider: String,
    /// For which model.
    pub model: String,
    /// `intended`, `accepted`, `succeeded`, `failed` or `unknown`.
    pub state: String,
    /// Who asked.
    pub worker_id: String,
    /// What the provider can be asked for the picture by.
    pub handle: Option<String>,
    /// What the provider's support asks for.
    pub provider_request_id: Option<String>,
    /// When.
    pub sent_at: DateTime<Utc>,
    /// Nobody waits for it after this.
    pub deadline_at: DateTime<Utc>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
    /// How long it took, or has taken so far.
    pub took_s: f64,
    /// Class of its failure.
    pub error_class: Option<String>,
    /// What the provider said.
    pub error_details: Option<String>,
    /// US dollars.
    pub cost_usd: Option<f64>,
    /// `reported`, `computed` or `estimated`.
    pub cost_basis: Option<String>,
}

/// The row of a finished picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub struct ImageRow {
    /// Row of `images`.
    pub id: i32,
    /// Public URLs, as JSON.
    pub formats: Option<String>,
    /// Its owner.
    pub user_id: Option<i32>,
    /// Whether the application has deleted it.
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

/// Asks for all of it as one JSON object. Each part is found by an index, however many jobs there are.
static STORY: LazyLock<String> = LazyLock::new(|| {
    let one = |query: &str| format!("(SELECT row_to_json(found) FROM ({query}) AS found)");
    let all = |query: &str| format!("(SELECT coalesce(json_agg(found), '[]') FROM ({query}) AS found)");
    format!(
        "SELECT json_build_object('shown', {}, 'ledger', {}, 'calls', {}, 'image', {}, 'dead', {}, 'callbacks', {}) AS story",
        one(SHOWN),
        one(LEDGER),
        all(CALLS),
        one(IMAGE),
        all(&dead::latest_of_job(LIVES)),
        all(callbacks::OF_JOB)
    )
});

#[derive(QueryableByName)]
struct Told {
    #[diesel(sql_type = Json)]
    story: Value,
}

impl Db {
    /// Reads the rows of a job.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn story(&self, job_id: i32) -> Result<Story, DbError> {
        on_connection(&self.pool, async |connection| {
            let told: Told = sql_query(STORY.as_str())
                .bind::<Integer, _>(job_id)
                .get_result(connection)
                .await?;
            serde_json::from_value(told.story)
                .map_err(|error| diesel::result::Error::DeserializationError(error.into()))
        })
        .await
    }
}
