//! Beginning: a job gets an owner, or the caller learns why not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use diesel::sql_types::{BigInt, Bool, Integer, Jsonb, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::FutureExt;

use super::calls::may_be_billed;
use super::shown::{data_with_image, image_id_in, image_url_in};
use super::statement::{Answers, Keyed, batch_statement};
use super::{Db, DbError};

/// Asks to own a job for one attempt.
#[derive(Clone, Debug)]
pub struct BeginRequest {
    /// Row of `ac_background_jobs`. Together with the row's `created_at` it says which job is meant: a row that was made at
    /// another time than the one that the ledger knows is another job, under a number that has been given out again.
    pub job_id: i32,
    /// Who asks.
    pub worker_id: String,
    /// The queue that the package came from, which the job is one of from then on.
    pub queue: String,
    /// The package as it was pushed, for the day when Redis has lost it.
    pub package: String,
    /// The fence of an owner that is known to be dead and may be replaced; 0 for nobody.
    pub replaces_fence: i64,
    /// Only tells how a job has ended, for one whose row in `ac_background_jobs` takes nothing: one that has not is
    /// [`Begun::Raced`] or as it was before, and no row is changed.
    pub only_looks: bool,
}

/// What beginning a job came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The caller owns the job under this fence.
    Owned {
        /// Needed to end the attempt with anything but a picture.
        fence: i64,
        /// How often the package has been delivered, this time included.
        deliveries: u32,
        /// Attempts that have failed so far.
        attempts: u32,
        /// How many other jobs have had this number before, see [`BeginRequest::job_id`].
        reuses: i32,
        /// Calls of earlier attempts that were billed, or may have been.
        billed: u32,
        /// A call of an earlier attempt that has not ended.
        open_call: Option<OpenCall>,
    },
    /// There is no such row in `ac_background_jobs`.
    NoSuchJob,
    /// The job has its picture already, or has deleted one. Its row says so, also where somebody had overwritten it.
    Done {
        /// Row of `images`; always known of a picture that was made.
        image_id: Option<i32>,
        /// Its public URL; the same.
        image_url: Option<String>,
        /// Whether it is a picture that was made.
        has_drawn: bool,
    },
    /// The job has failed for good.
    Dead,
    /// Another delivery of the job is being worked on, or was when its owner died.
    HeldBy {
        /// The owner.
        worker_id: String,
        /// The owner's fence, to replace it with.
        fence: i64,
    },
    /// A worker of another queue has begun the job. Whether it lives is for its own queue to say.
    HeldElsewhere,
    /// The job waits for its next attempt.
    NotDue(Duration),
    /// The job waits for an operator.
    Held,
    /// Somebody has ended the job, as this says.
    Cancelled(String),
    /// Somebody else changed the row at the same moment: ask again.
    Raced,
    /// The job is in a state that this version does not know, a newer one's: that version is to go on with it.
    UnknownState(String),
}

impl Begun {
    /// A job that was never begun before.
    const FRESH: Self = Self::Owned {
        fence: 1,
        deliveries: 1,
        attempts: 0,
        reuses: 0,
        billed: 0,
        open_call: None,
    };

    /// Whether the job has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Dead | Self::Cancelled(_))
    }
}

/// A call that has not ended: the picture may be on its way.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct OpenCall {
    /// Counts the calls of the job from 1.
    pub call_no: i32,
    /// Who was asked.
    pub provider: String,
    /// For which model.
    pub model: String,
    /// What the provider can be asked for the picture by.
    pub handle: Option<String>,
    /// How long whoever made the call may still wait for it, in milliseconds.
    pub patience_ms: u64,
    /// How long ago it was made, in milliseconds.
    pub age_ms: u64,
}

impl Db {
    /// Takes over a job for one attempt, and clears its error.
    ///
    /// # Errors
    /// [`DbError`]; a transient one may have taken effect, and asking again then answers `HeldBy` the caller.
    pub async fn begin(&self, request: Arc<BeginRequest>) -> Result<Begun, DbError> {
        self.begin.submit(request).await
    }
}

impl Keyed for BeginRequest {
    type Key = i32;
    fn key(&self) -> i32 {
        self.job_id
    }
}

