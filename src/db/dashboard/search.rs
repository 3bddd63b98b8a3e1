//! Jobs by what somebody knows of them.

use diesel::sql_types::{Bool, Integer, Nullable, Text};
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
    /// Which. `None`: a package from which no number could be read.
    #[diesel(sql_type = Nullable<Integer>)]
    pub job_id: Option<i32>,
    /// How it stands; `refused`: its package was, before it was begun; `None`: no replica has begun it.
    #[diesel(sql_type = Nullable<Text>)]
    pub state: Option<String>,
    /// Its picture.
    #[diesel(sql_type = Nullable<Integer>)]
    pub image_id: Option<i32>,
}

impl Hit {
    /// What is looked for where somebody has written this: without the word that says what a number counts.
    #[must_use]
    pub fn wanted(text: &str) -> &str {
        meant(text).1
    }

    /// So many by one of them are meant to be shown; another one says that there are more.
    pub const MOST: usize = 20;
}

/// Each by an index, but of a user the pictures among the latest jobs: the application's table has no index that is known of, and
/// one of ours would be paid for by every job. They are looked up one by one, as a join may read all images. A picture leads to its job by its address.
const SEARCH: &str = "
    (SELECT 'job' AS by, $1 AS job_id, coalesce(job.state, dead.state) AS state, job.image_id
        FROM (SELECT (SELECT CASE WHEN attempts > 0 THEN 'dead' ELSE 'refused' END
            FROM generative_ai.dead_packages WHERE job_id = $1 ORDER BY dead_at DESC LIMIT 1) AS state) AS dead
        LEFT JOIN generative_ai.jobs AS job ON job.job_id = $1
        WHERE $6 AND (job.job_id IS NOT NULL OR dead.state IS NOT NULL OR EXISTS (SELECT FROM ac_background_jobs WHERE id = $1)))
    UNION ALL (SELECT 'image', job.job_id, job.state, job.image_id FROM images AS image
        CROSS JOIN LATERAL regexp_matches(image.formats, '\"([^\"]+)\"', 'g') AS address(part)
        JOIN generative_ai.jobs AS job ON job.image_url = address.part[1] AND job.image_id = image.id
        WHERE $7 AND image.id = $1 LIMIT 21)
    UNION ALL (SELECT 'user', job_id, state, image_id FROM (
            SELECT job_id, state, image_id FROM generative_ai.jobs ORDER BY job_id DESC LIMIT 20000
        ) AS latest WHERE $8 AND (SELECT user_id FROM images WHERE id = latest.image_id) = $1 ORDER BY job_id DESC LIMIT 21)
    UNION ALL (SELECT 'collection', job_id, state, image_id FROM generative_ai.jobs
        WHERE $9 AND object_keys IS NOT NULL AND split_part(object_keys[1], '/', 3) = $3
            AND ($3 = $2 OR split_part(object_keys[1], '/', 2) || '/' || $3 = $2)
        ORDER BY job_id DESC LIMIT 21)
    UNION ALL (SELECT 'request', call.job_id, job.state, job.image_id FROM (
            SELECT job_id FROM generative_ai.provider_calls WHERE provider_request_id = $2
            UNION SELECT job_id FROM generative_ai.provider_calls WHERE handle = $2
        ) AS call LEFT JOIN generative_ai.jobs AS job ON job.job_id = call.job_id LIMIT 21)
    UNION ALL (SELECT 'dead package', dead.job_id, coalesce(job.state, CASE WHEN dead.attempts > 0 THEN 'dead' ELSE 'refused' END), job.image_id
        FROM generative_ai.dead_packages AS dead
        LEFT JOIN generative_ai.jobs AS job ON job.job_id = dead.job_id WHERE dead.id BETWEEN $4 AND $5 ORDER BY dead.dead_at DESC LIMIT 21)
    UNION ALL (SELECT 'callback', callback.job_id, job.state, job.image_id FROM generative_ai.callbacks AS callback
        LEFT JOIN generative_ai.jobs AS job ON job.job_id = callback.job_id WHERE callback.id BETWEEN $4 AND $5 ORDER BY callback.ended_at DESC LIMIT 21)";

