//! The first question about a package: what has become of its job? It ends there, or this replica becomes the job's owner.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::Attempts;
use super::cancelled::Teller;
use super::ending::{Ending, Report};
use super::failing::refused_ending;
use super::in_hand::JobGuard;
use crate::db::{BeginRequest, Begun, OpenCall};
use crate::failure::{ErrorClass, Failure};
use crate::fault;
use crate::queue::{Delivery, Due, Event};
use crate::work_package::WorkPackage;

/// How soon a package is looked at again whose job is another's, or has just been.
pub(super) const RECHECK_AFTER: Duration = Duration::from_secs(2);
/// How soon a package is looked at again whose job a replica of another queue has begun. Its own queue takes it back from
/// one that is gone, which takes about as long.
const ELSEWHERE: Duration = Duration::from_secs(15);
/// So often a job that others keep changing is asked for in one go.
const RACES: u32 = 5;
/// How soon a package is looked at again whose job only a newer version can go on with.
const UNKNOWN_STATE: Duration = Duration::from_secs(30);
/// Between two looks for a row that is not there yet: at first, and at the most.
const FIRST_ROW_LOOK: Duration = Duration::from_millis(250);
const LONGEST_ROW_LOOK: Duration = Duration::from_secs(5);

/// A job that this replica owns for one attempt.
pub(super) struct Owned<'a> {
    pub(super) delivery: &'a Delivery,
    pub(super) package: &'a WorkPackage,
    pub(super) fence: i64,
    /// Attempts that have failed so far.
    pub(super) failed: u32,
    /// How often the package has been delivered, this time included.
    pub(super) deliveries: u32,
    /// How many other jobs have had the number before.
    pub(super) reuses: i32,
    /// Calls of earlier attempts that were billed, or may have been.
    pub(super) billed: u32,
    pub(super) open_call: Option<OpenCall>,
    /// Other deliveries of the job join it until the attempt ends.
    pub(super) job: JobGuard<'a>,
}

impl Owned<'_> {
    /// Whether this attempt only asks whether an order has come further that has gone on for long: nobody wants to know of each time.
    pub(super) fn is_visit(&self) -> bool {
        let open = self.open_call.as_ref();
        open.is_some_and(|call| call.handle.is_some() && call.patience_ms == 0)
    }
}

