//! Deleting a picture: a package in, an `Ending` out.
//!
//! whose picture is it, and does another row show it? → mark its row → remove its objects → have the cache forget it → record
//!
//! Nothing is bought, so each step is done again by whoever gets the package next, until the last one is committed.

use super::attempt::{Attempts, Stopped};
use super::begin::Owned;
use super::ending::{Ending, Report};
use super::failing::recheck;
use super::room::Wanted;
use crate::db::{Deletable, DeletableRow, DeletedRecord, Made};
use crate::failure::{ErrorClass, Failure};
use crate::fault;
use crate::generator::Progress;
use crate::queue::{Delivery, Event};
use crate::removal::{Remover, not_removed};
use crate::storage::ObjectKey;
use crate::work_package::{DeletionWork, WorkPackage};

/// A picture of this service, as far as it is still there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Doomed {
    /// Its row, where there is one.
    row: Option<i32>,
    image_id: Option<i32>,
    image_url: Option<String>,
    /// Objects that it has, or can have.
    keys: Vec<ObjectKey>,
    /// Addresses at which a cache can have it.
    urls: Vec<String>,
    /// Whether nothing says that it is still to be seen: its row is marked, or gone.
    is_marked: bool,
    /// Whether no row of this database knows it.
    is_unknown: bool,
}

/// What has become of a picture, as the row of the job says it.
fn word(was_there: bool) -> &'static str {
    if was_there { "deleted" } else { "already gone" }
}

impl Attempts {
    /// Deletes a picture that this service has made.
    pub(super) async fn delete_image(
        &self,
        delivery: &Delivery,
        package: &WorkPackage,
        work: &DeletionWork,
    ) -> Ending {
        let wanted = Wanted {
            work_type: package.work.type_name(),
            providers: Vec::new(),
        };
        let owned = match self.take_up(delivery, package, &wanted).await {
            Ok(owned) => owned,
            Err(ending) => return ending,
        };
        if owned.deliveries == 1
            && package
                .deadline
                .is_some_and(|deadline| deadline <= chrono::Utc::now())
        {
            let message =
                "The deadline of this job passed before it was begun. Start it again with a later one.";
            return self
                .bury(&owned, Failure::new(ErrorClass::Expired, message))
                .await;
        }
        let progress = self.reporter.of(package.job_id);
        progress.reached(10);
        let deleted = self
            .unless_stopped(&owned, self.delete(&owned, work, &progress))
            .await;
        drop(progress);
        match deleted {
            Ok(Ok(record)) => self.complete_deletion(&owned, record).await,
            Ok(Err(failure)) => self.fail(&owned, &wanted, failure).await,
            Err(Stopped::Cancelled) => self.leave_cancelled(&owned).await,
            Err(Stopped::Broken(failure)) => self.fail(&owned, &wanted, failure).await,
        }
    }

    /// A crash between two steps leaves a picture that is marked, and perhaps some of its objects: the next delivery begins with the
    /// first step, and finds what is left. Marked it is first, so that nobody is shown what is about to go.
    async fn delete(
        &self,
        owned: &Owned<'_>,
        work: &DeletionWork,
        progress: &dyn Progress,
    ) -> Result<DeletedRecord, Failure> {
        let (db, remover) = (&self.statements.db, &self.remover);
        let look = || db.deletable(work.image_id, work.image_url.as_deref());
        let found = self.statements.run(look).await?;
        let doomed = Doomed::judge(work, &found, remover).map_err(refuse)?;
        if doomed.is_unknown
            && remover
                .is_there(&doomed.keys)
                .await
                .map_err(|error| not_removed(&error))?
        {
            return Err(refuse(
                "imageUrl: there is such a picture in the store, and no row of this database knows it; send imageId, or have it deleted by \
                 the service that has made it"
                    .to_owned(),
            ));
        }
        if let Some(other) = self.other_row(&doomed).await? {
            let asked = match (work.image_id, doomed.row) {
                (Some(_), Some(id)) => format!("imageId: image {id} shows a file that"),
                _ => "imageUrl: this is a file that".to_owned(),
            };
            return Err(refuse(format!(
                "{asked} image {other} shows too, which would lose it; mark one of the two as deleted in the application first, and delete \
                 the file with the last one"
            )));
        }
        if let Some(id) = doomed.row.filter(|_| !doomed.is_marked) {
            self.run_on_row(owned.delivery, || db.mark_image_deleted(id))
                .await?;
        }
        fault::point("image-marked");
        progress.reached(20);
        let removing = remover.remove(&doomed.keys).await;
        let removed = removing.map_err(|error| not_removed(&error))?;
        fault::point("objects-removed");
        progress.reached(70);
        remover.purge(&doomed.urls).await?;
        fault::point("cache-purged");
        // What an earlier attempt has removed was there.
        let was_there = !doomed.is_marked || removed > 0 || owned.deliveries > 1;
        Ok(DeletedRecord {
            job_id: owned.package.job_id,
            fence: owned.fence,
            image_id: doomed.image_id,
            image_url: doomed.image_url,
            word: word(was_there),
        })
    }

