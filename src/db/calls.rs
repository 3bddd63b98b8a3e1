//! The ledger of calls that cost money: written before a call is made, and as it goes on.

use std::borrow::Cow;
use std::time::Duration;

use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::FutureExt;

use super::budgets::{Reservation, SpentBudget};
use super::fail::storable;
use super::statement::{Answers, Count, Keyed, batch_statement, on_connection};
use super::{Db, DbError};

/// Asks to make a call.
#[derive(Clone, Debug)]
pub struct IntendRequest {
    /// Row of `ac_background_jobs`.
    pub job_id: i32,
    /// The caller's fence.
    pub fence: i64,
    /// Who asks.
    pub worker_id: String,
    /// Who is to draw.
    pub provider: String,
    /// With which model.
    pub model: String,
    /// How long the caller waits for an answer.
    pub patience: Duration,
    /// What it takes from which budgets; `None`: nobody has set any.
    pub reservation: Option<Reservation>,
}

/// One that has a reservation.
#[derive(Clone, Debug)]
pub(super) struct WithinBudgets(pub(super) IntendRequest);

/// What has come of asking to make a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Intended {
    /// Its number. `None`: it must not be made. Where no budget is the reason, somebody else owns the job now, or an earlier
    /// call of the job is still open.
    pub call_no: Option<i32>,
    /// The budget that has not got what it may cost; of several the one that opens last.
    pub spent: Option<SpentBudget>,
    /// Budgets of which four fifths are used up now, and were not before. Each is named once in its period.
    pub near: Option<String>,
}

/// News of a call.
#[derive(Clone, Debug)]
pub struct CallNews {
    /// Row of `ac_background_jobs`.
    pub job_id: i32,
    /// Counts the calls of the job from 1.
    pub call_no: i32,
    /// What has become of it.
    pub turn: CallTurn,
}

/// What has become of a call.
#[derive(Clone, Debug)]
pub enum CallTurn {
    /// The provider has it, and can be asked for the picture by this handle.
    Accepted(String),
    /// Nobody waits for its answer any more; whether the provider has it may still be found out.
    Unanswered(CallError),
    /// It brought no picture.
    Failed(CallError),
    /// Nobody will ever know what it brought.
    Unknown(CallError),
}

/// Why a call brought no picture.
#[derive(Clone, Debug)]
pub struct CallError {
    /// Name of the error class.
    pub class: &'static str,
    /// For the operator.
    pub details: String,
    /// The provider's own id of the call.
    pub provider_request_id: Option<String>,
}

impl Keyed for IntendRequest {
    type Key = i32;
    fn key(&self) -> i32 {
        self.job_id
    }
}

/// Job and number of a call.
type CallKey = (i32, i32);

impl Keyed for CallNews {
    type Key = CallKey;
    fn key(&self) -> CallKey {
        (self.job_id, self.call_no)
    }
}

impl Db {
    /// Commits that a call is about to be made, and takes what it may cost from its budgets.
    ///
    /// # Errors
    /// [`DbError`]; a transient one may have taken effect, and the same request then gets the number of that very call.
    pub async fn intend(&self, request: IntendRequest) -> Result<Intended, DbError> {
        match request.reservation {
            None => self.intend.submit(request).await,
            Some(_) => self.intend_within.submit(WithinBudgets(request)).await,
        }
    }

    /// Whether a call of the last two days has this handle.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn knows_handle(&self, provider: &str, handle: &str) -> Result<bool, DbError> {
        let select = diesel::sql_query(
            "SELECT count(*) AS count FROM generative_ai.provider_calls
             WHERE sent_at > now() - interval '2 days' AND provider = $1 AND handle = $2",
        )
        .bind::<Text, _>(provider)
        .bind::<Text, _>(handle);
        let known: Count =
            on_connection(&self.pool, async |connection| select.get_result(connection).await).await?;
        Ok(known.count > 0)
    }

    /// Writes down what has become of a call that is open; one that has ended stays as it is. Returns how many
    /// calls of the job ended with nobody knowing how.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn note_call(&self, news: CallNews) -> Result<i64, DbError> {
        self.note_call.submit(news).await
    }
}

/// A call that is intended under the very fence that asks is the asker's own, whose number was lost on its way: it has not
/// been made, as calls are made one after the other and each is ended before the next is intended.
macro_rules! own_call {
    () => {
        "
    , own AS (
        UPDATE generative_ai.provider_calls AS call SET
            provider = asked.provider, model = asked.model, sent_at = now(),
            deadline_at = now() + asked.patience_ms * interval '1 millisecond'
        FROM asked JOIN generative_ai.jobs AS job ON job.job_id = asked.job_id AND job.fence = asked.fence AND job.state IS NOT DISTINCT FROM 'begun'
        WHERE call.job_id = asked.job_id AND call.fence = asked.fence AND call.worker_id = asked.worker_id
            AND call.state IS NOT DISTINCT FROM 'intended'
        RETURNING call.job_id, call.call_no
    )"
    };
}
pub(super) use own_call;

/// Whether nobody knows if a call will be billed: nobody knows what it brought, or it brought what could not be used, as budgets
/// charge it (`generative_ai.settle_charge`).
macro_rules! may_be_billed {
    ($call:literal) => {
        concat!(
            "(",
            $call,
            ".cost_usd IS NULL AND (",
            $call,
            ".state = 'unknown' OR ",
            $call,
            ".state = 'failed' AND coalesce(",
            $call,
            ".error_class, '') IN ('bad_output', 'bad_image')))"
        )
    };
}
pub(super) use may_be_billed;

