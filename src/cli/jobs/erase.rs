//! `jobs erase`: removes what is kept of a job, or of all jobs of a user: the prompt, the objects and what a cache has of them, the dead
//! packages, and what the ledger knows of the picture. A row stays of each job, so that no package of it is drawn again, and one that says who has erased what.
//!
//! Cut off at any point, the next run goes on: the names of the objects are in the ledger until they are gone.

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::super::actions::{By, run_noted};
use super::super::exit::ExitStatus;
use super::super::replica::reach_migrated;
use super::super::text;
use crate::config::{Config, Environment};
use crate::db::{Db, Erasable, MaybeOfUser};
use crate::generator::all_keys;
use crate::ops::acts::{Done, Intent, is_alive};
use crate::queue::Redis;
use crate::removal::Remover;
use crate::storage::{ObjectKey, Storage};
use crate::work_package::{PackageLimits, Work, WorkPackage};

/// What the person and the application read of such a job.
const MESSAGE: &str = "This job was erased.";

#[derive(Debug, Args)]
pub(super) struct EraseArguments {
    /// Row of ac_background_jobs
    #[arg(required_unless_present = "user", conflicts_with = "user")]
    job_id: Option<i32>,
    /// All jobs of this user, as far as images and packages name it
    #[arg(long, value_name = "ID")]
    user: Option<i32>,
    /// Only say which jobs these are
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    by: By,
}

/// What erasing needs.
struct Eraser {
    db: Db,
    redis: Redis,
    remover: Remover,
    limits: PackageLimits,
    lease_ttl: std::time::Duration,
}

/// What has come of the jobs so far.
#[derive(Default)]
struct Tally {
    erased: i64,
    objects: usize,
    dead: i64,
    /// What else there is to say, a sentence each.
    remarks: Vec<String>,
    /// Jobs that were left alone, with the reason.
    left: Vec<String>,
}

pub(super) async fn run(arguments: &EraseArguments, environment: &Environment) -> anyhow::Result<ExitStatus> {
    let config = Config::from_environment(environment)?;
    let eraser = Eraser {
        redis: Redis::new(&config.queue)?,
        db: reach_migrated(&config.db).await?,
        remover: Remover::new(Storage::open(config.storage).await?, config.cloudflare.as_ref())?,
        limits: config.worker.attempts.packages.clone(),
        lease_ttl: config.queue.lease_ttl,
    };
    eraser.redis.reach().await?;
    let queue = eraser.redis.keys().inbox();
    let (subject, job_ids) = match (arguments.job_id, arguments.user) {
        (Some(job_id), _) => (format!("job {job_id}"), vec![job_id]),
        (None, Some(user_id)) => {
            let maybe = eraser.db.maybe_of_user(queue, user_id).await?;
            (format!("user {user_id}"), of_user(maybe, user_id, &eraser.limits))
        }
        (None, None) => bail!("neither a job nor a user is named"),
    };
    if arguments.dry_run {
        let job_ids: Vec<String> = job_ids.iter().map(ToString::to_string).collect();
        text::say(&format!(
            "would erase {} jobs: {}",
            job_ids.len(),
            job_ids.join(", ")
        ))?;
        return Ok(ExitStatus::Done);
    }
    let by = arguments.by.name(environment);
    let intent = Intent {
        db: &eraser.db,
        queue,
        by: &by,
        action: "jobs erase",
        subject: subject.clone(),
    };
    run_noted(&intent, eraser.erase_all(&subject, &job_ids)).await
}

/// The jobs whose packages really are this user's.
fn of_user(maybe: Vec<MaybeOfUser>, user_id: i32, limits: &PackageLimits) -> Vec<i32> {
    let mut job_ids: Vec<i32> = maybe
        .into_iter()
        .filter(|(_, package)| {
            let Some(package) = package else { return true };
            match WorkPackage::parse(package, limits).map(|package| package.work) {
                Ok(Work::CollectionImage(work)) => work.user_id == Some(user_id),
                // Whatever it is, it names the user, and nothing else can be made of it.
                Ok(Work::DeleteImage(_) | Work::Unknown(_)) | Err(_) => true,
            }
        })
        .map(|(job_id, _)| job_id)
        .collect();
    job_ids.dedup();
    job_ids
}

