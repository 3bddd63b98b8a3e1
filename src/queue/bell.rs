//! What Redis tells a replica without being asked: that a package waits on a list that no BLMOVE watches, that the queue
//! has been resumed, and what operators and other replicas have to say.
//!
//! One connection in protocol version 3, on which Redis itself says when a key has changed (client-side caching in
//! broadcast mode), so that waiting costs nothing. A server or an access list that does not allow it takes
//! nothing but speed: the lists are then looked at every 2 s.
//!
//! Source: Redis documentation, "Client-side caching reference", "Broadcasting mode".

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Keys, Notice, Priority, Queue};
use crate::redis::{Dedicated, RedisFailure};

/// Between two tries to be told. The first one is made at once.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A connection over which nothing comes any more looks like one over which there is nothing to say.
const PING_EVERY: Duration = Duration::from_secs(60);
/// How often it is seen whether another server has taken over.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What has been heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ring {
    /// It is worth looking at the lists.
    Work,
    /// What somebody tells all replicas.
    Notice(Notice),
}

/// The ear of one replica.
pub struct Bell {
    queue: Queue,
    line: Option<Line>,
    pause: Duration,
}

struct Line {
    connection: Dedicated,
    pushes: mpsc::UnboundedReceiver<PushInfo>,
    asked_at: Instant,
}

impl Queue {
    /// The ear of this replica; connects when it is first used.
    #[must_use]
    pub fn bell(&self) -> Bell {
        Bell {
            queue: self.clone(),
            line: None,
            pause: PAUSE,
        }
    }

    /// Whether Redis says by itself when there is work on other lists than the one that BLMOVE watches.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }
}

impl Bell {
    /// Waits for the next ring, for ever. After a (re)connection there is one, for what may have been missed.
    pub async fn next(&mut self) -> Ring {
        loop {
            let Some(line) = &mut self.line else {
                match self.queue.listen().await {
                    Ok(line) => {
                        self.line = Some(line);
                        self.pause = PAUSE;
                        self.queue.is_listening.store(true, Ordering::Relaxed);
                        return Ring::Work;
                    }
                    Err(error) => self.could_not_listen(&error).await,
                }
                continue;
            };
            match line.next(&self.queue).await {
                Ok(Some(ring)) => return ring,
                Ok(None) => {}
                Err(_) => {
                    self.line = None;
                    self.queue.is_listening.store(false, Ordering::Relaxed);
                }
            }
        }
    }

    async fn could_not_listen(&mut self, error: &RedisFailure) {
        // While Redis is away others say so. What remains is a server that does not want to be listened to.
        if self.pause >= LONGEST_PAUSE && !self.queue.has_told_of_limits.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %error,
                "Redis does not tell when packages come in on other lists than the main one; they are looked for every 2 s. \
                 Allow CLIENT|TRACKING and SUBSCRIBE"
            );
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl Queue {
    async fn listen(&self) -> Result<Line, RedisFailure> {
        let (sender, pushes) = mpsc::unbounded_channel();
        let mut connection = self.redis.listening(RESPONSE_TIMEOUT, sender).await?;
        let keys = self.redis.keys();
        tracking(keys).query_async::<()>(&mut connection).await?;
        let mut subscribe = redis::cmd("SUBSCRIBE");
        subscribe.arg(keys.control());
        match subscribe
            .query_async::<()>(&mut connection)
            .await
            .map_err(RedisFailure::from)
        {
            // Packages are seen all the same, and what notices say is learnt from Redis and Postgres, a little later.
            Err(RedisFailure::Refused(why)) => {
                if !self.has_told_of_limits.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        error = why,
                        "this account may not use the channels of the queue: nobody learns of jobs from events"
                    );
                }
            }
            result => result?,
        }
        Ok(Line {
            connection,
            pushes,
            asked_at: Instant::now(),
        })
    }
}

/// The lists that no BLMOVE watches.
fn watched_lists(keys: &Keys) -> [String; 3] {
    [Priority::Critical, Priority::High, Priority::Low].map(|priority| keys.waiting(priority))
}

/// Asks to be told of changes.
pub(super) fn tracking(keys: &Keys) -> redis::Cmd {
    let mut tracking = redis::cmd("CLIENT");
    tracking.arg("TRACKING").arg("ON").arg("BCAST");
    for key in watched_lists(keys).into_iter().chain([keys.paused()]) {
        tracking.arg("PREFIX").arg(key);
    }
    // What this connection itself changes is nothing new.
    tracking.arg("NOLOOP");
    tracking
}

impl Line {
    /// What comes next; `None`: nothing of interest.
    ///
    /// # Errors
    /// When nothing more will come over this connection.
    async fn next(&mut self, queue: &Queue) -> Result<Option<Ring>, RedisFailure> {
        let ended = || RedisFailure::Failed("the connection was closed".to_owned());
        let Ok(push) = tokio::time::timeout(LOOK_EVERY, self.pushes.recv()).await else {
            if !queue.redis.is_in_use(self.connection.server()) {
                return Err(RedisFailure::Replaced);
            }
            if self.asked_at.elapsed() >= PING_EVERY {
                redis::cmd("PING").query_async::<()>(&mut self.connection).await?;
                self.asked_at = Instant::now();
            }
            return Ok(None);
        };
        let push = push.ok_or_else(ended)?;
        match push.kind {
            PushKind::Disconnection => Err(ended()),
            PushKind::Message => Ok(notice(&push.data).map(Ring::Notice)),
            PushKind::Invalidate => {
                let paused = queue.redis.keys().paused();
                if names(&push.data, &paused) {
                    return Ok(Some(Ring::Work));
                }
                // Packages that were taken from a list change it too.
                let waiting: u64 = redis::cmd("EXISTS")
                    .arg(&watched_lists(queue.redis.keys()))
                    .query_async(&mut self.connection)
                    .await?;
                Ok((waiting > 0).then_some(Ring::Work))
            }
            _ => Ok(None),
        }
    }
}

/// The notice in a message: `[channel, text]`.
fn notice(data: &[Value]) -> Option<Notice> {
    let text: Vec<u8> = redis::from_redis_value(data.get(1)?.clone()).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Whether a key is among those that have changed: `[[key, …]]`.
fn names(data: &[Value], key: &str) -> bool {
    data.iter().any(|value| match value {
        Value::Array(keys) => names(keys, key),
        Value::BulkString(name) => name == key.as_bytes(),
        _ => false,
    })
}
