//! Jobs that have failed for good, and for which another package has come.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Bytea, Integer, Nullable, Text, Timestamptz};
use diesel::{OptionalExtension, QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::fail::storable;
use super::statement::on_connection;
use super::{Db, DbError};
use crate::failure::ErrorClass;

#[derive(QueryableByName)]
struct FailedRow {
    #[diesel(sql_type = Text)]
    error_class: String,
    #[diesel(sql_type = Bytea)]
    payload: Vec<u8>,
}

#[derive(QueryableByName)]
struct ReasonRow {
    #[diesel(sql_type = Nullable<Text>)]
    error_class: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    error_message: Option<String>,
}

#[derive(QueryableByName)]
struct StartedRow {
    #[diesel(sql_type = diesel::sql_types::Bool)]
    is_started: bool,
    #[diesel(sql_type = Nullable<diesel::sql_types::Uuid>)]
    id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    dead_at: Option<DateTime<Utc>>,
}

/// The class of this name; one that this version does not know is a fault.
fn class_of(name: &str) -> ErrorClass {
    let known = ErrorClass::ALL.into_iter().find(|class| class.as_str() == name);
    known.unwrap_or(ErrorClass::Internal)
}

/// So many are looked at, the latest.
const MOST: i32 = 50;

impl Db {
    /// Classes and packages with which a job has failed so far, the latest first. Not those of jobs that had its number before.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn failed_packages(&self, job_id: i32) -> Result<Vec<(ErrorClass, Vec<u8>)>, DbError> {
        let select = sql_query(
            "SELECT dead.error_class, dead.payload FROM generative_ai.dead_packages AS dead
             LEFT JOIN generative_ai.jobs AS job ON job.job_id = dead.job_id
             WHERE dead.job_id = $1 AND dead.attempts > 0
                AND coalesce(dead.dead_at >= job.row_created_at - interval '1 minute', true)
             ORDER BY dead.dead_at DESC LIMIT $2",
        )
        .bind::<Integer, _>(job_id)
        .bind::<Integer, _>(MOST);
        let rows: Vec<FailedRow> =
            on_connection(&self.pool, async |connection| select.load(connection).await).await?;
        let rows = rows.into_iter();
        Ok(rows
            .map(|row| (class_of(&row.error_class), row.payload))
            .collect())
    }

    /// Why a job has failed for good, as its ledger says; `None`: it has not.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn failure_of(&self, job_id: i32) -> Result<Option<(ErrorClass, String)>, DbError> {
        let select = sql_query(
            "SELECT error_class, error_message FROM generative_ai.jobs WHERE job_id = $1 AND state = 'dead'",
        )
        .bind::<Integer, _>(job_id);
        let row: Option<ReasonRow> = on_connection(&self.pool, async |connection| {
            select.get_result(connection).await.optional()
        })
        .await?;
        Ok(row.map(|row| {
            let class = class_of(&row.error_class.unwrap_or_default());
            (class, row.error_message.unwrap_or_default())
        }))
    }

    /// Lets a job that has failed wait for a worker again, with a clean count and without its error, and closes its dead packages.
    /// Returns their ids and times; `None`: it has not failed, or does not any more.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn start_again(
        &self,
        job_id: i32,
        package: &str,
    ) -> Result<Option<Vec<(Uuid, DateTime<Utc>)>>, DbError> {
        // `deliveries` stays: where it is above one the store is asked first whether a picture is there.
        let update = sql_query(
            "WITH started AS (
                UPDATE generative_ai.jobs SET
                    state = 'waiting', worker_id = NULL, attempts = 0, crashes = 0, next_attempt_at = NULL, package = $2,
                    finished_at = NULL, error_class = NULL, error_message = NULL, error_details = NULL
                WHERE job_id = $1 AND state = 'dead' RETURNING job_id
             ), shown AS (
                UPDATE ac_background_jobs AS shown_row SET error = NULL, updated_at = now()
                FROM started WHERE shown_row.id = started.job_id AND shown_row.error IS NOT NULL
             ), closed AS (
                UPDATE generative_ai.dead_packages AS dead SET retried_at = now()
                FROM started WHERE dead.job_id = started.job_id AND dead.retried_at IS NULL
                RETURNING dead.id, dead.dead_at
             )
             SELECT EXISTS (SELECT FROM started) AS is_started, closed.id, closed.dead_at
             FROM (VALUES (1)) AS one LEFT JOIN closed ON true",
        )
        .bind::<Integer, _>(job_id)
        .bind::<Text, _>(storable(package));
        let rows: Vec<StartedRow> =
            on_connection(&self.pool, async |connection| update.load(connection).await).await?;
        if !rows.iter().any(|row| row.is_started) {
            return Ok(None);
        }
        let rows = rows.into_iter();
        Ok(Some(
            rows.filter_map(|row| Some((row.id?, row.dead_at?))).collect(),
        ))
    }
}