batch_statement! {
    /// Jobs that were never begun before, which nearly all are, and that show no error of an earlier run: one row each, and
    /// nothing else to be looked at. Those that are not among the answers are for [`BeginJobs`].
    ///
    /// The commit is not waited for. If Postgres loses it, the package is still in Redis and its job is begun anew; and whatever
    /// spends money is committed after it, and waited for, which takes this one along. Source: PostgreSQL, "Asynchronous Commit".
    BeginFreshJobs {
        job_id: i32 as Integer,
        worker_id: &'v str as Text,
        queue: &'v str as Text,
        package: &'v str as Text,
    } -> (Integer)
    concat!("
    INSERT INTO generative_ai.jobs (job_id, state, worker_id, queue, package, row_created_at)
    SELECT asked.job_id, 'begun', asked.worker_id, asked.queue, asked.package, shown_row.created_at
    FROM asked JOIN ac_background_jobs AS shown_row ON shown_row.id = asked.job_id
    WHERE shown_row.error IS NULL AND NOT coalesce(shown_row.progress = 100 AND ", image_id_in!("shown_row.data"), " IS NOT NULL, false)
        AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
    ORDER BY asked.job_id
    ON CONFLICT (job_id) DO NOTHING
    RETURNING job_id
    ")
}

batch_statement! {
    /// All others, fresh ones with an error included. The commit is not waited for here either.
    ///
    /// `fence` of a new row is 1. On a conflict `excluded.fence - 1` carries the fence that may be replaced,
    /// since ON CONFLICT sees no other table; sorted, so that two replicas cannot wait for each other.
    ///
    /// What people see of a job that has ended is put right where somebody has overwritten it. Rows that others have locked are left as
    /// they are: a job that is begun gets over it, and its end shows again.
    ///
    /// The ledger forgets jobs some time after they have ended: one that it does not know and whose row has a picture is done.
    BeginJobs {
        job_id: i32 as Integer,
        worker_id: &'v str as Text,
        queue: &'v str as Text,
        package: &'v str as Text,
        replaces_fence: i64 as BigInt,
        only_looks: bool as Bool,
    } -> (
        Integer, Bool, Bool, Nullable<BigInt>, Nullable<Integer>, Nullable<Integer>, Nullable<Integer>, Nullable<Integer>,
        Nullable<Text>, Nullable<BigInt>, Nullable<Text>, Nullable<BigInt>, Nullable<Integer>,
        Nullable<Text>, Nullable<Jsonb>, Nullable<Text>,
    )
    concat!("
    , known AS (
        SELECT shown_row.id AS job_id, shown_row.error IS NOT NULL AS has_error, shown_row.created_at::timestamptz AS created_at,
            asked.only_looks, coalesce(job.state IN ('done', 'dead', 'cancelled'), false) AS is_ended,
            CASE WHEN shown_row.progress = 100 AND shown_row.error IS NULL AND job.job_id IS NULL
                THEN ", image_id_in!("shown_row.data"), " END AS image_id,
            ", image_url_in!("shown_row.data"), " AS image_url,
            CASE WHEN job.job_id IS NULL THEN strpos(coalesce(shown_row.data::text, ''), 'imageDeletion') = 0
                ELSE job.object_keys IS NOT NULL END AS has_drawn
        FROM asked JOIN ac_background_jobs AS shown_row ON shown_row.id = asked.job_id
            LEFT JOIN generative_ai.jobs AS job ON job.job_id = shown_row.id
    ), begun AS (
        INSERT INTO generative_ai.jobs AS job (job_id, state, fence, worker_id, queue, package, row_created_at)
        SELECT asked.job_id, 'begun', asked.replaces_fence + 1, asked.worker_id, asked.queue, asked.package,
            known.created_at
        FROM asked JOIN known ON known.job_id = asked.job_id AND known.image_id IS NULL
        WHERE NOT asked.only_looks
        ORDER BY asked.job_id
        ON CONFLICT (job_id) DO UPDATE SET
            state = 'begun', fence = job.fence + 1, worker_id = excluded.worker_id, queue = excluded.queue,
            package = excluded.package, row_created_at = excluded.row_created_at,
            deliveries = job.deliveries + 1, crashes = job.crashes + coalesce(job.state = 'begun' AND job.worker_id <> excluded.worker_id, false)::integer,
            begun_at = now(), next_attempt_at = NULL
        WHERE coalesce(job.row_created_at = excluded.row_created_at, true) AND (
            job.state = 'waiting'
            OR (job.state = 'retry_wait' AND job.next_attempt_at <= now() + interval '1 second')
            OR (job.state = 'begun' AND (job.fence = excluded.fence - 1 OR job.worker_id IS NULL)))
        RETURNING job.job_id, job.fence, job.deliveries, job.attempts, job.reuses
    ), free AS (
        SELECT shown_row.id FROM known JOIN ac_background_jobs AS shown_row ON shown_row.id = known.job_id
        WHERE NOT known.only_looks AND (known.has_error OR known.is_ended)
        FOR NO KEY UPDATE OF shown_row SKIP LOCKED
    ), shown AS (
        UPDATE ac_background_jobs AS shown_row SET error = NULL, updated_at = now()
        FROM begun JOIN known ON known.job_id = begun.job_id JOIN free ON free.id = begun.job_id
        WHERE shown_row.id = begun.job_id AND known.has_error
    ), put_right AS (
        UPDATE ac_background_jobs AS shown_row SET
            data = CASE WHEN job.state <> 'done' THEN shown_row.data ELSE
                ", data_with_image!("shown_row.data", "jsonb_strip_nulls(jsonb_build_object('imageId', job.image_id, 'imageUrl', job.image_url))"), " END,
            progress = CASE WHEN job.state = 'done' THEN 100 ELSE shown_row.progress END,
            error = CASE WHEN job.state <> 'done' THEN job.error_message END, updated_at = now()
        FROM known JOIN generative_ai.jobs AS job ON job.job_id = known.job_id JOIN free ON free.id = known.job_id
        WHERE shown_row.id = known.job_id AND coalesce(job.row_created_at = known.created_at, true)
            AND CASE WHEN job.state = 'done' THEN
                (shown_row.progress, shown_row.error, shown_row.data) IS DISTINCT FROM (100, NULL::text,
                    ", data_with_image!("shown_row.data", "jsonb_strip_nulls(jsonb_build_object('imageId', job.image_id, 'imageUrl', job.image_url))"), ")
            ELSE job.state IN ('dead', 'cancelled') AND shown_row.error IS NULL AND job.error_message IS NOT NULL END
    )
    SELECT asked.job_id, known.job_id IS NOT NULL, coalesce(job.row_created_at <> known.created_at, false),
        begun.fence, begun.deliveries, begun.attempts, begun.reuses, billed.calls,
        CASE WHEN NOT known.has_drawn AND (known.image_id IS NOT NULL OR job.state = 'done') THEN 'deleted'
            WHEN known.image_id IS NOT NULL THEN 'done'
            WHEN job.state = 'begun' AND job.queue <> asked.queue THEN 'elsewhere' ELSE job.state END,
        job.fence, job.worker_id,
        greatest(0, ceil(extract(epoch FROM job.next_attempt_at - now()) * 1000))::bigint,
        coalesce(known.image_id, job.image_id), CASE WHEN known.image_id IS NULL THEN job.image_url ELSE known.image_url END,
        CASE WHEN call.job_id IS NOT NULL THEN jsonb_build_object(
            'call_no', call.call_no, 'provider', call.provider, 'model', call.model, 'handle', call.handle,
            'patience_ms', greatest(0, extract(epoch FROM call.deadline_at - now()) * 1000)::bigint,
            'age_ms', greatest(0, extract(epoch FROM now() - call.sent_at) * 1000)::bigint) END,
        job.error_message
    FROM asked
    LEFT JOIN known ON known.job_id = asked.job_id
    LEFT JOIN begun ON begun.job_id = asked.job_id
    LEFT JOIN generative_ai.jobs AS job ON job.job_id = asked.job_id
    LEFT JOIN generative_ai.provider_calls AS call ON call.job_id = asked.job_id AND coalesce(call.state IN ('intended', 'accepted'), false)
    LEFT JOIN LATERAL (
        SELECT count(*)::integer AS calls FROM generative_ai.provider_calls AS earlier
        WHERE earlier.job_id = begun.job_id AND (earlier.cost_usd > 0 OR ", may_be_billed!("earlier"), ")
    ) AS billed ON true
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
    ")
}

batch_statement! {
    /// Numbers that have been given out again, after the application's tables were emptied say: what the ledger knows under them
    /// is another job's. Its calls stay as history; of one that is open nobody will learn how it ends.
    RenewJobs { job_id: i32 as Integer } -> (Integer)
    "
    , renewed AS (
        UPDATE generative_ai.jobs AS job SET
            state = 'waiting', fence = job.fence + 1, worker_id = NULL, package = '',
            deliveries = 0, attempts = 0, crashes = 0,
            reuses = job.reuses + 1, row_created_at = shown_row.created_at, next_attempt_at = NULL, finished_at = NULL,
            error_class = NULL, error_message = NULL, error_details = NULL, image_id = NULL, image_url = NULL, object_keys = NULL,
            provenance_mark = NULL, provider = NULL, model = NULL, provider_request_id = NULL, usage = NULL,
            cost_usd = NULL, cost_basis = NULL, joined_replies = '{}', replies_due_at = NULL,
            callback_urls = '{}', traceparent = NULL
        FROM asked JOIN ac_background_jobs AS shown_row ON shown_row.id = asked.job_id
        WHERE job.job_id = asked.job_id AND job.row_created_at <> shown_row.created_at
        RETURNING job.job_id
    ), ended AS (
        UPDATE generative_ai.provider_calls AS call SET
            state = 'unknown', ended_at = now(), error_details = 'the row of its job is gone, and another job has its number'
        FROM renewed WHERE call.job_id = renewed.job_id AND call.state IN ('intended', 'accepted')
    )
    SELECT job_id FROM renewed
    "
}

#[derive(diesel::Queryable)]
struct BegunRow {
    job_id: i32,
    has_row: bool,
    is_of_another_job: bool,
    fence: Option<i64>,
    deliveries: Option<i32>,
    attempts: Option<i32>,
    reuses: Option<i32>,
    billed: Option<i32>,
    state: Option<String>,
    held_fence: Option<i64>,
    held_by: Option<String>,
    due_in_ms: Option<i64>,
    image_id: Option<i32>,
    image_url: Option<String>,
    open_call: Option<serde_json::Value>,
    error_message: Option<String>,
}

pub(super) fn run<'c>(
    connection: &'c mut AsyncPgConnection,
    requests: &'c [Arc<BeginRequest>],
) -> Answers<'c, Arc<BeginRequest>, Begun> {
    async move {
        let mut fresh = BeginFreshJobs::default();
        for request in requests
            .iter()
            .filter(|request| request.replaces_fence == 0 && !request.only_looks)
        {
            fresh.job_id.push(request.job_id);
            fresh.worker_id.push(&request.worker_id);
            fresh.queue.push(&request.queue);
            fresh.package.push(&request.package);
        }
        let mut begun = HashMap::with_capacity(requests.len());
        if !fresh.job_id.is_empty() {
            let rows: Vec<(i32,)> = fresh.load(connection).await?;
            begun.extend(rows.into_iter().map(|(job_id,)| (job_id, Begun::FRESH)));
        }
        let mut others: Vec<&BeginRequest> = requests
            .iter()
            .map(AsRef::as_ref)
            .filter(|request| !begun.contains_key(&request.job_id))
            .collect();
        // Once more for numbers that have been given out again, which the first time finds.
        for _ in 0..2 {
            if others.is_empty() {
                break;
            }
            let rows = begin_others(connection, &others).await?;
            let renewed: Vec<i32> = rows
                .iter()
                .filter(|row| row.is_of_another_job)
                .map(|row| row.job_id)
                .collect();
            begun.extend(rows.into_iter().map(|row| (row.job_id, row.into_begun())));
            if !renewed.is_empty() {
                tracing::warn!(
                    job_ids = ?renewed,
                    "these numbers belonged to other jobs, whose rows are gone; they begin anew"
                );
                let statement = RenewJobs {
                    job_id: renewed.clone(),
                    ..RenewJobs::default()
                };
                let _: Vec<(i32,)> = statement.load(connection).await?;
            }
            others.retain(|request| renewed.contains(&request.job_id));
        }
        Ok(begun)
    }
    .boxed()
}