/// Calls are kept longer than jobs: where the ledger has forgotten a job and it is begun anew, they are counted on.
macro_rules! next_number {
    () => {
        "1 + greatest(job.calls,
            (SELECT max(earlier.call_no) FROM generative_ai.provider_calls AS earlier WHERE earlier.job_id = job.job_id))"
    };
}
pub(super) use next_number;

batch_statement! {
    /// The update of the job row is the fence: it waits for a new owner's begin and then sees the new fence. The
    /// partial unique index is the second lock: at most one call of a job is open.
    IntendCalls {
        job_id: i32 as Integer,
        fence: i64 as BigInt,
        worker_id: &'v str as Text,
        provider: &'v str as Text,
        model: &'v str as Text,
        patience_ms: i64 as BigInt,
    } -> (Integer, Nullable<Integer>)
    concat!(own_call!(), ", owned AS (
        UPDATE generative_ai.jobs AS job SET calls = ", next_number!(), "
        FROM asked
        WHERE job.job_id = asked.job_id AND job.fence = asked.fence AND job.state IS NOT DISTINCT FROM 'begun'
            AND NOT EXISTS (SELECT FROM own WHERE own.job_id = asked.job_id)
        RETURNING job.job_id, job.calls
    ), intended AS (
        INSERT INTO generative_ai.provider_calls (job_id, call_no, state, provider, model, worker_id, fence, deadline_at)
        SELECT asked.job_id, owned.calls, 'intended', asked.provider, asked.model, asked.worker_id, asked.fence,
            now() + asked.patience_ms * interval '1 millisecond'
        FROM asked JOIN owned ON owned.job_id = asked.job_id
        ON CONFLICT (job_id) WHERE state IN ('intended', 'accepted') DO NOTHING
        RETURNING job_id, call_no
    )
    SELECT asked.job_id, coalesce(own.call_no, intended.call_no)
    FROM asked
    LEFT JOIN own ON own.job_id = asked.job_id
    LEFT JOIN intended ON intended.job_id = asked.job_id
    ")
}

pub(super) fn run_intend<'c>(
    connection: &'c mut AsyncPgConnection,
    requests: &'c [IntendRequest],
) -> Answers<'c, IntendRequest, Intended> {
    async move {
        let mut statement = IntendCalls::default();
        for request in requests {
            statement.job_id.push(request.job_id);
            statement.fence.push(request.fence);
            statement.worker_id.push(&request.worker_id);
            statement.provider.push(&request.provider);
            statement.model.push(&request.model);
            statement.patience_ms.push(patience_ms(request));
        }
        let rows: Vec<(i32, Option<i32>)> = statement.load(connection).await?;
        let intended = rows.into_iter().map(|(job_id, call_no)| {
            let intended = Intended {
                call_no,
                ..Intended::default()
            };
            (job_id, intended)
        });
        Ok(intended.collect())
    }
    .boxed()
}

pub(super) fn patience_ms(request: &IntendRequest) -> i64 {
    i64::try_from(request.patience.as_millis()).unwrap_or(i64::MAX)
}

batch_statement! {
    /// Not fenced: what has become of a call is true whoever owns its job by now.
    NoteCalls {
        job_id: i32 as Integer,
        call_no: i32 as Integer,
        state: &'v str as Text,
        handle: Option<Cow<'v, str>> as Nullable<Text>,
        error_class: Option<&'v str> as Nullable<Text>,
        error_details: Option<Cow<'v, str>> as Nullable<Text>,
        provider_request_id: Option<Cow<'v, str>> as Nullable<Text>,
    } -> (Integer, Integer, BigInt)
    "
    , noted AS (
        UPDATE generative_ai.provider_calls AS call SET
            state = asked.state, handle = coalesce(asked.handle, call.handle),
            ended_at = CASE WHEN asked.state NOT IN ('intended', 'accepted') THEN now() END,
            deadline_at = CASE WHEN asked.state = 'intended' THEN now() ELSE call.deadline_at END,
            error_class = asked.error_class, error_details = asked.error_details,
            provider_request_id = coalesce(asked.provider_request_id, call.provider_request_id)
        FROM asked
        WHERE call.job_id = asked.job_id AND call.call_no = asked.call_no AND coalesce(call.state IN ('intended', 'accepted'), false)
    )
    SELECT asked.job_id, asked.call_no,
        (SELECT count(*) FROM generative_ai.provider_calls AS call WHERE call.job_id = asked.job_id
            AND (call.state = 'unknown' OR (call.call_no = asked.call_no AND asked.state = 'unknown')))
    FROM asked
    "
}

pub(super) fn run_note<'c>(
    connection: &'c mut AsyncPgConnection,
    news: &'c [CallNews],
) -> Answers<'c, CallNews, i64> {
    async move {
        let mut statement = NoteCalls::default();
        for CallNews {
            job_id,
            call_no,
            turn,
        } in news
        {
            let (state, handle, error) = match turn {
                CallTurn::Accepted(handle) => ("accepted", Some(handle), None),
                CallTurn::Unanswered(error) => ("intended", None, Some(error)),
                CallTurn::Failed(error) => ("failed", None, Some(error)),
                CallTurn::Unknown(error) => ("unknown", None, Some(error)),
            };
            statement.job_id.push(*job_id);
            statement.call_no.push(*call_no);
            statement.state.push(state);
            statement.handle.push(handle.map(|handle| storable(handle)));
            statement.error_class.push(error.map(|error| error.class));
            statement
                .error_details
                .push(error.map(|error| storable(&error.details)));
            let request_id = error.and_then(|error| error.provider_request_id.as_deref());
            statement.provider_request_id.push(request_id.map(storable));
        }
        let rows: Vec<(i32, i32, i64)> = statement.load(connection).await?;
        Ok(rows
            .into_iter()
            .map(|(job_id, call_no, unknown)| ((job_id, call_no), unknown))
            .collect())
    }
    .boxed()
}