impl Eraser {
    async fn erase_all(&self, subject: &str, job_ids: &[i32]) -> anyhow::Result<Done> {
        let mut tally = Tally::default();
        for job_id in job_ids {
            self.erase(*job_id, &mut tally)
                .await
                .with_context(|| format!("job {job_id} is not erased to its end; run this again"))?;
        }
        let count = |count: i64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let objects = i64::try_from(tally.objects).unwrap_or(i64::MAX);
        let mut said = format!(
            "{subject}: erased {}, {} of the store, {}",
            count(tally.erased, "job"),
            count(objects, "object"),
            count(tally.dead, "dead package")
        );
        for part in tally.remarks.iter().chain(&tally.left) {
            said.push_str("; ");
            said.push_str(part);
        }
        Ok(Done {
            count: tally.erased,
            said,
            is_done: tally.left.is_empty(),
        })
    }

    async fn erase(&self, job_id: i32, tally: &mut Tally) -> anyhow::Result<()> {
        let Some(found) = self.db.erasable(job_id).await? else {
            tally.left.push(format!("there is no job {job_id}"));
            return Ok(());
        };
        for worker_id in found.worker_id.iter().chain(&found.caller) {
            if is_alive(worker_id, &self.redis, self.lease_ttl).await? {
                tally.left.push(format!(
                    "job {job_id} is left alone, as {worker_id} works on it: cancel it, then erase it"
                ));
                return Ok(());
            }
        }
        let dead = self.db.dead_bytes(job_id).await?;
        let packages = dead.iter().map(|dead| dead.payload.as_slice());
        let keys = self.keys(job_id, &found, packages).await?;
        let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
        if !self.db.mark_erased(job_id, &found, &names, MESSAGE).await? {
            tally
                .left
                .push(format!("job {job_id} has just changed: run this again"));
            return Ok(());
        }
        if !matches!(found.state.as_deref(), Some("done" | "dead" | "cancelled")) {
            self.redis.tell_of_cancelled(job_id, MESSAGE).await?;
        }
        tally.objects += self.remover.remove(&keys).await?;
        self.forget_copies(&found, &keys).await?;
        let mirrors: Vec<_> = dead
            .iter()
            .map(|dead| (dead.id, dead.dead_at.timestamp_millis()))
            .collect();
        self.redis.forget_dead(&mirrors).await?;
        let erased = self.db.finish_erasing(job_id).await?;
        // What waits for a time with the prompt in it is dropped with its turn.
        self.redis.bring_forward(job_id).await?;
        tally.erased += 1;
        tally.dead += erased.dead;
        if erased.callbacks > 0 {
            tally.remarks.push(format!(
                "where the end of job {job_id} was or was to be posted is forgotten"
            ));
        }
        if let (Some(call_no), Some(provider)) = (found.call_no, &found.provider) {
            tally.remarks.push(format!(
                "call {call_no} to {provider} for job {job_id} was open: it may be billed, and its picture is used for nothing"
            ));
        }
        if let Some(image_id) = erased.image_id {
            tally.remarks.push(match erased.is_image_marked {
                true => format!("row {image_id} of images is marked as deleted"),
                false => format!("row {image_id} of images is the application's to delete"),
            });
        }
        Ok(())
    }

    /// Has the cache in front of the store forget the picture. Which addresses these are is known until the end: cut off here, the next
    /// run does it again.
    async fn forget_copies(&self, found: &Erasable, keys: &[ObjectKey]) -> anyhow::Result<()> {
        let mut urls: Vec<String> = keys.iter().map(|key| self.remover.public_url(key)).collect();
        urls.extend(found.image_url.clone().filter(|url| !urls.contains(url)));
        let purged = self.remover.purge(&urls).await;
        purged.map_err(|failure| anyhow!("{}", failure.details.unwrap_or(failure.message)))
    }

    /// All objects that the job has, or could have from what is known of its packages.
    async fn keys<'p>(
        &self,
        job_id: i32,
        found: &'p Erasable,
        packages: impl Iterator<Item = &'p [u8]>,
    ) -> anyhow::Result<Vec<ObjectKey>> {
        let namespace = self.db.key_namespace().await?;
        let mut keys: Vec<ObjectKey> = found
            .object_keys
            .iter()
            .filter_map(|key| ObjectKey::read(key))
            .collect();
        for package in packages.chain([found.package.as_bytes()]) {
            if let Ok(WorkPackage {
                work: Work::CollectionImage(work),
                ..
            }) = WorkPackage::parse(package, &self.limits)
            {
                keys.extend(all_keys(namespace, found.reuses, job_id, &work));
            }
        }
        keys.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        keys.dedup();
        Ok(keys)
    }
}
