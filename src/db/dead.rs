//! Packages that have failed for good, as operators look at them: chosen, counted, read page by page.
//!
//! What is done to them is in [`revive`].

mod revive;

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Bytea, Double, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde::Deserialize;
use uuid::Uuid;

use super::statement::on_connection;
use super::{Db, DbError};
use crate::failure::ErrorClass;

pub use revive::Revived;

/// Which dead packages are meant. Those that are named by job or by id, or else all; of these the ones that
/// everything else holds for.
#[derive(Clone, Debug, Default)]
pub struct DeadFilter {
    /// Of one of these classes; empty = of any.
    pub classes: Vec<ErrorClass>,
    /// Of this provider: the one that was asked last, or else the one that the package names.
    pub provider: Option<String>,
    /// Of one of these jobs.
    pub job_ids: Vec<i32>,
    /// With an id that begins like this: hexadecimal digits and dashes.
    pub ids: Vec<String>,
    /// Dead for at least so long.
    pub older_than: Option<Duration>,
    /// Dead for at most so long.
    pub newer_than: Option<Duration>,
    /// Also those that have been pushed again.
    pub with_retried: bool,
    /// Of this queue, or of none that is known: one that was refused before its job was begun is any queue's.
    pub queue: Option<String>,
    /// So many at the most.
    pub limit: Option<u32>,
}

/// A dead package, as far as it is looked at.
#[derive(Clone, Debug, PartialEq, QueryableByName, Deserialize)]
pub struct DeadPackage {
    /// Row of `generative_ai.dead_packages`.
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    pub id: Uuid,
    /// The job, where the package let one be read.
    #[diesel(sql_type = Nullable<Integer>)]
    pub job_id: Option<i32>,
    /// Name of the error class.
    #[diesel(sql_type = Text)]
    pub error_class: String,
    /// The sentence that the person got.
    #[diesel(sql_type = Text)]
    pub reason: String,
    /// What only an operator wants to know.
    #[diesel(sql_type = Nullable<Text>)]
    pub details: Option<String>,
    /// Failed attempts of that life of the job; 0 = it was refused before any.
    #[diesel(sql_type = Integer)]
    pub attempts: i32,
    /// Who gave up.
    #[diesel(sql_type = Text)]
    pub worker_id: String,
    /// When.
    #[diesel(sql_type = Timestamptz)]
    pub dead_at: DateTime<Utc>,
    /// How long ago that was, by the clock of Postgres.
    #[diesel(sql_type = Double)]
    pub age_s: f64,
    /// When it was last pushed again.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub retried_at: Option<DateTime<Utc>>,
    /// The provider that was asked last, or else the one that the package names.
    #[diesel(sql_type = Nullable<Text>)]
    pub provider: Option<String>,
    /// Whether `provider` was asked.
    #[diesel(sql_type = Bool)]
    pub was_asked: bool,
    /// Length of the package.
    #[diesel(sql_type = BigInt)]
    pub payload_bytes: i64,
    /// The package to the byte, where it was asked for.
    #[diesel(sql_type = Nullable<Bytea>)]
    pub payload: Option<Vec<u8>>,
}

/// Dead packages of a class.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct DeadCount {
    /// Name of the error class.
    #[diesel(sql_type = Text)]
    pub error_class: String,
    /// How many.
    #[diesel(sql_type = BigInt)]
    pub count: i64,
}

/// The packages that a filter has chosen at one moment: what dies later is not among them.
pub struct DeadSelection {
    db: Db,
    filter: DeadFilter,
    since: Option<DateTime<Utc>>,
    until: DateTime<Utc>,
    last: Option<(DateTime<Utc>, Uuid)>,
    left: i64,
    /// Those that are still to be read, where they were chosen one by one.
    named: Option<VecDeque<Uuid>>,
}

