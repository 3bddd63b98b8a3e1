//! What the operators' page reads of the ledger.
//!
//! Few statements a page, each with an index behind it and a bound on the rows that it looks at: where no index finds what is
//! asked for, the latest jobs are looked through and no more. The application's tables are looked at by key alone.

mod pictures;
mod providers;
mod running;
mod search;
mod totals;

pub use pictures::{Picture, PictureFilter, PicturePage};
pub use providers::CallCounts;
pub use running::UnfinishedJob;
pub use search::Hit;
pub use totals::Totals;

use diesel::sql_types::{Bytea, Integer, Nullable};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::statement::on_connection;
use super::{Db, DbError};

#[derive(QueryableByName)]
struct Package {
    #[diesel(sql_type = Nullable<Bytea>)]
    package: Option<Vec<u8>>,
}

impl Db {
    /// The package of a job, prompt included, where it is still kept: until the job ends, or as its latest dead package.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn package_of(&self, job_id: i32) -> Result<Option<Vec<u8>>, DbError> {
        let select = sql_query(
            "SELECT coalesce(
                (SELECT convert_to(package, 'UTF8') FROM generative_ai.jobs WHERE job_id = $1 AND package <> ''),
                (SELECT payload FROM generative_ai.dead_packages WHERE job_id = $1 ORDER BY dead_at DESC LIMIT 1)
             ) AS package",
        )
        .bind::<Integer, _>(job_id);
        let row: Package =
            on_connection(&self.pool, async |connection| select.get_result(connection).await).await?;
        Ok(row.package)
    }
}
