//! Jobs by what somebody knows of them.

use diesel::sql_types::{Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::super::statement::on_connection;
use super::super::{Db, DbError};
use super::pictures::collection_id;

/// A job that was found.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Hit {
    /// By what: `job`, `image`, `user`, `collection`, `request`, `dead package` or `callback`.
    #[diesel(sql_type = Text)]
    pub by: String,
    /// Which.
    #[diesel(sql_type = Integer)]
    pub job_id: i32,
    /// How it stands; `None`: no replica has begun it.
    #[diesel(sql_type = Nullable<Text>)]
    pub state: Option<String>,
    /// Its picture.
    #[diesel(sql_type = Nullable<Integer>)]
    pub image_id: Option<i32>,
}

impl Hit {
    /// So many by one of them are meant to be shown; another one says that there are more.
    pub const MOST: usize = 20;
}

/// Each by an index, but of a user the pictures among the latest jobs: the application's table has no index that is known of, and
/// one of ours would be paid for by every job. A picture leads to its job by its address.
const SEARCH: &str = "
    (SELECT 'job' AS by, shown.id AS job_id, job.state, job.image_id
        FROM ac_background_jobs AS shown LEFT JOIN generative_ai.jobs AS job ON job.job_id = shown.id WHERE shown.id = $1)
    UNION ALL (SELECT 'image', job.job_id, job.state, job.image_id FROM images AS image
        CROSS JOIN LATERAL regexp_matches(image.formats, '\"([^\"]+)\"', 'g') AS address(part)
        JOIN generative_ai.jobs AS job ON job.image_url = address.part[1] AND job.image_id = image.id
        WHERE image.id = $1 LIMIT 21)
    UNION ALL (SELECT 'user', job_id, state, image_id FROM (
            SELECT job_id, state, image_id FROM generative_ai.jobs ORDER BY job_id DESC LIMIT 20000
        ) AS latest JOIN images AS image ON image.id = latest.image_id
        WHERE $1 IS NOT NULL AND image.user_id = $1 ORDER BY job_id DESC LIMIT 21)
    UNION ALL (SELECT 'collection', job_id, state, image_id FROM generative_ai.jobs
        WHERE object_keys IS NOT NULL AND split_part(object_keys[1], '/', 3) = $3
            AND ($3 = $2 OR split_part(object_keys[1], '/', 2) || '/' || $3 = $2)
        ORDER BY job_id DESC LIMIT 21)
    UNION ALL (SELECT 'request', call.job_id, job.state, job.image_id FROM (
            SELECT job_id FROM generative_ai.provider_calls WHERE provider_request_id = $2
            UNION SELECT job_id FROM generative_ai.provider_calls WHERE handle = $2
        ) AS call LEFT JOIN generative_ai.jobs AS job ON job.job_id = call.job_id LIMIT 21)
    UNION ALL (SELECT 'dead package', dead.job_id, job.state, job.image_id FROM generative_ai.dead_packages AS dead
        LEFT JOIN generative_ai.jobs AS job ON job.job_id = dead.job_id WHERE dead.id = $4 AND dead.job_id IS NOT NULL)
    UNION ALL (SELECT 'callback', callback.job_id, job.state, job.image_id FROM generative_ai.callbacks AS callback
        LEFT JOIN generative_ai.jobs AS job ON job.job_id = callback.job_id WHERE callback.id = $4 AND callback.job_id IS NOT NULL)";

impl Db {
    /// Jobs whose number, image, user, collection or request this is, or the id of a dead package or a callback of theirs: at the most
    /// [`Hit::MOST`] and one more by each.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn search(&self, text: &str) -> Result<Vec<Hit>, DbError> {
        let number: Option<i32> = text.parse().ok();
        let text = text.replace('\0', "");
        let select = sql_query(SEARCH)
            .bind::<Nullable<Integer>, _>(number)
            .bind::<Text, _>(&text)
            .bind::<Text, _>(collection_id(&text))
            .bind::<Nullable<diesel::sql_types::Uuid>, _>(Uuid::parse_str(&text).ok());
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }
}