/// The rows with what is known of their providers. Columns that nobody reads cost nothing, as Postgres drops them. A
/// package may be any bytes, so its text is searched rather than parsed: for the name of the field first, which is quick.
const ROWS: &str = r#"(
    SELECT dead.*,
        CASE WHEN dead.attempts > 0 THEN (
            SELECT call.provider FROM generative_ai.provider_calls AS call
            WHERE call.job_id = dead.job_id AND call.sent_at <= dead.dead_at
            ORDER BY call.call_no DESC LIMIT 1) END AS asked,
        (SELECT job.queue FROM generative_ai.jobs AS job WHERE job.job_id = dead.job_id) AS queue,
        CASE WHEN position('"imageProvider"'::bytea IN dead.payload) > 0 THEN
            substring(encode(substring(dead.payload FROM 1 FOR 262144), 'escape')
                FROM '"imageProvider"\s*:\s*"([A-Za-z0-9_-]+)"') END AS named
    FROM generative_ai.dead_packages AS dead
) AS dead"#;

/// Those that a filter chooses.
const CHOSEN: &str = "(cardinality($1) = 0 OR dead.error_class = ANY($1))
  AND ($2 IS NULL OR coalesce(dead.asked, dead.named) = $2)
  AND (cardinality($3) + cardinality($4) = 0 OR dead.job_id = ANY($3) OR dead.id::text LIKE ANY($4))
  AND ($5 IS NULL OR dead.dead_at >= $5) AND dead.dead_at <= $6
  AND ($7 OR dead.retried_at IS NULL)
  AND ($8 IS NULL OR coalesce(dead.queue, $8) = $8)";

/// Binds what [`CHOSEN`] asks for.
macro_rules! bound {
    ($selection:expr, $query:expr) => {{
        let filter = &$selection.filter;
        let classes: Vec<&str> = filter.classes.iter().map(|class| class.as_str()).collect();
        let ids: Vec<String> = filter.ids.iter().map(|id| format!("{id}%")).collect();
        sql_query($query)
            .bind::<Array<Text>, _>(classes)
            .bind::<Nullable<Text>, _>(filter.provider.clone())
            .bind::<Array<Integer>, _>(filter.job_ids.clone())
            .bind::<Array<Text>, _>(ids)
            .bind::<Nullable<Timestamptz>, _>($selection.since)
            .bind::<Timestamptz, _>($selection.until)
            .bind::<Bool, _>(filter.with_retried)
            .bind::<Nullable<Text>, _>(filter.queue.clone())
    }};
}

impl Db {
    /// Chooses dead packages.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn select_dead(&self, filter: DeadFilter) -> Result<DeadSelection, DbError> {
        let now = self.now().await?;
        let before = |age: Duration| {
            chrono::TimeDelta::from_std(age)
                .ok()
                .and_then(|age| now.checked_sub_signed(age))
                .unwrap_or(DateTime::UNIX_EPOCH)
        };
        Ok(DeadSelection {
            db: self.clone(),
            since: filter.newer_than.map(before),
            until: filter.older_than.map_or(now, before),
            last: None,
            left: filter.limit.map_or(i64::MAX, i64::from),
            filter,
            named: None,
        })
    }

    /// Chooses dead packages one by one, which are read in this order. Those that were pushed again or forgotten meanwhile are
    /// passed over.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn select_named_dead(&self, ids: Vec<Uuid>) -> Result<DeadSelection, DbError> {
        let all = self.select_dead(DeadFilter::default()).await?;
        Ok(DeadSelection {
            named: Some(ids.into()),
            ..all
        })
    }
}

impl DeadSelection {
    /// Those that are open are told apart in words that the index of them knows.
    fn dead(&self) -> String {
        let open = if self.filter.with_retried {
            ""
        } else {
            " AND dead.retried_at IS NULL"
        };
        format!("{ROWS} WHERE {CHOSEN}{open}")
    }

