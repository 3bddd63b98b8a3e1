//! Taking packages: a blocking move that wakes the worker, and a script that claims.
//!
//! The answer to a BLMOVE can be lost on the wire after the element has moved, and then nobody would know of it. And
//! it brings the package, which may have any size. So the server is asked not to answer it: whatever has landed is
//! claimed by the adopt script, which sets aside what is too large, and whose own answer, if lost, is found in the
//! processing hash.

use std::time::Duration;

use redis::aio::ConnectionLike;
use tokio::time::Instant;

use super::suspects::deliveries;
use super::{Queue, scripts};
use crate::redis::{Dedicated, RedisFailure};

/// How long the server holds a BLMOVE. Half a lease at the most: what a server gives to a frozen client after its lease has
/// ended and its name was struck out, nobody would find.
const BLOCK: Duration = Duration::from_secs(7);
/// Above the block time, so that the client never gives up on a move that the server still makes.
const BLOCK_RESPONSE_TIMEOUT: Duration = Duration::from_secs(11);
/// How long to wait instead when a full Redis moves nothing.
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(500);

/// One package in this worker's hands. Equal packages are different deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Field of the processing hash, never used twice by a worker.
    pub id: String,
    /// The bytes as they were pushed.
    pub payload: Vec<u8>,
    /// Of a suspect, a package that was with a replica when that crashed: how many crashes count as its own.
    pub crashes: Option<u32>,
}

/// What a claim has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The packages, in the order in which they are to be begun.
    pub deliveries: Vec<Delivery>,
    /// Whether no replica may take new work now.
    pub is_paused: bool,
    /// Bytes of each package that was too large and has been set aside, unread.
    pub set_aside: Vec<u64>,
    /// Whether more may wait, although fewer came than there was room for: not all of them fitted into one answer.
    pub has_more: bool,
    /// Keys of waiting lists that are of another type. Nothing was taken from them.
    pub refused: Vec<String>,
}

/// The dedicated connection that waits for the next package.
pub struct Landing {
    queue: Queue,
    connection: Option<(Dedicated, u64)>,
    /// Whether Redis had no free memory when it was last asked.
    is_full: bool,
    /// Whether the last wait ended with its connection.
    was_cut: bool,
}

/// A client that waits for a package, as its server knows it.
#[derive(Clone, Copy, Debug)]
pub struct BlockedClient {
    server_number: u64,
    client_id: u64,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// A package has landed.
    Package,
    /// None has, for as long as was to be waited.
    Nothing,
    /// The answer was lost, there was none, or the wait was cut short: look.
    Unknown,
}

