//! What operators have done with commands: who, when, what, how many.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::fail::storable;
use super::statement::on_connection;
use super::{Db, DbError};

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, QueryableByName)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// When it was begun.
    #[diesel(sql_type = Timestamptz)]
    pub begun_at: DateTime<Utc>,
    /// When it had ended; `None`: it was cut off, or goes on.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub ended_at: Option<DateTime<Utc>>,
    /// The user and the host, or the name that was given.
    #[diesel(sql_type = Text)]
    pub who: String,
    /// The command.
    #[diesel(sql_type = Text)]
    pub action: String,
    /// About what.
    #[diesel(sql_type = Text)]
    pub subject: String,
    /// How many jobs or packages it came to.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub count: Option<i64>,
    /// What came of it.
    #[diesel(sql_type = Nullable<Text>)]
    pub outcome: Option<String>,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

impl Db {
    /// Writes down what is about to be done, and returns the number to end it with.
    ///
    /// # Errors
    /// [`DbError`]; nothing is to be done then that has to be written down.
    pub async fn begin_action(
        &self,
        queue: &str,
        who: &str,
        action: &str,
        subject: &str,
    ) -> Result<i64, DbError> {
        let insert = sql_query(
            "INSERT INTO generative_ai.operator_actions (queue, who, action, subject) VALUES ($1, $2, $3, $4) RETURNING id",
        )
        .bind::<Text, _>(queue)
        .bind::<Text, _>(storable(who))
        .bind::<Text, _>(action)
        .bind::<Text, _>(storable(subject));
        let row: Id =
            on_connection(&self.pool, async |connection| insert.get_result(connection).await).await?;
        Ok(row.id)
    }

    /// Writes down what has come of it.
    ///
    /// # Errors
    /// [`DbError`]; the same call can be made again.
    pub async fn end_action(&self, id: i64, count: i64, outcome: &str) -> Result<(), DbError> {
        let update = sql_query(
            "UPDATE generative_ai.operator_actions SET ended_at = now(), count = $2, outcome = $3 WHERE id = $1",
        )
        .bind::<BigInt, _>(id)
        .bind::<BigInt, _>(count)
        .bind::<Text, _>(storable(outcome));
        on_connection(&self.pool, async |connection| update.execute(connection).await)
            .await
            .map(|_| ())
    }

    /// What was done with this queue, the latest first.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn actions(&self, queue: &str, most: i64) -> Result<Vec<Action>, DbError> {
        let select = sql_query(
            "SELECT begun_at, ended_at, who, action, subject, count, outcome FROM generative_ai.operator_actions
             WHERE queue = $1 ORDER BY id DESC LIMIT $2",
        )
        .bind::<Text, _>(queue)
        .bind::<BigInt, _>(most);
        on_connection(&self.pool, async |connection| select.load(connection).await).await
    }
}
