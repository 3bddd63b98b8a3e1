//! The heartbeat: lease and pings, on a thread and a connection of their own, so that neither a full runtime
//! nor a blocked connection makes a working replica look dead, or a stuck one look alive.

mod pulse;
mod status;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use redis::AsyncCommands;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Queue, scripts};
use crate::redis::{Dedicated, RedisFailure};
use crate::{measure, telemetry};

use pulse::Pulse;
pub use status::ReplicaStatus;

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A runtime that has not run a waiting task for this long never will. Far more than full cores can cause.
const WEDGED_AFTER: Duration = Duration::from_secs(30);
/// Longer than the loop can wait for servers that do not answer.
const LOOP_WEDGED_AFTER: Duration = Duration::from_secs(120);
/// Of a lease's time.
const RENEW_AFTER: f64 = 0.4;

/// Until when this replica may count itself alive; `None` before the first renewal.
pub type Lease = watch::Receiver<Option<Instant>>;

/// The running heartbeat. It ends, and gives the pings up, when it is stopped.
pub struct Heartbeat {
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
    /// Until when the lease is known to hold.
    pub lease: Lease,
}

impl Heartbeat {
    /// Takes the lease and starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(queue: Queue, status: Arc<ReplicaStatus>, ping_interval: Duration) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (held_until, lease) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the heartbeat's runtime cannot be made")?;
        let beat = Beat {
            queue,
            status,
            ping_interval,
            held_until,
            is_lost: false,
            was_able: true,
            runtime: Pulse::new(),
            turning: Pulse::new(),
        };
        let thread = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || runtime.block_on(beat.run(stopped)))
            .context("the heartbeat's thread cannot be started")?;
        Ok(Self { stop, thread, lease })
    }

    /// Ends the pings. The lease is given up by [`Queue::leave`].
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let thread = self.thread;
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

struct Beat {
    queue: Queue,
    status: Arc<ReplicaStatus>,
    ping_interval: Duration,
    held_until: watch::Sender<Option<Instant>>,
    is_lost: bool,
    was_able: bool,
    runtime: Pulse,
    turning: Pulse,
}

impl Beat {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut connection = None;
        let mut next_ping = Instant::now();
        let mut next_renewal = Instant::now();
        while !*stopped.borrow() {
            let now = Instant::now();
            if let Some(what) = self.wedged() {
                return self.give_up(&mut connection, what).await;
            }
            let result = self
                .beat(&mut connection, now >= next_renewal, now >= next_ping)
                .await;
            let pause = match result {
                Ok(()) => {
                    if now >= next_ping {
                        next_ping = now + self.ping_interval;
                    }
                    if now >= next_renewal {
                        next_renewal = now + self.queue.lease_ttl.mul_f64(RENEW_AFTER);
                    }
                    next_ping
                        .min(next_renewal)
                        .saturating_duration_since(Instant::now())
                        .min(Duration::from_secs(1))
                }
                Err(error) => {
                    if !self.is_lost && error.is_refusal() {
                        tracing::warn!(%error, "Redis refuses the heartbeat; trying on");
                    } else if !self.is_lost {
                        tracing::warn!(%error, "the heartbeat does not reach Redis; trying on");
                    }
                    self.is_lost = true;
                    connection = None;
                    Duration::from_millis(300)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopped.changed() => {}
            }
        }
        if let Some(mut connection) = connection {
            let _ = self.withdraw_pings(&mut connection).await;
        }
    }

