//! What shows on rows alone, tried with a job and a picture that are made for it: policies, lengths of columns, columns that nobody
//! fills, triggers.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use futures_util::{FutureExt, TryFutureExt};
use uuid::Uuid;

use super::super::begin::BeginRequest;
use super::super::fail;
use super::super::{DbError, PictureNames};
use super::requests::{REASON, Requests};
use super::{
    END, PUT_OFF, RECORD_A_PICTURE, Refusal, Step, Try, WRITE_DOWN_A_CALL, intend, record, retry, tried,
};

/// What follows on a row that is there: policies and lengths of columns show on rows alone. What the first two leave, the others
/// find, and each of the others is taken back.
const STEPS_ON_A_ROW: [(&str, Try); 5] = [
    ("write down a job", |connection, all| {
        write_down(connection, all).boxed()
    }),
    (WRITE_DOWN_A_CALL, intend),
    (PUT_OFF, retry),
    (END, bury),
    (RECORD_A_PICTURE, record),
];
const KEPT: usize = 2;

fn bury<'c>(connection: &'c mut AsyncPgConnection, all: &'c Requests) -> Step<'c> {
    // The other one is for rows that take no reason, and would find this one's work.
    let buried = fail::run_bury(connection, &all.bury[..1]);
    buried
        .map_ok(|answers| answers.into_values().any(|buried| buried.is_some()))
        .boxed()
}

/// As a job is begun, but for its row in `ac_background_jobs`, which is the application's to make.
async fn write_down(connection: &mut AsyncPgConnection, all: &Requests) -> Result<bool, DbError> {
    let BeginRequest {
        job_id,
        worker_id,
        queue,
        package,
        ..
    } = &*all.begin[0];
    sql_query(
        "INSERT INTO generative_ai.jobs (job_id, state, worker_id, queue, package, row_created_at)
         VALUES ($1, 'begun', $2, $3, $4, now())",
    )
    .bind::<Integer, _>(job_id)
    .bind::<Text, _>(worker_id)
    .bind::<Text, _>(queue)
    .bind::<Text, _>(package)
    .execute(connection)
    .await?;
    Ok(true)
}

const SHOW_AN_END: &str = "
    UPDATE ac_background_jobs AS shown_row SET
        error = $1, progress = greatest(coalesce(shown_row.progress, 0), 10),
        data = coalesce(shown_row.data, '{}') || '{\"imageId\": 0}', updated_at = now()
    WHERE shown_row.id = (SELECT id FROM ac_background_jobs ORDER BY id DESC LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)";

/// A row of `images` as a replica makes it. Somebody who has one already may have another, where the application takes none that
/// is nobody's.
const IMAGE: &str = "
    INSERT INTO images (user_id, s3_bucket_name, original_filename, formats, user_agent, ip_address, deleted, created_at, updated_at)
    VALUES ($1, $2, 'n/a', $3, 'AI worker', '127.0.0.1', false, now(), now()) RETURNING id";
const SOMEBODY: &str = "
    SELECT user_id AS id FROM (SELECT user_id FROM images ORDER BY id DESC LIMIT 100) AS last WHERE user_id IS NOT NULL LIMIT 1";

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = Integer)]
    id: i32,
}

/// Tries what shows on rows alone.
///
/// # Errors
/// [`DbError`] when Postgres is away.
pub(super) async fn try_all(
    connection: &mut AsyncPgConnection,
    names: &PictureNames,
) -> Result<Vec<Refusal>, DbError> {
    let somebody = somebody(connection).await;
    let (user_id, refusal) = image(connection, somebody, names).await?;
    let mut refusals: Vec<Refusal> = refusal.into_iter().collect();
    // No other process tries the same number.
    let [a, b, c, d, ..] = Uuid::new_v4().into_bytes();
    let job_id = i32::from_be_bytes([a, b, c, d]) | i32::MIN;
    let requests = Requests::of(job_id, user_id, names);
    for (position, (step, attempt)) in STEPS_ON_A_ROW.into_iter().enumerate() {
        // Its row of `images` would be refused again.
        if step == RECORD_A_PICTURE && !refusals.is_empty() {
            continue;
        }
        let is_kept = position < KEPT;
        match tried(connection, attempt, &requests, is_kept).await? {
            Ok(true) => continue,
            Ok(false) => refusals.push(Refusal::of(step, DbError::Refused(UNSEEN.to_owned()))),
            Err(error) => refusals.push(Refusal::of(step, error)),
        }
        // The others would only miss what this one has not left.
        if is_kept {
            return Ok(refusals);
        }
    }
    if let Err(error) = tried(
        connection,
        |connection, _| show_an_end(connection).boxed(),
        &requests,
        false,
    )
    .await?
    {
        refusals.push(Refusal {
            depends: true,
            ..Refusal::of("show the end of a job", error)
        });
    }
    Ok(refusals)
}

/// Whose a row of `images` may be; `None` where none is anybody's, or such rows may not be read, which is no fault.
async fn somebody(connection: &mut AsyncPgConnection) -> Option<i32> {
    let found = connection
        .transaction(async |connection| {
            let found: Vec<Id> = sql_query(SOMEBODY).load(connection).await?;
            Ok::<_, DieselError>(found)
        })
        .await;
    Some(found.ok()?.into_iter().next()?.id)
}

/// What becomes of a row of the application's when its job ends, done to the one that it made last, if that is free.
async fn show_an_end(connection: &mut AsyncPgConnection) -> Result<bool, DbError> {
    sql_query(SHOW_AN_END)
        .bind::<Text, _>(REASON)
        .execute(connection)
        .await?;
    Ok(true)
}

const UNSEEN: &str = "the row that it has made before is not there for it, as a policy of row level security or a trigger hides it";

/// Makes a row of `images`; returns whose it is, or why it is refused.
async fn image(
    connection: &mut AsyncPgConnection,
    somebody: Option<i32>,
    names: &PictureNames,
) -> Result<(Option<i32>, Option<Refusal>), DbError> {
    let mut last = None;
    for user_id in somebody.into_iter().map(Some).chain([None]) {
        let done = connection.transaction(async |connection| {
            let insert = sql_query(IMAGE)
                .bind::<Nullable<Integer>, _>(user_id)
                .bind::<Nullable<Text>, _>(names.bucket.as_deref())
                .bind::<Text, _>(PictureNames::formats(&names.url));
            insert.execute(connection).await
        });
        let error = match done.await {
            Ok(_) => return Ok((user_id, None)),
            Err(error) => error,
        };
        let mut unfilled = None;
        let depends = match &error {
            DieselError::DatabaseError(DatabaseErrorKind::NotNullViolation, info) => {
                let is_own = info.table_name() == Some("images");
                let column = info.column_name().filter(|_| is_own).unwrap_or_default();
                unfilled =
                    Some(column.to_owned()).filter(|column| !matches!(&**column, "" | "id" | "user_id"));
                // Packages may name a user. A key that nobody gives is missing in every row.
                column == "user_id"
            }
            DieselError::DatabaseError(
                DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ExclusionViolation,
                _,
            ) => true,
            _ => false,
        };
        let error = DbError::from(error);
        if matches!(error, DbError::Unavailable(_) | DbError::Demoted(_)) {
            return Err(error);
        }
        last = Some(Refusal {
            depends,
            unfilled,
            ..Refusal::of("make a row of images", error)
        });
    }
    Ok((None, last))
}
