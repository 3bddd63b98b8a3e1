//! `dead retry`: pushes them again.
//!
//! Postgres first: the job waits, with a clean count and without its error. Then the push, the mirror, and last the
//! note on the row. Cut off at any point, the rows are still open and the next run goes on with them; what waits in
//! Postgres alone is put back by `reseed` as well. The same package twice makes one picture.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::super::actions::{By, Done, Intent};
use super::super::exit::ExitStatus;
use super::super::text;
use super::selection::{Selection, ask, packages, tell_counts};
use crate::db::{Db, DeadPackage, DeadSelection, Revived};
use crate::fault;
use crate::queue::Redis;

/// Packages that are pushed at once.
const CHUNK: u32 = 100;

#[derive(Debug, Args)]
pub(super) struct RetryArguments {
    #[command(flatten)]
    selection: Selection,
    /// So many at the most, the oldest first; default: all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Push no faster than this, such as 10/s or 30/min; default: at once
    #[arg(long, value_parser = rate)]
    rate: Option<Rate>,
    /// Only count what would be pushed
    #[arg(long)]
    dry_run: bool,
    /// Go on without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(super) by: By,
}

/// Packages within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    packages: u32,
    within: Duration,
}

fn rate(text: &str) -> Result<Rate, String> {
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
    Ok(Rate { packages, within })
}

impl Rate {
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

pub(super) async fn run(
    arguments: RetryArguments,
    by: &str,
    db: &Db,
    redis: &Redis,
) -> anyhow::Result<ExitStatus> {
    let subject = arguments.selection.in_words(arguments.limit);
    let filter = arguments
        .selection
        .filter(arguments.limit, false, redis.keys().inbox());
    let mut selection = db.select_dead(filter).await?;
    let what = if arguments.dry_run {
        "would retry"
    } else {
        "to retry:"
    };
    let total = tell_counts(&selection.counts().await?, what)?;
    if total == 0 || arguments.dry_run {
        return Ok(ExitStatus::Done);
    }
    if !arguments.yes
        && let Err(status) = ask(&format!("retry {}?", packages(total)))?
    {
        return Ok(status);
    }
    // Before the first job is changed.
    redis.reach().await?;
    let intent = Intent {
        db,
        queue: redis.keys().inbox(),
        by,
        action: "dead retry",
        subject,
    };
    let mut tally = Tally::default();
    let status = intent
        .run(retry_all(&mut selection, arguments.rate, db, redis, &mut tally))
        .await?;
    for (why, count) in tally.skipped {
        text::print(&format!("skipped {}: {why}\n", packages(count)))?;
    }
    Ok(status)
}

async fn retry_all(
    selection: &mut DeadSelection,
    rate: Option<Rate>,
    db: &Db,
    redis: &Redis,
    tally: &mut Tally,
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
        if let Some(rate) = rate {
            next = Instant::now() + rate.time_of(pushed);
        }
    }
    let inbox = redis.keys().inbox();
    Ok(Done {
        count: tally.retried,
        said: format!("retried {} into {inbox}", packages(tally.retried)),
        status: ExitStatus::Done,
    })
}

/// What has become of the packages.
#[derive(Default)]
struct Tally {
    retried: i64,
    skipped: BTreeMap<String, i64>,
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
        let fast = rate("1000/s").unwrap();
        assert_eq!(fast.chunk(), CHUNK);
        assert_eq!(fast.time_of(100), Duration::from_millis(100));
        let slow = rate("30/min").unwrap();
        assert_eq!(slow.chunk(), 1);
        assert_eq!(slow.time_of(1), Duration::from_secs(2));
        assert_eq!(rate("10/s").unwrap().chunk(), 5);
        for wrong in ["", "10", "0/s", "/s", "10/h", "ten/s"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