impl Db {
    /// Jobs whose number, image, user, collection or request this is, or the id of a dead package or a callback of theirs: at the most
    /// [`Hit::MOST`] and one more by each. An id may be cut short, as lists show it, and a number may have a word before it that says
    /// what it counts: `job 42`, `image 161`, `user 3`, `group/9`.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn search(&self, text: &str) -> Result<Vec<Hit>, DbError> {
        let text = text.replace('\0', "");
        let (word, text) = meant(&text);
        let number: Option<i32> = text.parse().ok();
        let is = |by: &str| word.is_none_or(|word| word == by);
        let (first, last) = ids(text).unzip();
        let select = sql_query(SEARCH)
            .bind::<Nullable<Integer>, _>(number)
            .bind::<Text, _>(text)
            .bind::<Text, _>(collection_id(text))
            .bind::<Nullable<diesel::sql_types::Uuid>, _>(first)
            .bind::<Nullable<diesel::sql_types::Uuid>, _>(last)
            .bind::<Bool, _>(number.is_some() && is("job"))
            .bind::<Bool, _>(number.is_some() && is("image"))
            .bind::<Bool, _>(number.is_some() && is("user"))
            .bind::<Bool, _>(is("collection"));
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }
}

/// What a number is said to count, and the number; collections are found under the names of their types as well (`group 9`, `group/9`).
fn meant(text: &str) -> (Option<&'static str>, &str) {
    const WORDS: [(&str, &str); 5] = [
        ("job", "job"),
        ("image", "image"),
        ("user", "user"),
        ("collection", "collection"),
        ("group", "collection"),
    ];
    let text = text.trim();
    let Some((word, number)) = text.split_once([' ', '#', ':', '/']) else {
        return (None, text);
    };
    let word = word.trim().to_ascii_lowercase();
    let one = word.strip_suffix('s').unwrap_or(&word);
    let known = WORDS.iter().find(|(known, _)| *known == one);
    match (known, number.trim().trim_start_matches('#')) {
        // Collections are named so by themselves: with their type.
        (Some((_, "collection")), _) if text.contains('/') => (None, text),
        (Some((_, by)), number) if number.parse::<i64>().is_ok() => (Some(by), number),
        _ if word.is_empty() && number.parse::<i64>().is_ok() => (None, number),
        _ => (None, text),
    }
}

/// The first and the last id that begins so, of which at least eight digits are known.
fn ids(text: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let is_one = (8..=32).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit());
    let filled = |with: &str| Uuid::parse_str(&format!("{digits}{}", with.repeat(32 - digits.len()))).ok();
    is_one.then_some(())?;
    Some((filled("0")?, filled("f")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_what_they_count_and_ids_although_they_are_cut_short() {
        for (text, expected) in [
            ("42", (None, "42")),
            (" job 42 ", (Some("job"), "42")),
            ("Job #42", (Some("job"), "42")),
            ("#42", (None, "42")),
            ("image 161", (Some("image"), "161")),
            ("group 9", (Some("collection"), "9")),
            ("group/9", (None, "group/9")),
            ("job:42", (Some("job"), "42")),
            ("jobs/42", (Some("job"), "42")),
            ("/jobs/42", (None, "/jobs/42")),
            ("req 42", (None, "req 42")),
            ("user x", (None, "user x")),
        ] {
            assert_eq!(meant(text), expected, "{text}");
        }
        let (first, last) = ids("0199d2a4-77").unwrap();
        assert_eq!(first.to_string(), "0199d2a4-7700-0000-0000-000000000000");
        assert_eq!(last.to_string(), "0199d2a4-77ff-ffff-ffff-ffffffffffff");
        let whole = ids("0199d2a4-77ff-7fff-8fff-ffffffffffff").unwrap();
        assert_eq!(whole.0, whole.1);
        for none in ["0199d2a", "", "0199d2ag", "req_0199d2a4"] {
            assert_eq!(ids(none), None, "{none}");
        }
    }
}
