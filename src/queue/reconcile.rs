//! What comparing the queue with the ledger asks of Redis: whose packages are nowhere, and to take them back.

use std::collections::HashSet;
use std::time::Duration;

use redis::{AsyncCommands, Script};

use super::{Priority, Redis, scripts};
use crate::redis::{Connection, RedisFailure};

/// How long a package that was put back, and of whose job nothing has been heard since, is not put back again: it may
/// be parked where a newer version alone looks.
const AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);
/// What comes back goes to the head of a list, so most of what is looked for is among so many.
const HEAD: usize = 500;

impl Redis {
    /// Ids of the workers that hold a lease.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn live_workers(&self) -> Result<Vec<String>, RedisFailure> {
        let mut connection = self.connection().await?;
        let workers: Vec<String> = connection.smembers(self.keys().workers()).await?;
        let mut live = Vec::new();
        for worker_id in workers {
            if connection.exists(self.keys().lease(&worker_id)).await? {
                live.push(worker_id);
            }
        }
        Ok(live)
    }

    /// Which of these jobs have no package anywhere in the queue: waiting, delayed, parked for one of these names,
    /// landed, or in anybody's hand. What moves meanwhile can be missed, so what is to be relied upon is asked twice.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn without_package(
        &self,
        mut jobs: HashSet<i32>,
        parked_for: &[String],
    ) -> Result<HashSet<i32>, RedisFailure> {
        let keys = self.keys();
        let script = Script::new(concat!(
            include_str!("scripts/packages.lua"),
            include_str!("scripts/find.lua")
        ));
        let mut connection = self.connection().await?;
        let workers: Vec<String> = connection.smembers(keys.workers()).await?;
        let hands = workers
            .iter()
            .flat_map(|worker_id| [keys.processing(worker_id), keys.landing(worker_id)]);
        // Packages go from lists into hands and back, so hands are looked at before and after. The heads of lists come
        // before all of them, which may be long.
        let mut places: Vec<(String, usize)> = Vec::new();
        places.extend(hands.clone().map(|key| (key, 0)));
        places.push((keys.delayed(), 0));
        places.extend(parked_for.iter().map(|name| (keys.parked(name), 0)));
        let of_budgets = self.budget_places(&mut connection).await?;
        places.extend(of_budgets.into_iter().map(|key| (key, 0)));
        for list in keys.all_waiting() {
            let length: usize = connection.llen(&list).await?;
            places.push((list, length.saturating_sub(HEAD)));
        }
        places.extend(Priority::ALL.map(|priority| (keys.sorted(priority), 0)));
        places.extend(keys.all_waiting().map(|list| (list, 0)));
        places.extend(hands.map(|key| (key, 0)));
        for (key, first) in places {
            if jobs.is_empty() {
                break;
            }
            strike_out(&mut jobs, &script, &mut connection, &key, first).await?;
        }
        Ok(jobs)
    }

    /// Takes the turn to compare the queue with the ledger, which nobody else gets within `period`. `Err` of the time
    /// until somebody may have it again.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn take_reconciling(
        &self,
        name: &str,
        period: Duration,
    ) -> Result<Result<(), Duration>, RedisFailure> {
        self.take_turn(self.keys().reconciler(), name, period).await
    }

    /// The same, whoever has it: that one is to put nothing back any more.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn take_over_reconciling(&self, name: &str, period: Duration) -> Result<(), RedisFailure> {
        let mut connection = self.connection().await?;
        let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
        Ok(connection
            .pset_ex(self.keys().reconciler(), name, period_ms)
            .await?)
    }

    /// Puts packages at the head of the main list, the first one first in line, each with the name of its job and of
    /// how far that is. `None`: somebody other than `name` compares the queue with the ledger now. Else how many: those
    /// are left out that were put back under the same name within an hour, unless it is done `by_force`.
    ///
    /// # Errors
    /// [`RedisFailure`]; all were put back, or none.
    pub async fn put_back(
        &self,
        name: &str,
        packages: &[(String, String)],
        by_force: bool,
    ) -> Result<Option<usize>, RedisFailure> {
        let code = concat!(
            include_str!("scripts/give_back.lua"),
            include_str!("scripts/put_back.lua")
        );
        let script = Script::new(code);
        let pause = if by_force { Duration::ZERO } else { AGAIN_AFTER };
        let mut call = script.key(self.keys().reconciler());
        call.key(self.keys().put_back()).key(&self.keys().heads());
        call.arg(name)
            .arg(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        for (job, package) in packages {
            call.arg(job).arg(package);
        }
        let mut connection = self.connection().await?;
        let count: i64 = scripts::invoke(&call, &mut connection).await?;
        Ok(usize::try_from(count).ok())
    }
}

/// Strikes out the jobs whose packages are in one place.
async fn strike_out(
    jobs: &mut HashSet<i32>,
    script: &Script,
    connection: &mut Connection,
    key: &str,
    first: usize,
) -> Result<(), RedisFailure> {
    let mut place = i64::try_from(first).unwrap_or(i64::MAX);
    while place >= 0 && !jobs.is_empty() {
        let mut call = script.key(key);
        call.arg(place);
        let (next, found): (i64, Vec<String>) = scripts::invoke(&call, connection).await?;
        for job_id in found {
            if let Ok(job_id) = job_id.parse() {
                jobs.remove(&job_id);
            }
        }
        place = next;
    }
    Ok(())
}
