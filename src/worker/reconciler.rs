//! Compares the queue with the ledger, and mends what does not agree, whatever the reason: Redis has lost data, a
//! promoted standby of Postgres lacks the last commits, an operator has removed a key.
//!
//! Each replica looks for jobs that say that it works on them while it does not. One replica of the queue at a time
//! looks for jobs that nobody works on and whose packages are nowhere: those are put back from the ledger.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::claims::pause;
use super::room::parked_for;
use super::upkeep::Upkeep;
use crate::db::{Adrift, Db, DbError, JobVersion};
use crate::measure;
use crate::queue::{Redis, StrayList};
use crate::redis::RedisFailure;

/// Packages that are put back at once.
const CHUNK: usize = 50;

/// By then a job that has just ended says so.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One of the two sides could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BooksError {
    /// Of the queue.
    #[error("the queue cannot be compared with the ledger")]
    Redis(#[from] RedisFailure),
    /// Of the ledger.
    #[error("the ledger cannot be compared with the queue")]
    Postgres(#[from] DbError),
}

/// A queue beside its ledger.
pub struct Books {
    db: Db,
    redis: Redis,
    parked_for: Vec<String>,
}

impl Books {
    /// `providers`: all that packages may be parked for.
    pub fn new<'a>(db: Db, redis: Redis, providers: impl Iterator<Item = &'a str>) -> Self {
        Self {
            db,
            redis,
            parked_for: parked_for(providers),
        }
    }

    fn queue(&self) -> &str {
        self.redis.keys().inbox()
    }

    /// Jobs that nobody works on and whose packages are nowhere, by id. Those that wait for their next attempt are
    /// among them when that is `overdue` for so long; `None`: before it as well.
    ///
    /// What moves while it looks may be among them, and so may what live workers have begun whose leases Redis has just
    /// lost.
    async fn lost(&self, overdue: Option<Duration>) -> Result<Vec<Adrift>, BooksError> {
        // Leases first: whoever is missing here has begun nothing before, and the packages of whoever begins meanwhile
        // are found.
        let live_workers = self.redis.live_workers().await?;
        self.nowhere(&live_workers, overdue).await
    }

    /// Jobs that replicas which live have begun, and whose packages are nowhere, not in their hands either: each
    /// replica lets go of its own by itself.
    ///
    /// # Errors
    /// [`BooksError`].
    pub async fn let_go_of(&self) -> Result<Vec<Adrift>, BooksError> {
        let before = self.begun_in_no_hand().await?;
        if before.is_empty() {
            return Ok(before);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        Ok(in_both(before, self.begun_in_no_hand().await?))
    }

    async fn begun_in_no_hand(&self) -> Result<Vec<Adrift>, BooksError> {
        // Leases first, as above.
        let live_workers = self.redis.live_workers().await?;
        let of_nobody: HashSet<Adrift> = self.nowhere(&live_workers, None).await?.into_iter().collect();
        let mut all = self.nowhere(&[], None).await?;
        all.retain(|job| job.state == "begun" && !of_nobody.contains(job));
        Ok(all)
    }

    /// Jobs that none of these workers works on and whose packages are nowhere.
    async fn nowhere(
        &self,
        live_workers: &[String],
        overdue: Option<Duration>,
    ) -> Result<Vec<Adrift>, BooksError> {
        let (mut lost, mut after) = (Vec::new(), 0);
        loop {
            let adrift = self.db.adrift(self.queue(), after, live_workers, overdue).await?;
            let Some(last) = adrift.last() else {
                return Ok(lost);
            };
            after = last.version.job_id;
            let job_ids: HashSet<i32> = adrift.iter().map(|job| job.version.job_id).collect();
            let nowhere = self.redis.without_package(job_ids, &self.parked_for).await?;
            lost.extend(
                adrift
                    .into_iter()
                    .filter(|job| nowhere.contains(&job.version.job_id)),
            );
        }
    }

    /// What `reseed` puts back, and `doctor` counts: all that is lost, also what is not due yet.
    ///
    /// # Errors
    /// [`BooksError`].
    pub async fn lost_by_now(&self, lease_ttl: Duration) -> Result<Vec<Adrift>, BooksError> {
        // By then every replica has renewed its lease, also where Redis has just lost all of them.
        self.lost_for(lease_ttl / 2, None).await
    }

    /// Those of [`Self::lost`] that are the same after a `pause`. Where every replica that lives has renewed its lease
    /// meanwhile, they are lost.
    async fn lost_for(&self, pause: Duration, overdue: Option<Duration>) -> Result<Vec<Adrift>, BooksError> {
        let before = self.lost(overdue).await?;
        if before.is_empty() {
            return Ok(before);
        }
        tokio::time::sleep(pause).await;
        Ok(in_both(before, self.lost(overdue).await?))
    }

    /// Puts the package of a job that waits now, and did not when it was read, at the head of the queue where it is nowhere.
    ///
    /// # Errors
    /// [`BooksError`].
    pub async fn put_back_if_nowhere(&self, name: &str, job: &Adrift) -> Result<bool, BooksError> {
        let job_ids = HashSet::from([job.version.job_id]);
        if self
            .redis
            .without_package(job_ids, &self.parked_for)
            .await?
            .is_empty()
        {
            return Ok(false);
        }
        let waiting = Adrift {
            state: "waiting".to_owned(),
            ..job.clone()
        };
        Ok(self.put_back(name, &[waiting], true).await?.unwrap_or_default() > 0)
    }

    /// Puts the packages of these jobs at the head of the queue, the first one first in line. Left out are jobs that
    /// have changed since, and those whose packages were put back a while ago, unless it is done `by_force`. `None`:
    /// somebody other than `name` compares now, so that nothing more is put back. Else how many were.
    ///
    /// # Errors
    /// [`BooksError`]; some may have been put back, and putting all back again does no harm.
    pub async fn put_back(
        &self,
        name: &str,
        jobs: &[Adrift],
        by_force: bool,
    ) -> Result<Option<usize>, BooksError> {
        let mut total = 0;
        // The last ones first, as each goes to the head.
        for chunk in jobs.rchunks(CHUNK) {
            let kept = self.db.kept_packages(chunk).await?;
            let packages: Vec<(String, String)> = kept
                .into_iter()
                .map(|kept| {
                    let JobVersion {
                        job_id,
                        fence,
                        deliveries,
                    } = kept.version;
                    (format!("{job_id}-{fence}-{deliveries}"), kept.package)
                })
                .collect();
            match self.redis.put_back(name, &packages, by_force).await? {
                Some(count) => total += count,
                None => return Ok(None),
            }
        }
        Ok(Some(total))
    }
}

/// What was seen both times.
fn in_both(before: Vec<Adrift>, mut after: Vec<Adrift>) -> Vec<Adrift> {
    let before: HashSet<Adrift> = before.into_iter().collect();
    after.retain(|job| before.contains(job));
    after
}

impl Upkeep {
    /// Compares until `stop`.
    pub(super) async fn reconcile(&self, stop: &CancellationToken) {
        let books = Books {
            db: self.statements.db.clone(),
            redis: self.queue.redis().clone(),
            parked_for: self.room.names(),
        };
        let mut hand = (Instant::now(), self.servers());
        let mut next_look = Instant::now();
        while !stop.is_cancelled() {
            pause(stop, self.settings.reconcile_interval / 6).await;
            let health = &self.statements.health;
            if stop.is_cancelled() || !health.redis_is_up() || !health.may_take() {
                continue;
            }
            let result = async {
                let servers = self.servers();
                let is_changed = hand.1 != servers;
                if is_changed || hand.0.elapsed() >= self.settings.reconcile_interval / 2 {
                    self.let_go().await?;
                    hand = (Instant::now(), servers);
                }
                if is_changed || Instant::now() >= next_look {
                    next_look = Instant::now() + self.put_back_lost(&books, stop).await?;
                }
                Ok::<_, BooksError>(())
            };
            if let Err(error) = result.await {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(cause, "{error}; it is tried again");
            }
        }
    }

    /// Which servers are in use: after a change, what the ones before had confirmed may be lost.
    fn servers(&self) -> (u64, Option<DateTime<Utc>>) {
        let health = &self.statements.health;
        (self.queue.server_number(), health.postgres_started_at())
    }

    /// Lets go of jobs that say that this replica works on them while it does not.
    async fn let_go(&self) -> Result<(), BooksError> {
        let db = &self.statements.db;
        let before = db.now().await?;
        let job_ids = db
            .let_go(self.queue.worker_id(), self.in_hand.jobs(), before)
            .await?;
        if !job_ids.is_empty() {
            tracing::warn!(
                ?job_ids,
                "Postgres has lost how these jobs ended here; they go on"
            );
        }
        Ok(())
    }

    /// Puts lost packages back, where no other replica has looked for them within the interval.
    ///
    /// Nobody looks while missing leases mean nothing. Where Redis has just lost them with all the rest, they are there
    /// again when it is looked for the second time.
    ///
    /// Returns when to ask again.
    async fn put_back_lost(&self, books: &Books, stop: &CancellationToken) -> Result<Duration, BooksError> {
        let health = &self.statements.health;
        let lease_ttl = self.queue.lease_ttl();
        let server_number = self.queue.server_number();
        let name = self.queue.worker_id();
        let period = self.settings.reconcile_interval.max(lease_ttl * 2);
        if !health.trusts_leases(server_number) {
            return Ok(Duration::ZERO);
        }
        if let Err(left) = books.redis.take_reconciling(name, period).await? {
            return Ok(left);
        }
        books.db.close_letters(books.queue()).await?;
        for StrayList { key, count } in books.redis.stray_lists().await? {
            tracing::warn!(
                count,
                "{key} is a list that no replica reads; its packages wait in vain"
            );
        }
        let looking = books.lost_for(lease_ttl, Some(self.settings.reconcile_interval));
        let Some(lost) = stop.run_until_cancelled(looking).await else {
            return Ok(period);
        };
        let lost = lost?;
        let is_trusted = self.queue.server_number() == server_number && health.trusts_leases(server_number);
        if !is_trusted {
            return Ok(period);
        }
        let count = books.put_back(name, &lost, false).await?.unwrap_or_default();
        if count > 0 {
            measure::PUT_BACK.count(count as u64, &[]);
            tracing::warn!(
                count,
                "packages of jobs that nobody worked on were nowhere; they are in the queue again"
            );
            self.wake.work.notify_one();
        }
        Ok(period)
    }
}