    /// Another row that shows what is about to go.
    async fn other_row(&self, doomed: &Doomed) -> Result<Option<i32>, Failure> {
        if doomed.urls.is_empty() {
            return Ok(None);
        }
        let look = || self.statements.db.also_shown_by(&doomed.urls, doomed.image_id);
        self.statements.run(look).await
    }

    /// Records that the picture is gone. A crash before the package is settled brings it back, whose job is done by then.
    async fn complete_deletion(&self, owned: &Owned<'_>, record: DeletedRecord) -> Ending {
        let db = &self.statements.db;
        let recorded = self
            .run_on_row(owned.delivery, || db.record_deletion(&record))
            .await;
        match recorded {
            Ok(true) => {}
            Ok(false) => return recheck(owned.delivery),
            Err(refused) => return self.bury(owned, refused).await,
        }
        fault::point("recorded");
        if owned.package.callback_url.is_some() {
            self.callbacks_due.notify_one();
        }
        let job_id = record.job_id;
        let event = Event::completed(job_id, record.image_id, record.image_url.clone());
        Ending {
            command: Some(owned.delivery.settle(Some(event), owned.package.reply_to.clone())),
            report: Report::Deleted { record },
        }
    }
}

impl Doomed {
    /// Which picture is meant, and that it is this service's: by a job that has made it, or a row whose address is one of this
    /// service's objects.
    ///
    /// # Errors
    /// What is wrong, to be told to whoever asked.
    fn judge(work: &DeletionWork, found: &Deletable, remover: &Remover) -> Result<Self, String> {
        let shown = found.row.as_ref().map(DeletableRow::urls).unwrap_or_default();
        check_that_both_mean_one(work, found, &shown)?;
        let made = found.made.as_ref();
        let row = found.row.as_ref();
        let mut keys: Vec<ObjectKey> = match made {
            Some(made) => made
                .object_keys
                .iter()
                .filter_map(|key| ObjectKey::read(key))
                .collect(),
            None => Vec::new(),
        };
        let asked: Vec<String> = work.image_url.iter().cloned().collect();
        let of_urls = remover.keys_of(if row.is_some() { &shown } else { &asked });
        let is_known = row.is_some() || made.is_some();
        let was_erased = shown.is_empty() && row.is_some_and(|row| row.is_deleted);
        if made.is_none() && of_urls.is_empty() && !was_erased {
            return Err(match (row, work.image_id) {
                (Some(row), Some(_)) => format!(
                    "imageId: image {} was not made by this service; none of its addresses is one of this service's pictures",
                    row.id
                ),
                (None, Some(id)) => {
                    format!("imageId: there is no image {id} in images, and no job is known that has made it")
                }
                (_, None) => {
                    "imageUrl: this is not the address of a picture that this service has made".to_owned()
                }
            });
        }
        if keys.is_empty() {
            keys = of_urls;
        } else {
            // The ledger knows them all; what the row shows besides is looked for too.
            keys.extend(shown.iter().filter_map(|url| remover.key_of(url)));
            keys.sort_by(|a, b| a.as_str().cmp(b.as_str()));
            keys.dedup();
        }
        let known_url = made.and_then(|made| made.image_url.clone());
        let mut urls: Vec<String> = Vec::new();
        let ours = |url: &String| remover.key_of(url).is_some();
        for url in known_url
            .iter()
            .chain(shown.iter().chain(&asked).filter(|url| ours(url)))
        {
            if !urls.contains(url) {
                urls.push(url.clone());
            }
        }
        Ok(Self {
            row: row.map(|row| row.id),
            image_id: row
                .map(|row| row.id)
                .or(work.image_id)
                .or(made.and_then(|made| made.image_id)),
            image_url: work
                .image_url
                .clone()
                .or(known_url)
                .or_else(|| shown.first().cloned()),
            keys,
            urls,
            is_marked: row.is_none_or(|row| row.is_deleted),
            is_unknown: !is_known,
        })
    }
}

/// A number of one picture and the address of another would delete one that nobody has meant.
fn check_that_both_mean_one(work: &DeletionWork, found: &Deletable, shown: &[String]) -> Result<(), String> {
    let (Some(id), Some(url)) = (work.image_id, &work.image_url) else {
        return Ok(());
    };
    let is_of_row = shown.is_empty() || shown.contains(url);
    let is_of_job =
        |made: &Made| made.image_id.is_none_or(|made| made == id) && made.image_url.as_ref() == Some(url);
    if is_of_row && found.made.as_ref().is_none_or(is_of_job) {
        return Ok(());
    }
    Err(format!(
        "imageUrl: this is not the address of image {id}; send the number and the address of one picture, or one of both"
    ))
}

fn refuse(why: String) -> Failure {
    Failure::new(ErrorClass::InvalidPackage, why)
}
