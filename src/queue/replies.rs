//! Final events for reply lists that no delivery in hand names.

use super::pipeline::REPLY_SECONDS;
use super::{Event, Redis};
use crate::redis::RedisFailure;

impl Redis {
    /// Pushes a final event to reply lists. A list that is none is passed over: it is its reader's to mend.
    ///
    /// # Errors
    /// [`RedisFailure`]; some may have been told, and the same call can be made again.
    pub async fn reply(&self, lists: &[String], event: &Event) -> Result<(), RedisFailure> {
        let event = event.to_json();
        let mut connection = self.connection().await?;
        for list in lists {
            let told: redis::RedisResult<()> = redis::pipe()
                .rpush(list, &event)
                .expire(list, REPLY_SECONDS.into())
                .query_async(&mut connection)
                .await;
            match told {
                Err(error) if error.code() == Some("WRONGTYPE") => {}
                told => told?,
            }
        }
        Ok(())
    }
}
