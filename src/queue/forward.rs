//! Bringing the packages of one job forward that wait for a time.

use redis::Script;

use super::{Redis, scripts};
use crate::redis::RedisFailure;

impl Redis {
    /// Lets the packages of a job that wait for a time wait at the heads of their lists instead. Returns how many there were.
    ///
    /// # Errors
    /// [`RedisFailure`]; what was brought forward stays so.
    pub async fn bring_forward(&self, job_id: i32) -> Result<u64, RedisFailure> {
        let code = concat!(
            include_str!("scripts/give_back.lua"),
            include_str!("scripts/forward.lua")
        );
        let script = Script::new(code);
        let mut connection = self.connection().await?;
        let (mut place, mut total) = (0, 0);
        while place >= 0 {
            let mut call = script.key(self.keys().delayed());
            call.key(&self.keys().heads()).arg(job_id).arg(place);
            let (next, count): (i64, u64) = scripts::invoke(&call, &mut connection).await?;
            (place, total) = (next, total + count);
        }
        Ok(total)
    }
}