impl Landing {
    /// Longer than any wait that begins now, whatever the server does.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        BLOCK.min(self.queue.lease_ttl / 2)
    }

    /// Waits until a package has landed, for no longer than `most` or 7 s. Whether one has is no more than a hint, as
    /// the answer can be lost on the wire: whatever it says, look again.
    ///
    /// Must not be cancelled: the server would go on moving. [`Queue::wake`] ends it early.
    ///
    /// # Errors
    /// [`RedisFailure`]; the connection is thrown away and opened anew by the next call.
    pub async fn wait(
        &mut self,
        most: Duration,
        announce: impl FnOnce(BlockedClient),
    ) -> Result<Landed, RedisFailure> {
        let redis = &self.queue.redis;
        let kept = self
            .connection
            .take()
            .filter(|(kept, _)| redis.is_in_use(kept.server()));
        let was_kept = kept.is_some();
        let (mut connection, client_id) = match kept {
            Some(open) => open,
            None => {
                let mut connection = redis.dedicated(BLOCK_RESPONSE_TIMEOUT).await?;
                let client_id: u64 = redis::cmd("CLIENT")
                    .arg("ID")
                    .query_async(&mut connection)
                    .await?;
                (connection, client_id)
            }
        };
        announce(BlockedClient {
            server_number: connection.server().number,
            client_id,
        });
        let most = most.min(self.longest_wait());
        let begun_at = Instant::now();
        let mut is_early = false;
        let waited = async {
            let has_landed = self.block(&mut connection, most).await?;
            // The server counts in whole ms.
            is_early = begun_at.elapsed() + Duration::from_millis(1) < most;
            if is_early && !has_landed {
                self.learn_why(&mut connection).await?;
            }
            Ok::<_, redis::RedisError>(has_landed)
        };
        match waited.await {
            Ok(has_landed) => {
                self.connection = Some((connection, client_id));
                self.was_cut = false;
                if std::mem::take(&mut self.is_full) {
                    tracing::info!("Redis has free memory again");
                }
                Ok(if has_landed {
                    Landed::Package
                } else if is_early {
                    Landed::Unknown
                } else {
                    Landed::Nothing
                })
            }
            // No outage: the script claims what waits all the same, and so makes room.
            Err(error) if error.code() == Some("OOM") => {
                self.connection = Some((connection, client_id));
                if !std::mem::replace(&mut self.is_full, true) {
                    tracing::error!(
                        "Redis has reached its maxmemory and refuses what producers push; what waits is worked off. \
                         Raise maxmemory, remove other data, or add replicas"
                    );
                }
                tokio::time::sleep(PAUSE_WHEN_FULL).await;
                Ok(Landed::Unknown)
            }
            // It may have died long ago, while every slot was taken: that says nothing of the server now.
            Err(_) if was_kept => Ok(Landed::Unknown),
            // Nor does a cut that comes alone: the next connection tells.
            Err(error) if error.is_connection_dropped() && !std::mem::replace(&mut self.was_cut, true) => {
                Ok(Landed::Unknown)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Landing {
    /// Lets the server move a package, and returns whether one has landed.
    async fn block(&self, connection: &mut Dedicated, most: Duration) -> redis::RedisResult<bool> {
        let keys = self.queue.redis.keys();
        let landing = keys.landing(&self.queue.worker_id);
        let mut waiting = redis::pipe();
        // The next command is not answered, whatever comes of it.
        waiting.cmd("CLIENT").arg("REPLY").arg("SKIP");
        waiting
            .cmd("BLMOVE")
            .arg(keys.inbox())
            .arg(&landing)
            .arg("RIGHT")
            .arg("LEFT")
            .arg(most.as_secs_f64());
        waiting.exists(&landing);
        let answers = connection.req_packed_commands(&waiting, 0, 1).await?;
        let (has_landed,): (bool,) = redis::from_redis_value(redis::Value::Array(answers).extract_error()?)?;
        Ok(has_landed)
    }

    /// Of a move that ended before its time: changes nothing, and is refused where the move was, by a server that is full,
    /// or that is no master any more.
    async fn learn_why(&self, connection: &mut Dedicated) -> redis::RedisResult<()> {
        let in_flight = self.queue.redis.keys().in_flight();
        let mut touch = redis::cmd("ZADD");
        touch.arg(in_flight).arg("XX").arg(0).arg("");
        touch.query_async(connection).await
    }
}

impl Queue {
    /// The waiting end of this worker; connects when it is first used.
    #[must_use]
    pub fn landing(&self) -> Landing {
        Landing {
            queue: self.clone(),
            connection: None,
            is_full: false,
            was_cut: false,
        }
    }

    /// Ends the wait of a [`Landing`] without losing what may be landing at this moment. Does nothing, and
    /// returns `false`, when the client is not waiting.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn wake(&self, waiting: BlockedClient) -> Result<bool, RedisFailure> {
        let mut connection = self.redis.connection().await?;
        if connection.server().number != waiting.server_number {
            // There the number is somebody else's. The wait ends by itself.
            return Ok(false);
        }
        Ok(redis::cmd("CLIENT")
            .arg("UNBLOCK")
            .arg(waiting.client_id)
            .query_async(&mut connection)
            .await?)
    }

    /// Everything that Redis holds to be in this worker's hands. What the worker does not know of was claimed
    /// by an adopt whose answer was lost.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn in_hand(&self) -> Result<Vec<Delivery>, RedisFailure> {
        let keys = self.redis.keys();
        let mut call = self.scripts.in_hand.prepare_invoke();
        call.key(keys.processing(&self.worker_id)).key(keys.suspects());
        let mut connection = self.redis.connection().await?;
        let (pairs, crashes): (Vec<(String, Vec<u8>)>, Vec<i64>) =
            scripts::invoke(&call, &mut connection).await?;
        Ok(deliveries(pairs, &crashes))
    }
}
