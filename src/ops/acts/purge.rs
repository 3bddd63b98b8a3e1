//! Forgets dead packages, in Redis first, so that a purge that was cut off is found and done again.

use super::{Done, packages};
use crate::db::{Db, DeadSelection};
use crate::queue::Redis;

/// Packages that are read and deleted at once.
const CHUNK: u32 = 100;

/// Forgets all that were chosen.
///
/// # Errors
/// When Postgres or Redis does not answer.
pub(crate) async fn purge_all(selection: &mut DeadSelection, db: &Db, redis: &Redis) -> anyhow::Result<Done> {
    let mut purged = 0;
    loop {
        let chunk = selection.next(CHUNK).await?;
        if chunk.is_empty() {
            break;
        }
        let mirrors: Vec<_> = chunk
            .iter()
            .map(|package| (package.id, package.dead_at.timestamp_millis()))
            .collect();
        redis.forget_dead(&mirrors).await?;
        let ids: Vec<_> = chunk.iter().map(|package| package.id).collect();
        purged += db.purge_dead(&ids).await?;
    }
    let count = i64::try_from(purged).unwrap_or(i64::MAX);
    Ok(Done {
        count,
        said: format!("purged {}", packages(count)),
        is_done: true,
    })
}
