//! Pushes dead packages again.
//!
//! Postgres first: the job waits, with a clean count and without its error. Then the push, the mirror, and last the
//! note on the row. Cut off at any point, the rows are still open and the next run goes on with them; what waits in
//! Postgres alone is put back by `reseed` as well. The same package twice makes one picture.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::{Done, packages};
use crate::db::{Db, DeadPackage, DeadSelection, Revived};
use crate::fault;
use crate::queue::Redis;

/// Packages that are pushed at once.
const CHUNK: u32 = 100;

/// Packages within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) packages: u32,
    pub(crate) within: Duration,
}

impl Rate {
    /// Reads `10/s` or `30/min`.
    ///
    /// # Errors
    /// In words for whoever has typed it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "no rate was found; write for example 10/s or 30/min".to_owned();
        let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
        let packages = number
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(wrong)?;
        let within = match unit {
            "s" => Duration::from_secs(1),
            "m" | "min" => Duration::from_secs(60),
            _ => return Err(wrong()),
        };
        Ok(Self { packages, within })
    }

    /// So many go at once: half a second's worth, and never less than one.
    fn chunk(self) -> u32 {
        let per_half_second = u64::from(self.packages) / (2 * self.within.as_secs());
        u32::try_from(per_half_second).unwrap_or(CHUNK).clamp(1, CHUNK)
    }

    /// The time that so many packages take up.
    fn time_of(self, packages: u32) -> Duration {
        self.within * packages / self.packages
    }
}

/// Pushes all that were chosen, no faster than `rate`, and tells `seen` how many have been looked at with each step.
///
/// # Errors
/// When Postgres or Redis does not answer.
pub(crate) async fn retry_all(
    selection: &mut DeadSelection,
    rate: Option<Rate>,
    db: &Db,
    redis: &Redis,
    tally: &mut Tally,
    seen: impl Fn(usize),
) -> anyhow::Result<Done> {
    let size = rate.map_or(CHUNK, Rate::chunk);
    let mut next = Instant::now();
    loop {
        let chunk = selection.next(size).await?;
        if chunk.is_empty() {
            break;
        }
        sleep_until(next).await;
        let pushed = retry(&chunk, db, redis, tally).await?;
        seen(chunk.len());
        if let Some(rate) = rate {
            next = Instant::now() + rate.time_of(pushed);
        }
    }
    let inbox = redis.keys().inbox();
    Ok(Done {
        count: tally.retried,
        said: format!("retried {} into {inbox}", packages(tally.retried)),
        is_done: true,
    })
}

/// What has become of the packages.
#[derive(Default)]
pub(crate) struct Tally {
    retried: i64,
    /// Why some were left out, and how many.
    pub(crate) skipped: BTreeMap<String, i64>,
}

async fn retry(chunk: &[DeadPackage], db: &Db, redis: &Redis, tally: &mut Tally) -> anyhow::Result<u32> {
    let ids: Vec<Uuid> = chunk.iter().map(|package| package.id).collect();
    let revived = db.revive(&ids).await?;
    fault::point("revived");
    let pushed = choose(chunk, &revived, tally);
    let payloads: Vec<&[u8]> = pushed
        .iter()
        .filter_map(|package| package.payload.as_deref())
        .collect();
    redis.push_bytes(&payloads).await?;
    // The other packages of the same jobs are history with them.
    let closed: Vec<&Revived> = revived
        .iter()
        .filter(|revived| {
            pushed.iter().any(|package| {
                package.id == revived.id || (package.job_id.is_some() && package.job_id == revived.job_id)
            })
        })
        .collect();
    let mirrors: Vec<_> = closed
        .iter()
        .map(|revived| (revived.id, revived.dead_at.timestamp_millis()))
        .collect();
    redis.forget_dead(&mirrors).await?;
    let ids: Vec<Uuid> = closed.iter().map(|revived| revived.id).collect();
    let packages: Vec<(i32, Cow<'_, str>)> = pushed
        .iter()
        .filter_map(|package| {
            Some((
                package.job_id?,
                String::from_utf8_lossy(package.payload.as_deref()?),
            ))
        })
        .collect();
    db.note_retried(&ids, &packages).await?;
    tally.retried += i64::try_from(pushed.len()).unwrap_or(i64::MAX);
    Ok(u32::try_from(pushed.len()).unwrap_or(u32::MAX))
}

/// Those that are pushed: one of each job, and rather one that has been worked on than one that was refused.
fn choose<'a>(chunk: &'a [DeadPackage], revived: &[Revived], tally: &mut Tally) -> Vec<&'a DeadPackage> {
    let mut skip = |why: String| *tally.skipped.entry(why).or_default() += 1;
    let mut chosen: Vec<&DeadPackage> = Vec::new();
    for package in chunk {
        match revived.iter().find(|revived| revived.id == package.id) {
            Some(revived) if !revived.may_be_pushed() => {
                skip(under_way(revived.state.as_deref().unwrap_or_default()));
                continue;
            }
            Some(_) => {}
            None => {
                skip("it has been purged meanwhile".to_owned());
                continue;
            }
        }
        let rank = |package: &DeadPackage| (package.attempts > 0, package.dead_at);
        let other = chosen
            .iter()
            .position(|other| package.job_id.is_some() && other.job_id == package.job_id);
        match other {
            None => chosen.push(package),
            Some(other) => {
                skip("another package of its job was pushed".to_owned());
                if rank(package) > rank(chosen[other]) {
                    chosen.remove(other);
                    chosen.push(package);
                }
            }
        }
    }
    chosen
}

/// Why a job in this state is left alone.
fn under_way(state: &str) -> String {
    match state {
        "done" => "the job is done".to_owned(),
        "begun" => "a replica works on the job".to_owned(),
        "retry_wait" => "the job waits for its next attempt".to_owned(),
        "held" => "the job is held; see jobs release".to_owned(),
        "another" => "its row is gone, and another job has its number".to_owned(),
        other => format!("the job is {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_packages_within_a_second_or_a_minute() {
        let fast = Rate::parse("1000/s").unwrap();
        assert_eq!(fast.chunk(), CHUNK);
        assert_eq!(fast.time_of(100), Duration::from_millis(100));
        let slow = Rate::parse("30/min").unwrap();
        assert_eq!(slow.chunk(), 1);
        assert_eq!(slow.time_of(1), Duration::from_secs(2));
        assert_eq!(Rate::parse("10/s").unwrap().chunk(), 5);
        for wrong in ["", "10", "0/s", "/s", "10/h", "ten/s"] {
            assert!(Rate::parse(wrong).is_err(), "{wrong}");
        }
    }
}
