//! The totals that stand on every page: what waits, what is being drawn, what has come to an end, what it has cost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::super::cached::Cached;
use super::Sources;
use crate::db::Totals;
use crate::ops::words::in_cents;
use crate::plain_text::one_line;
use crate::provider::list::PROVIDERS;
use crate::queue::Overview;
use crate::worker::parked_for;

/// Pages of the same second share a look at Redis.
const KEEP: Duration = Duration::from_secs(1);
/// Counting what has ended takes longer.
const KEEP_TOTALS: Duration = Duration::from_secs(5);
/// A server that takes longer does not answer, and the page says so.
const PATIENCE: Duration = Duration::from_secs(3);
const ERROR_CHARS: usize = 300;

/// How it stands.
#[derive(Clone)]
pub(super) struct Strip {
    pub(super) made_at: DateTime<Utc>,
    /// Or why Redis does not say.
    pub(super) redis: Arc<Result<Overview, String>>,
    /// Or why Postgres does not say.
    pub(super) totals: Result<Totals, String>,
    /// When Redis was first found not to answer, if it does not.
    pub(super) redis_since: Option<DateTime<Utc>>,
    /// The same of Postgres.
    pub(super) postgres_since: Option<DateTime<Utc>>,
}

/// The last looks.
#[derive(Default)]
pub(super) struct Strips {
    redis: Cached<Arc<Result<Overview, String>>>,
    totals: Cached<Result<Totals, String>>,
    redis_since: Since,
    postgres_since: Since,
}

/// When a server was first found not to answer.
#[derive(Default)]
struct Since(Mutex<Option<DateTime<Utc>>>);

impl Since {
    fn now(&self, is_away: bool) -> Option<DateTime<Utc>> {
        let mut since = self.0.lock().expect("nobody panics while looking at the clock");
        *since = is_away.then(|| since.unwrap_or_else(Utc::now));
        *since
    }
}

/// An answer in time, or why there is none.
pub(super) async fn in_time<T, E: ToString>(asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    within(PATIENCE, asked).await
}

/// The same, with another limit to the time that it may take.
pub(super) async fn within<T, E: ToString>(
    patience: Duration,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(one_line(&error.to_string(), ERROR_CHARS)),
        Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
    }
}

impl Strips {
    /// Something was changed that Redis knows of.
    pub(super) async fn forget(&self) {
        self.redis.forget().await;
    }

    pub(super) async fn get(&self, sources: &Sources) -> Strip {
        let Sources { redis, db, .. } = sources;
        let parked_for = parked_for(PROVIDERS.into_iter());
        let look = async { Arc::new(in_time(redis.overview(&parked_for)).await) };
        let count = async { in_time(db.totals(redis.keys().inbox())).await };
        let (redis, totals) = tokio::join!(
            self.redis.get(|_| KEEP, look),
            self.totals
                .get(|totals| if totals.is_ok() { KEEP_TOTALS } else { KEEP }, count)
        );
        Strip {
            made_at: Utc::now(),
            redis_since: self.redis_since.now(redis.is_err()),
            postgres_since: self.postgres_since.now(totals.is_err()),
            redis,
            totals,
        }
    }
}

impl Strip {
    /// As it stands on a page, where a script may replace it.
    pub(super) fn render(&self) -> Markup {
        let redis = self.redis.as_ref().as_ref();
        let of_redis =
            |value: fn(&Overview) -> u64| redis.map_or("?".to_owned(), |all| value(all).to_string());
        let waiting = of_redis(|all| all.depths.waiting.iter().map(|list| list.count).sum());
        let parked = of_redis(|all| {
            let for_providers = all.providers.iter().map(|room| room.parked);
            for_providers
                .chain(all.budgets.iter().map(|park| park.parked))
                .sum()
        });
        let (done, failed, spent) = match &self.totals {
            Ok(totals) => (
                format!("{}{}", totals.done, if totals.done_is_least { "+" } else { "" }),
                totals.failed.to_string(),
                format!(
                    "{}{}",
                    in_cents(totals.spent_usd),
                    if totals.unknown_calls > 0 || totals.spent_is_least {
                        "+"
                    } else {
                        ""
                    }
                ),
            ),
            Err(_) => ("?".to_owned(), "?".to_owned(), "?".to_owned()),
        };
        let number = |name: &str, value: &str, class: &str| {
            html! { div class=(class) { dt { (name) } dd { (value) } } }
        };
        html! {
            section #strip aria-label="Totals" {
                dl {
                    (number("Waiting", &waiting, ""))
                    (number("Delayed", &of_redis(|all| all.depths.delayed), ""))
                    (number("Parked", &parked, ""))
                    (number("In flight", &of_redis(|all| all.depths.in_flight), "now"))
                    (number("Done, 1 h", &done, "good"))
                    (number("Failed, 1 h", &failed, if failed == "0" { "" } else { "bad" }))
                    (number("Spent today", &spent, ""))
                }
                @if let Err(why) = redis { p.wrong role="alert" { "Redis does not answer: " (why) } }
                @if let Err(why) = &self.totals { p.wrong role="alert" { "Postgres does not answer: " (why) } }
                p.made { "as of " time datetime=(self.made_at.to_rfc3339()) { (self.made_at.format("%H:%M:%S UTC")) } }
            }
        }
    }
}
