//! What operators and replicas tell all replicas: a pause of the queue, how it stands with a provider, an end of a job.

use std::collections::HashMap;

use redis::AsyncCommands;
use serde::{Deserialize, Serialize};

use super::{Event, Redis};
use crate::redis::RedisFailure;

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
    /// It stands differently with a provider.
    #[serde(rename_all = "camelCase")]
    Provider {
        /// Which.
        provider: String,
        /// The server's time, Unix ms.
        now_ms: String,
        /// Its hash, empty when it is well: see [`ProviderState::from_fields`](super::ProviderState::from_fields).
        fields: HashMap<String, String>,
    },
}

/// Who has paused a queue, and when, as far as it is known: the key may have been set by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PauseNote {
    /// Who.
    pub by: Option<String>,
    /// When, RFC 3339.
    pub at: Option<String>,
}

impl PauseNote {
    /// Reads what [`Redis::pause`] has written, or somebody else.
    pub(super) fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
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
    /// [`RedisFailure`].
    pub async fn pause(&self, by: &str) -> Result<bool, RedisFailure> {
        let mut connection = self.connection().await?;
        let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let note = PauseNote {
            by: Some(by.to_owned()),
            at: Some(time),
        };
        let note = serde_json::to_string(&note).expect("a note has text keys only");
        Ok(connection.set_nx(self.keys().paused(), note).await?)
    }

    /// Lets replicas take new work again. `false`: it was so already.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn resume(&self) -> Result<bool, RedisFailure> {
        let mut connection = self.connection().await?;
        Ok(connection.del(self.keys().paused()).await?)
    }

    /// Who has paused the queue, and when. `None`: nobody.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn paused_by(&self) -> Result<Option<PauseNote>, RedisFailure> {
        let mut connection = self.connection().await?;
        let note: Option<String> = connection.get(self.keys().paused()).await?;
        Ok(note.map(|note| PauseNote::read(&note)))
    }

    /// Tells replicas, and all who listen to the channel of events, that a job has been cancelled.
    ///
    /// # Errors
    /// [`RedisFailure`]; replicas learn of it from Postgres all the same.
    pub async fn tell_of_cancelled(&self, job_id: i32, message: &str) -> Result<(), RedisFailure> {
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