    /// What has stopped for good, as far as this thread has seen.
    fn wedged(&mut self) -> Option<&'static str> {
        let ticks = self.status.ticks.load(Ordering::Relaxed);
        let turns = self.status.turns.load(Ordering::Relaxed);
        // Both look each time, so that both count the time that passes.
        let runtime = self.runtime.stood_still_for(ticks) > WEDGED_AFTER;
        let turning = self.turning.stood_still_for(turns) > LOOP_WEDGED_AFTER;
        match (runtime, turning) {
            (true, _) => Some("the runtime runs no task any more"),
            (_, true) => Some("the loop does not turn any more"),
            _ => None,
        }
    }

    /// Ends the process, which is of no use any more and holds packages that others can finish.
    async fn give_up(&mut self, open: &mut Option<Dedicated>, what: &str) {
        tracing::error!(
            worker_id = self.queue.worker_id(),
            "{what}; ending this process, so that others take over what it has in hand"
        );
        if let Some(connection) = open {
            let lease = self.queue.redis.keys().lease(self.queue.worker_id());
            let give_up = async {
                self.withdraw_pings(connection).await?;
                let _: i64 = connection.del(lease).await?;
                Ok::<_, RedisFailure>(())
            };
            let _ = tokio::time::timeout(RESPONSE_TIMEOUT, give_up).await;
        }
        telemetry::end();
        std::process::exit(1);
    }

    async fn beat(
        &mut self,
        open: &mut Option<Dedicated>,
        renew: bool,
        ping: bool,
    ) -> Result<(), RedisFailure> {
        let redis = &self.queue.redis;
        redis.look_around();
        open.take_if(|connection| !redis.is_in_use(connection.server()));
        // A server that has just taken over may not have heard of the last renewals.
        let is_new = open.is_none();
        let connection = match open {
            Some(connection) => connection,
            None => open.insert(redis.dedicated(RESPONSE_TIMEOUT).await?),
        };
        let is_able = self.status.is_able();
        let pings = is_able && (ping || !self.was_able);
        let renews = renew || self.is_lost || is_new;
        if renews || pings {
            self.say_alive(connection, renews, pings).await?;
        }
        if self.is_lost {
            tracing::info!("the heartbeat reaches Redis again");
            self.is_lost = false;
        }
        if !is_able && self.was_able {
            self.withdraw_pings(connection).await?;
        }
        self.was_able = is_able;
        Ok(())
    }

    /// Renews the lease, the pings, or both: plain commands in one round trip, as a script would cost the server
    /// more. A full server takes scripts only.
    async fn say_alive(
        &self,
        connection: &mut Dedicated,
        renews: bool,
        pings: bool,
    ) -> Result<(), RedisFailure> {
        let asked_at = Instant::now();
        let keys = self.queue.redis.keys();
        let worker_id = self.queue.worker_id();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let lease_ms = ms(self.queue.lease_ttl);
        let mut pipeline = redis::pipe();
        if renews {
            let mut renew = redis::cmd("PEXPIRE");
            renew.arg(keys.lease(worker_id)).arg(lease_ms);
            pipeline.add_command(renew);
        }
        let ping = (
            self.status.to_json(worker_id),
            Utc::now().timestamp_millis(),
            ms(self.ping_interval * 3),
        );
        let (own, service) = (keys.replica_ping(worker_id), keys.ping());
        if pings {
            pipeline.pset_ex(&own, &ping.0, ping.2).ignore();
            pipeline.pset_ex(&service, ping.1, ping.2).ignore();
        }
        let mut was_held = match pipeline.query_async::<Vec<bool>>(connection).await {
            Ok(answers) => answers.first().copied().unwrap_or(true),
            // It takes pings from a script only.
            Err(error) if scripts::is_full(&error) => {
                let mut call = self.queue.scripts.ping.key(own);
                call.key(service).arg(ping.0).arg(ping.1).arg(ping.2);
                scripts::invoke::<()>(&call, connection).await?;
                !renews
            }
            Err(error) => return Err(error.into()),
        };
        if !was_held {
            let mut call = self.queue.scripts.renew.key(keys.lease(worker_id));
            call.key(keys.workers()).arg(worker_id).arg(lease_ms);
            was_held = scripts::invoke(&call, connection).await?;
        }
        if !was_held && self.held_until.borrow().is_some() {
            measure::LEASE_LOSSES.count(1, &[]);
            tracing::warn!(
                worker_id,
                "the lease had run out; another replica may have taken over what was in hand"
            );
        }
        if renews {
            // Counted from before the call, so that this clock runs out before the server's.
            let _ = self.held_until.send(Some(asked_at + self.queue.lease_ttl));
        }
        Ok(())
    }

    /// Takes this replica's ping back, and the service's with it when no other replica pings.
    async fn withdraw_pings(&self, connection: &mut Dedicated) -> Result<(), RedisFailure> {
        let keys = self.queue.redis.keys();
        let workers: Vec<String> = connection.smembers(keys.workers()).await?;
        let others: Vec<String> = workers
            .iter()
            .filter(|worker_id| *worker_id != self.queue.worker_id())
            .map(|worker_id| keys.replica_ping(worker_id))
            .collect();
        let _: i64 = connection.del(keys.replica_ping(self.queue.worker_id())).await?;
        if others.is_empty() || connection.exists::<_, i64>(others).await? == 0 {
            let _: i64 = connection.del(keys.ping()).await?;
        }
        Ok(())
    }
}
