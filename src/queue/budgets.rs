//! Packages that wait for a budget: parked under its name, and woken a few at a time when it opens, or may have become larger.
//!
//! Whether there is money is Postgres's to say. Redis only keeps who waits for what, in order, and until when that is not worth asking.

use std::time::Duration;

use redis::AsyncCommands;
use serde::Serialize;

use super::provider::ms;
use super::{Delivery, Event, Queue, Redis, scripts};
use crate::redis::{Connection, RedisFailure};

/// So many are woken at once, and so long before the next ones: whoever does not get its money ends it, so few are woken in vain,
/// and what waits by the thousand holds up nobody else when a day begins.
const DOSE: u32 = 20;
const NEXT_DOSE: Duration = Duration::from_secs(1);
/// So often a few are woken before the time: somebody may have raised the budget, or a picture has cost less than it might have.
const LOOK: Duration = Duration::from_secs(10 * 60);
/// Budgets that are told of.
const MOST: isize = 1_000;

/// Packages that wait for a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetPark {
    /// `openai/day`, `user/7/day`, `collection/group/3/month`
    pub budget: String,
    /// How many.
    pub parked: u64,
}

/// The name under which packages are parked for a budget.
pub(super) fn place(budget: &str) -> String {
    format!("budget/{budget}")
}

impl Queue {
    /// Parks a delivery under a budget that opens after this time at the most. `false`: it was not this worker's any more.
    ///
    /// # Errors
    /// [`RedisFailure`]; the same call can be made again.
    pub async fn park_for_budget(
        &self,
        delivery: &Delivery,
        budget: &str,
        wait: Duration,
        event: &Event,
    ) -> Result<bool, RedisFailure> {
        let keys = self.redis.keys();
        let mut call = self.scripts.park.prepare_invoke();
        call.key(keys.processing(&self.worker_id))
            .key(keys.in_flight())
            .key(keys.parked(&place(budget)))
            .key(keys.budgets());
        call.arg(&delivery.id)
            .arg(&*self.worker_id)
            .arg(budget)
            .arg(ms(wait.min(LOOK)))
            .arg(keys.events())
            .arg(event.to_json());
        let mut connection = self.redis.connection().await?;
        Ok(scripts::invoke(&call, &mut connection).await?)
    }

    /// Wakes a few of the packages that wait for a budget, unless somebody has done so a moment ago. Returns how many.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn wake_for_budget(&self, budget: &str) -> Result<u64, RedisFailure> {
        let keys = self.redis.keys();
        let mut call = self.scripts.wake.prepare_invoke();
        call.key(keys.parked(&place(budget)))
            .key(keys.budgets())
            .key(&keys.heads());
        call.arg(budget).arg(DOSE).arg(ms(NEXT_DOSE));
        let mut connection = self.redis.connection().await?;
        Ok(scripts::invoke(&call, &mut connection).await?)
    }

    /// Has packages woken that wait for these budgets, where any do: they may have become larger.
    ///
    /// # Errors
    /// [`RedisFailure`]; they are woken within ten minutes.
    pub async fn budgets_have_room(&self, budgets: &[String]) -> Result<(), RedisFailure> {
        let mut connection = self.redis.connection().await?;
        let mut command = redis::cmd("ZADD");
        command.arg(self.redis.keys().budgets()).arg("XX").arg("LT");
        for budget in budgets {
            command.arg(0).arg(budget);
        }
        Ok(command.query_async(&mut connection).await?)
    }

    /// The same for all budgets: this replica may have been started with larger ones.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn all_budgets_may_have_room(&self) -> Result<(), RedisFailure> {
        let mut connection = self.redis.connection().await?;
        let budgets = names(&self.redis, &mut connection).await?;
        if budgets.is_empty() {
            return Ok(());
        }
        drop(connection);
        self.budgets_have_room(&budgets).await
    }
}

/// The budgets that packages wait for.
async fn names(redis: &Redis, connection: &mut Connection) -> Result<Vec<String>, RedisFailure> {
    Ok(connection.zrange(redis.keys().budgets(), 0, MOST - 1).await?)
}

impl Redis {
    /// Where packages are parked for budgets.
    pub(super) async fn budget_places(
        &self,
        connection: &mut Connection,
    ) -> Result<Vec<String>, RedisFailure> {
        let names = names(self, connection).await?;
        Ok(names
            .iter()
            .map(|name| self.keys().parked(&place(name)))
            .collect())
    }

    /// How many packages wait for which budgets, the one that opens first first.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn budget_parks(&self) -> Result<Vec<BudgetPark>, RedisFailure> {
        let mut connection = self.connection().await?;
        let names = names(self, &mut connection).await?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for name in &names {
            pipeline.llen(self.keys().parked(&place(name)));
        }
        let counts: Vec<u64> = pipeline.query_async(&mut connection).await?;
        let parks = names.into_iter().zip(counts);
        Ok(parks
            .map(|(budget, parked)| BudgetPark { budget, parked })
            .filter(|park| park.parked > 0)
            .collect())
    }
}