async fn begin_others(
    connection: &mut AsyncPgConnection,
    requests: &[&BeginRequest],
) -> Result<Vec<BegunRow>, DbError> {
    let mut statement = BeginJobs::default();
    for request in requests {
        statement.job_id.push(request.job_id);
        statement.worker_id.push(&request.worker_id);
        statement.queue.push(&request.queue);
        statement.package.push(&request.package);
        statement.replaces_fence.push(request.replaces_fence);
        statement.only_looks.push(request.only_looks);
    }
    Ok(statement.load(connection).await?)
}

impl BegunRow {
    fn into_begun(self) -> Begun {
        if !self.has_row {
            return Begun::NoSuchJob;
        }
        if self.is_of_another_job {
            return Begun::Raced;
        }
        if let Some(fence) = self.fence {
            let count = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
            return Begun::Owned {
                fence,
                deliveries: count(self.deliveries),
                attempts: count(self.attempts),
                reuses: self.reuses.unwrap_or_default(),
                billed: count(self.billed),
                open_call: self.open_call.and_then(|call| serde_json::from_value(call).ok()),
            };
        }
        match (self.state.as_deref(), self.image_id, self.held_by) {
            (Some(state @ ("done" | "deleted")), image_id, _) => Begun::Done {
                image_id,
                image_url: self.image_url,
                has_drawn: state == "done",
            },
            (Some("dead"), ..) => Begun::Dead,
            (Some("begun"), _, Some(worker_id)) => Begun::HeldBy {
                worker_id,
                fence: self.held_fence.unwrap_or_default(),
            },
            (Some("elsewhere"), ..) => Begun::HeldElsewhere,
            (Some("retry_wait"), ..) => Begun::NotDue(milliseconds(self.due_in_ms)),
            (Some("held"), ..) => Begun::Held,
            (Some("cancelled"), ..) => Begun::Cancelled(self.error_message.unwrap_or_default()),
            (Some(state), ..) if !matches!(state, "waiting" | "begun") => {
                Begun::UnknownState(state.to_owned())
            }
            _ => Begun::Raced,
        }
    }
}

fn milliseconds(ms: Option<i64>) -> Duration {
    Duration::from_millis(ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default())
}
