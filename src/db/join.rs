//! Who else wants to hear how a job ends: reply lists and URLs of packages that came while it was being worked on.

use diesel::OptionalExtension;
use diesel::sql_types::{Array, Bool, Integer, Nullable, Text};
use diesel_async::RunQueryDsl;

use super::statement::on_connection;
use super::{Db, DbError};

/// Jobs whose reply lists are told at once.
const CHUNK: i32 = 100;

/// Reply lists of a job that has ended, and its end.
#[derive(Clone, Debug, PartialEq, Eq, diesel::QueryableByName)]
pub struct JoinedReplies {
    /// The job.
    #[diesel(sql_type = Integer)]
    pub job_id: i32,
    /// The lists.
    #[diesel(sql_type = Array<Text>)]
    pub joined_replies: Vec<String>,
    /// `done`, `dead` or `cancelled`.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// Of one that is done.
    #[diesel(sql_type = Nullable<Integer>)]
    pub image_id: Option<i32>,
    /// Its public URL.
    #[diesel(sql_type = Nullable<Text>)]
    pub image_url: Option<String>,
    /// Of one that is not.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_class: Option<String>,
    /// Why.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_message: Option<String>,
}

/// What came of joining a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Its end will be told.
    Noted,
    /// As many as may have joined it already: its end has to be waited for.
    Full,
    /// It is not worked on now, and nothing was noted.
    NotWorkedOn,
}

#[derive(diesel::QueryableByName)]
struct JoinedRow {
    #[diesel(sql_type = Bool)]
    is_noted: bool,
    #[diesel(sql_type = Bool)]
    is_full: bool,
}

/// Reply lists and URLs that may join a job, and the length of their names together: they are kept in its row, which each of them writes
/// anew.
const MAX_JOINED: i32 = 200;
const MAX_JOINED_CHARS: i32 = 32 * 1024;

#[derive(diesel::QueryableByName)]
struct PackageRow {
    #[diesel(sql_type = Text)]
    package: String,
}

impl Db {
    /// The package of a job that is being worked on; `None`: it is not.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn begun_package(&self, job_id: i32) -> Result<Option<String>, DbError> {
        let select = diesel::sql_query(
            "SELECT package FROM generative_ai.jobs WHERE job_id = $1 AND state IS NOT DISTINCT FROM 'begun'",
        )
        .bind::<Integer, _>(job_id);
        let row: Option<PackageRow> = on_connection(&self.pool, async |connection| {
            select.get_result(connection).await.optional()
        })
        .await?;
        Ok(row.map(|row| row.package))
    }

    /// Has a reply list and a URL told when a job ends that is being worked on.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn join(
        &self,
        job_id: i32,
        reply_to: Option<&str>,
        callback_url: Option<&str>,
    ) -> Result<Joined, DbError> {
        // What the ledger knows under a number that was given out again is another job. Locked, as several that join at once would
        // all find the same room.
        let update = diesel::sql_query(
            "WITH job AS (
                SELECT job.job_id, ($2 IS NULL OR $2 = ANY (job.joined_replies)) AND ($5 IS NULL OR $5 = ANY (job.callback_urls)) AS is_known,
                    cardinality(job.joined_replies) + cardinality(job.callback_urls) >= $3
                    OR length(array_to_string(job.joined_replies || job.callback_urls, '')) + length(concat($2, $5)) > $4 AS is_full
                FROM generative_ai.jobs AS job JOIN ac_background_jobs AS shown_row ON shown_row.id = job.job_id
                WHERE job.job_id = $1 AND job.state IS NOT DISTINCT FROM 'begun'
                    AND coalesce(job.row_created_at = shown_row.created_at, true)
                FOR NO KEY UPDATE OF job
             ), joined AS (
                UPDATE generative_ai.jobs AS noted SET
                    joined_replies = CASE WHEN $2 IS NULL OR $2 = ANY (noted.joined_replies) THEN noted.joined_replies
                        ELSE noted.joined_replies || $2 END,
                    replies_due_at = CASE WHEN $2 IS NULL THEN noted.replies_due_at ELSE now() END,
                    callback_urls = CASE WHEN $5 IS NULL OR $5 = ANY (noted.callback_urls) THEN noted.callback_urls
                        ELSE noted.callback_urls || $5 END
                FROM job WHERE noted.job_id = job.job_id AND noted.state IS NOT DISTINCT FROM 'begun'
                    AND NOT job.is_known AND NOT job.is_full
                RETURNING noted.job_id
             )
             SELECT EXISTS (SELECT FROM joined) OR EXISTS (SELECT FROM job WHERE job.is_known) AS is_noted,
                EXISTS (SELECT FROM job WHERE job.is_full) AS is_full",
        )
        .bind::<Integer, _>(job_id)
        .bind::<Nullable<Text>, _>(reply_to)
        .bind::<Integer, _>(MAX_JOINED)
        .bind::<Integer, _>(MAX_JOINED_CHARS)
        .bind::<Nullable<Text>, _>(callback_url);
        let row: JoinedRow =
            on_connection(&self.pool, async |connection| update.get_result(connection).await).await?;
        Ok(if row.is_noted {
            Joined::Noted
        } else if row.is_full {
            Joined::Full
        } else {
            Joined::NotWorkedOn
        })
    }

    /// Reply lists that are to be told now. Nobody else gets them for a while, so that they are told again where the
    /// caller dies, and seldom twice where it lives.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn joined_replies(&self) -> Result<Vec<JoinedReplies>, DbError> {
        let update = diesel::sql_query(
            "UPDATE generative_ai.jobs AS job SET replies_due_at = now() + interval '30 seconds'
             FROM (
                SELECT due.job_id FROM generative_ai.jobs AS due
                WHERE due.replies_due_at <= now() AND due.state IN ('done', 'dead', 'cancelled')
                ORDER BY due.replies_due_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
             ) AS due WHERE job.job_id = due.job_id
             RETURNING job.job_id, job.joined_replies, job.state, job.image_id, job.image_url, job.error_class,
                job.error_message",
        )
        .bind::<Integer, _>(CHUNK);
        on_connection(&self.pool, async |connection| update.load(connection).await).await
    }

    /// Forgets reply lists that have been told.
    ///
    /// # Errors
    /// [`DbError`]; they are told once more then.
    pub async fn forget_replies(&self, job_ids: Vec<i32>) -> Result<(), DbError> {
        let update = diesel::sql_query(
            "UPDATE generative_ai.jobs SET joined_replies = '{}', replies_due_at = NULL
             WHERE job_id = ANY($1) AND state IN ('done', 'dead', 'cancelled')",
        )
        .bind::<Array<Integer>, _>(job_ids);
        on_connection(&self.pool, async |connection| {
            update.execute(connection).await.map(|_| ())
        })
        .await
    }
}