impl Attempts {
    /// Makes this replica the job's owner.
    ///
    /// A crash after this leaves the job held by a worker without a lease: whoever gets the package next sees
    /// that and takes over under a new fence.
    ///
    /// # Errors
    /// The ending that the job's state asks for.
    pub(super) async fn begin<'a>(
        &'a self,
        delivery: &'a Delivery,
        package: &'a WorkPackage,
    ) -> Result<Owned<'a>, Ending> {
        let job_id = package.job_id;
        let later = |delay| Ending::waits(delivery.delay(Due::In(delay), None));
        let mut races = 0;
        let job = loop {
            if let Some(job) = self.in_hand.reserve(job_id).await {
                break job;
            }
            if let Some(ending) = self.join(delivery, package).await {
                return Err(ending);
            }
            // It has just ended, or takes long to begin.
            if races == RACES {
                return Err(later(RECHECK_AFTER));
            }
            races += 1;
        };
        let mut request = Arc::new(self.request_to_begin(delivery, job_id));
        let mut refusal = None;
        loop {
            let begun = self
                .statements
                .run(|| self.statements.db.begin(request.clone()))
                .await;
            let begun = match (begun, refusal.take()) {
                (Ok(begun), None) => begun,
                // Its row takes nothing, which changes nothing about how it has ended.
                (Ok(begun), Some(_)) if begun.is_ended() => begun,
                (Err(failure), None) => {
                    refusal = Some(failure);
                    Arc::make_mut(&mut request).only_looks = true;
                    continue;
                }
                (_, Some(failure)) => {
                    return Err(self
                        .reject(
                            delivery,
                            Some(job_id),
                            failure,
                            package.reply_to.clone(),
                            package.callback_url.clone(),
                        )
                        .await);
                }
            };
            return Err(match begun {
                Begun::Owned {
                    fence,
                    deliveries,
                    attempts: failed,
                    reuses,
                    billed,
                    open_call,
                } => {
                    fault::point("begun");
                    job.note_begun();
                    if let Err(refused) = self.want_callback(package, false).await {
                        return Err(refused_ending(delivery, refused));
                    }
                    return Ok(Owned {
                        delivery,
                        package,
                        fence,
                        failed,
                        deliveries,
                        reuses,
                        billed,
                        open_call,
                        job,
                    });
                }
                Begun::Raced if races < RACES => {
                    races += 1;
                    tokio::task::yield_now().await;
                    continue;
                }
                Begun::HeldBy { worker_id, fence } => match self.is_alive(&worker_id).await {
                    Some(false) => {
                        tracing::info!(
                            previous_worker_id = worker_id,
                            "taking over a job whose worker is gone"
                        );
                        Arc::make_mut(&mut request).replaces_fence = fence;
                        continue;
                    }
                    Some(true) => match self.join(delivery, package).await {
                        Some(ending) => ending,
                        None if races < RACES => {
                            races += 1;
                            continue;
                        }
                        None => later(RECHECK_AFTER),
                    },
                    // The package stays, as it may be that worker's, given back because it has died.
                    None => later(RECHECK_AFTER),
                },
                Begun::HeldElsewhere => Ending {
                    report: Report::Waits(Some(format!(
                        "a replica of another queue works on job {job_id}; its package waits here until that has ended"
                    ))),
                    ..later(ELSEWHERE)
                },
                Begun::Raced => later(RECHECK_AFTER),
                Begun::NotDue(delay) => later(delay),
                Begun::UnknownState(state) => Ending {
                    report: Report::Waits(Some(format!(
                        "job {job_id} is in the state {state:?}, which this version does not know; a newer one is to go on with it"
                    ))),
                    ..later(UNKNOWN_STATE)
                },
                Begun::Done {
                    image_id,
                    image_url,
                    has_drawn,
                } => {
                    if package.work.draws() != has_drawn {
                        return Err(self.refuse_other_work(delivery, package).await);
                    }
                    if let Err(refused) = self.tell_done(package, (image_id, image_url.as_deref())).await {
                        return Err(refused_ending(delivery, refused));
                    }
                    let event = Event::completed(job_id, image_id, image_url);
                    Ending {
                        command: Some(delivery.settle(Some(event), package.reply_to.clone())),
                        report: Report::Repeated,
                    }
                }
                // It is whole in Postgres, and comes back when an operator has decided.
                Begun::Held => match self.want_callback(package, false).await {
                    Ok(_) => Ending {
                        command: Some(delivery.settle(None, None)),
                        report: Report::Repeated,
                    },
                    Err(refused) => refused_ending(delivery, refused),
                },
                Begun::Cancelled(message) => {
                    self.end_cancelled(delivery, package, message, Teller::Command)
                        .await
                }
                Begun::Dead => match self.repeat_failed(delivery, package).await {
                    Some(ending) => ending,
                    None if races < RACES => {
                        races += 1;
                        continue;
                    }
                    None => later(RECHECK_AFTER),
                },
                Begun::NoSuchJob => self.wait_for_row(delivery, package).await,
            });
        }
    }

    /// A package that has the number of a job which has done something else: that one's end would be a false answer to it.
    async fn refuse_other_work(&self, delivery: &Delivery, package: &WorkPackage) -> Ending {
        let (job_id, asked) = (package.job_id, package.work.type_name());
        let (done, wanted) = match package.work.draws() {
            true => ("deleted an image", "a picture"),
            false => ("drawn a picture", "a deletion"),
        };
        let message = format!(
            "jobId: job {job_id} has {done}, and is no job for {asked}; make a row of its own in ac_background_jobs for {wanted}"
        );
        let failure = Failure::new(ErrorClass::InvalidPackage, message);
        let (reply_to, callback_url) = (package.reply_to.clone(), package.callback_url.clone());
        self.reject(delivery, Some(job_id), failure, reply_to, callback_url)
            .await
    }

    /// The job again, after Postgres has lost it.
    ///
    /// # Errors
    /// When its row is gone.
    pub(super) async fn begin_again(&self, delivery: &Delivery, job_id: i32) -> Result<(), Failure> {
        let request = Arc::new(self.request_to_begin(delivery, job_id));
        let begun = self
            .statements
            .run(|| self.statements.db.begin(request.clone()))
            .await?;
        match begun {
            Begun::NoSuchJob => Err(no_such_job(job_id)),
            _ => Ok(()),
        }
    }

    fn request_to_begin(&self, delivery: &Delivery, job_id: i32) -> BeginRequest {
        BeginRequest {
            job_id,
            worker_id: self.queue.worker_id().to_owned(),
            queue: self.queue.redis().keys().inbox().to_owned(),
            package: String::from_utf8_lossy(&delivery.payload).into_owned(),
            replaces_fence: 0,
            only_looks: false,
        }
    }

    /// Whether the owner of a job works on it; `None`: nobody can say now.
    async fn is_alive(&self, worker_id: &str) -> Option<bool> {
        let server_number = self.queue.server_number();
        if worker_id == self.queue.worker_id() {
            // With the job reserved for this attempt: a begin whose answer was lost, or an attempt that panicked.
            return Some(false);
        }
        let has_lease = self.queue.has_lease(worker_id, server_number).await.ok()??;
        (has_lease || self.statements.health.trusts_leases(server_number)).then_some(has_lease)
    }

    /// A producer may push before it commits: its row is looked for during `JOB_ROW_WAIT`, in growing steps.
    async fn wait_for_row(&self, delivery: &Delivery, package: &WorkPackage) -> Ending {
        let job_id = package.job_id;
        let longest = self.settings.job_row_wait;
        // Where Redis cannot say, the time begins anew.
        let waited = self
            .queue
            .row_missing_for(job_id, longest)
            .await
            .unwrap_or_default();
        if waited < longest {
            let pause = waited
                .clamp(FIRST_ROW_LOOK, LONGEST_ROW_LOOK)
                .min(longest - waited);
            return Ending::waits(delivery.delay(Due::In(pause), None));
        }
        let _ = self.queue.forget_missing_row(job_id).await;
        // The row was there when the job was begun: nobody wants its picture any more.
        if let Ok(Some(message)) = self.statements.run(|| self.statements.db.end_ghost(job_id)).await {
            return self
                .end_cancelled(delivery, package, message, Teller::Replica)
                .await;
        }
        self.reject(
            delivery,
            Some(job_id),
            no_such_job(job_id),
            package.reply_to.clone(),
            package.callback_url.clone(),
        )
        .await
    }
}

fn no_such_job(job_id: i32) -> Failure {
    let message = format!("jobId: there is no row {job_id} in ac_background_jobs");
    Failure::new(ErrorClass::InvalidPackage, message)
}