    /// How many there are, by class; the most frequent first.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn counts(&self) -> Result<Vec<DeadCount>, DbError> {
        let dead = self.dead();
        let query = format!(
            "SELECT error_class, count(*) AS count
             FROM (SELECT dead.error_class FROM {dead} ORDER BY dead.dead_at, dead.id LIMIT $9) AS chosen
             GROUP BY error_class ORDER BY count(*) DESC, error_class"
        );
        let select = bound!(self, query).bind::<BigInt, _>(self.left);
        on_connection(&self.db.pool, async |connection| select.load(connection).await).await
    }

    /// Those that died last, newest first, and whether there are more.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn newest_first(
        &self,
        most: u32,
        with_payload: bool,
    ) -> Result<(Vec<DeadPackage>, bool), DbError> {
        let dead = self.dead();
        let query = format!(
            "{} FROM {dead} ORDER BY dead.dead_at DESC, dead.id DESC LIMIT $9",
            columns(with_payload)
        );
        let select = bound!(self, query).bind::<BigInt, _>(i64::from(most) + 1);
        let mut packages: Vec<DeadPackage> =
            on_connection(&self.db.pool, async |connection| select.load(connection).await).await?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let has_more = packages.len() > most;
        packages.truncate(most);
        Ok((packages, has_more))
    }

    /// The next of them with their packages, oldest first; empty when there are no more.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn next(&mut self, most: u32) -> Result<Vec<DeadPackage>, DbError> {
        if self.named.is_some() {
            return self.next_named(most).await;
        }
        let dead = self.dead();
        let query = format!(
            "{} FROM {dead} AND ($9 IS NULL OR (dead.dead_at, dead.id) > ($9, $10))
             ORDER BY dead.dead_at, dead.id LIMIT $11",
            columns(true)
        );
        let (time, id) = self.last.unzip();
        let select = bound!(self, query)
            .bind::<Nullable<Timestamptz>, _>(time)
            .bind::<Nullable<diesel::sql_types::Uuid>, _>(id)
            .bind::<BigInt, _>(self.left.min(i64::from(most)));
        let packages: Vec<DeadPackage> =
            on_connection(&self.db.pool, async |connection| select.load(connection).await).await?;
        if let Some(last) = packages.last() {
            self.last = Some((last.dead_at, last.id));
        }
        self.left -= i64::try_from(packages.len()).unwrap_or(i64::MAX);
        Ok(packages)
    }

    async fn next_named(&mut self, most: u32) -> Result<Vec<DeadPackage>, DbError> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        loop {
            let named = self.named.as_mut().expect("they were chosen one by one");
            let ids: Vec<Uuid> = named.drain(..most.min(named.len())).collect();
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            let query = format!(
                "{} FROM {} AND dead.id = ANY($9) ORDER BY dead.dead_at, dead.id",
                columns(true),
                self.dead()
            );
            let select = bound!(self, query).bind::<Array<diesel::sql_types::Uuid>, _>(ids);
            let packages: Vec<DeadPackage> =
                on_connection(&self.db.pool, async |connection| select.load(connection).await).await?;
            if !packages.is_empty() {
                return Ok(packages);
            }
        }
    }
}

/// Those of the job `$1` that died last, newest first, without their packages.
pub(super) fn latest_of_job(most: u32) -> String {
    format!(
        "{} FROM {ROWS} WHERE dead.job_id = $1 ORDER BY dead.dead_at DESC, dead.id DESC LIMIT {most}",
        columns(false)
    )
}

fn columns(with_payload: bool) -> String {
    let payload = if with_payload {
        "dead.payload"
    } else {
        "NULL::bytea"
    };
    format!(
        "SELECT dead.id, dead.job_id, dead.error_class, dead.reason, dead.details, dead.attempts, dead.worker_id,
            dead.dead_at, extract(epoch FROM now() - dead.dead_at)::double precision AS age_s, dead.retried_at,
            coalesce(dead.asked, dead.named) AS provider, dead.asked IS NOT NULL AS was_asked,
            octet_length(dead.payload)::bigint AS payload_bytes, {payload} AS payload"
    )
}
