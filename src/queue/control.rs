//! What operators and replicas tell all replicas: a pause of the queue, a pause that a provider wants, an end of a job.

use std::time::Duration;

use redis::AsyncCommands;
use serde::{Deserialize, Serialize};

use super::{Event, Queue, QueueError, Redis, scripts};

/// What cannot wait until a replica asks. Whoever misses it learns of it from Redis or Postgres a little later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "notice")]
pub enum Notice {
    /// A job has been cancelled, as its row says.
    #[serde(rename_all = "camelCase")]
    Cancelled {
        /// Which.
        job_id: i32,
    },
    /// A provider wants a pause.
    ProviderPause {
        /// Who.
        provider: String,
        /// For how long, in milliseconds.
        ms: u64,
    },
}

impl Notice {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a notice has text keys only")
    }
}

impl Redis {
    /// Lets no replica take new work until [`Redis::resume`]. `false`: it was so already.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn pause(&self, by: &str) -> Result<bool, QueueError> {
        let mut connection = self.connection().await?;
        let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let note = serde_json::json!({"by": by, "at": time}).to_string();
        Ok(connection.set_nx(self.keys().paused(), note).await?)
    }

    /// Lets replicas take new work again. `false`: it was so already.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn resume(&self) -> Result<bool, QueueError> {
        let mut connection = self.connection().await?;
        Ok(connection.del(self.keys().paused()).await?)
    }

    /// Who has paused the queue, and when: what [`Redis::pause`] has written. `None`: nobody.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn paused_by(&self) -> Result<Option<String>, QueueError> {
        let mut connection = self.connection().await?;
        Ok(connection.get(self.keys().paused()).await?)
    }

    /// Tells replicas, and all who listen to the channel of events, that a job has been cancelled.
    ///
    /// # Errors
    /// [`QueueError`]; replicas learn of it from Postgres all the same.
    pub async fn tell_of_cancelled(&self, job_id: i32, message: &str) -> Result<(), QueueError> {
        let mut connection = self.connection().await?;
        let notice = Notice::Cancelled { job_id }.to_json();
        let event = Event::cancelled(job_id, message.to_owned()).to_json();
        redis::pipe()
            .publish(self.keys().control(), notice)
            .publish(self.keys().events(), event)
            .query_async::<()>(&mut connection)
            .await?;
        Ok(())
    }
}

impl Queue {
    /// Lets all replicas know that a provider wants a pause.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn pause_provider(&self, provider: &str, time: Duration) -> Result<(), QueueError> {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let notice = Notice::ProviderPause {
            provider: provider.to_owned(),
            ms,
        };
        let keys = self.redis.keys();
        let mut call = self.scripts.pause_provider.key(keys.provider_pauses());
        call.arg(provider).arg(ms);
        call.arg(keys.control()).arg(notice.to_json());
        let mut connection = self.redis.connection().await?;
        scripts::invoke::<()>(&call, &mut connection).await?;
        Ok(())
    }
}
