//! One package, from taken to its end. Of every step this says what a crash right after it leaves behind.
//!
//! parse → match the work → begin: what has become of the job? → the work → record
//!
//! The work itself is a file for each type: `drawing`, `deletion`.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use tokio::sync::Notify;
use tracing::{Instrument, Span};

use super::begin::Owned;
use super::ending::Ending;
use super::in_hand::InHand;
use super::ledger::LeaseWatch;
use super::progress::Reporter;
use super::room::{Room, Wanted};
use super::statements::Statements;
use super::upkeep::Alarm;
use super::{AttemptSettings, suspects};
use crate::db::NextStep;
use crate::failure::{ErrorClass, Failure};
use crate::fault;
use crate::measure::{self, Stage};
use crate::plain_text::one_line;
use crate::queue::{Delivery, Event, Queue};
use crate::removal::Remover;
use crate::router::Router;
use crate::trace;
use crate::work_package::{NearMiss, Rejection, WORK_TYPES, Work, WorkPackage};

/// What attempts need, all of a replica's alike.
pub(super) struct Attempts {
    pub(super) settings: AttemptSettings,
    pub(super) queue: Queue,
    pub(super) statements: Statements,
    pub(super) router: Arc<Router>,
    pub(super) remover: Remover,
    pub(super) room: Arc<Room>,
    pub(super) in_hand: Arc<InHand>,
    pub(super) reporter: Reporter,
    pub(super) lease: LeaseWatch,
    /// Set for when packages may be woken.
    pub(super) alarm: Arc<Alarm>,
    /// Rung when the end of a job is to be posted.
    pub(super) callbacks_due: Arc<Notify>,
}

/// What would be lost if an attempt were dropped where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stake {
    /// Nothing: it has bought nothing, or what it has ordered can be asked for again by its id.
    Nothing,
    /// Nothing but a row: the intent of a call for this job is on its way to Postgres, and the call is not made yet.
    Intent(i32),
    /// What a call costs: it is open and has no id, or its picture is not recorded yet.
    Call,
}

/// What is at stake in one attempt at every moment. Whoever waits for a change looks after each step of the attempt.
pub(super) struct AtStake(Mutex<Stake>);

impl AtStake {
    /// An attempt that has not begun.
    pub(super) fn nothing() -> Self {
        Self(Mutex::new(Stake::Nothing))
    }

    fn lock(&self) -> MutexGuard<'_, Stake> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    pub(super) fn now(&self) -> Stake {
        *self.lock()
    }

    pub(super) fn set(&self, stake: Stake) {
        *self.lock() = stake;
    }
}

/// Why the work of an attempt has not come to its end.
pub(super) enum Stopped {
    /// Somebody has ended the job.
    Cancelled,
    /// It has panicked.
    Broken(Failure),
}

impl Attempts {
    /// Makes an attempt at a package. `stake` says at every moment whether it may be dropped.
    /// Returns the span that it ran in as well, for what is done and said of its end.
    pub(super) async fn attempt(&self, delivery: &Delivery, stake: &AtStake) -> (Ending, Span) {
        fault::point_of("to-be-read", &delivery.payload);
        let parsed = WorkPackage::parse(&delivery.payload, &self.settings.packages);
        let package = parsed.as_ref().ok();
        let span = tracing::info_span!(
            "process",
            messaging.message.id = delivery.id,
            messaging.message.body.size = delivery.payload.len(),
            messaging.client.id = self.queue.worker_id(),
            job.id = package.map(|package| package.job_id),
            job.attempt = tracing::field::Empty,
            work.r#type = package.map(|package| package.work.type_name()),
            trace_id = tracing::field::Empty,
            otel.name = tracing::field::Empty,
            otel.kind = tracing::field::Empty,
        );
        if trace::is_exported() {
            let name = format!("process {}", self.queue.redis().keys().inbox());
            span.record("otel.name", name).record("otel.kind", "consumer");
        }
        let parent = trace::go_on(&span, package.and_then(|package| package.traceparent.as_ref()));
        if let Some(parent) = &parent {
            span.record("trace_id", parent.trace_id());
        }
        // Boxed, as each wrapper of a future holds what it wraps, and copies it, before it runs.
        let routing = Box::pin(self.route(delivery, parsed, stake));
        let ending = trace::following(parent, routing).instrument(span.clone()).await;
        if let Some((_, Some(class))) = ending.report.outcome() {
            trace::fail(&span, class.as_str());
        }
        (ending, span)
    }

    // A crash from here to `begin` leaves the package in the processing hash; it is recovered when the lease ends.
    async fn route(
        &self,
        delivery: &Delivery,
        parsed: Result<WorkPackage, Rejection>,
        stake: &AtStake,
    ) -> Ending {
        let package = match parsed {
            Ok(package) => package,
            Err(rejection) => {
                note_near_misses(rejection.job_id, &rejection.near_misses);
                let failure = Failure::new(ErrorClass::InvalidPackage, rejection.message);
                return self
                    .reject(
                        delivery,
                        rejection.job_id,
                        failure,
                        rejection.reply_to,
                        rejection.callback_url,
                    )
                    .await;
            }
        };
        match &package.work {
            Work::CollectionImage(work) => self.make_image(delivery, &package, work, stake).await,
            Work::DeleteImage(work) => self.delete_image(delivery, &package, work).await,
            Work::Unknown(name) => {
                let failure = unknown_type(name);
                self.reject(
                    delivery,
                    Some(package.job_id),
                    failure,
                    package.reply_to,
                    package.callback_url,
                )
                .await
            }
        }
    }

    /// Begins a job of any type, unless all that could be done now is what may not be done now: to buy, or to begin.
    ///
    /// # Errors
    /// The ending that the job's state asks for, or that the package waits, or that it is poison.
    pub(super) async fn take_up<'a>(
        &'a self,
        delivery: &'a Delivery,
        package: &'a WorkPackage,
        wanted: &Wanted<'_>,
    ) -> Result<Owned<'a>, Ending> {
        if (package.not_before.is_some() || self.room.is_in_doubt(wanted))
            && !self.is_let_in(delivery, package, wanted).await
        {
            return Err(Ending::parked());
        }
        let owned = measure::stage(Stage::Begin, self.begin(delivery, package)).await?;
        tracing::Span::current().record("job.attempt", owned.failed + 1);
        if let Some(poison) = suspects::poisoned(delivery) {
            return Err(self.bury(&owned, poison).await);
        }
        if !owned.is_visit() {
            if owned.deliveries == 1 {
                note_near_misses(Some(package.job_id), &package.near_misses);
            }
            self.queue
                .publish(Event::started(package.job_id, owned.failed + 1));
        }
        Ok(owned)
    }

    /// Runs the work of an attempt to its end.
    ///
    /// # Errors
    /// [`Stopped`]: somebody has ended the job, or the work has panicked.
    pub(super) async fn unless_stopped<T>(
        &self,
        owned: &Owned<'_>,
        work: impl Future<Output = T>,
    ) -> Result<T, Stopped> {
        tokio::select! {
            done = AssertUnwindSafe(work).catch_unwind() => done.map_err(|_| {
                let message = "This service stumbled over the job. Start the job again; an operator finds the reason in the log.";
                Stopped::Broken(Failure::new(ErrorClass::Internal, message))
            }),
            // The fence has risen: the job's state says what becomes of the package.
            () = owned.job.cancelled.cancelled() => Err(Stopped::Cancelled),
        }
    }

    /// Whether a job may be begun now. `false`: its package waits for its time or for room, and is not this worker's any more.
    async fn is_let_in(&self, delivery: &Delivery, package: &WorkPackage, wanted: &Wanted<'_>) -> bool {
        let db = &self.statements.db;
        let next = self.statements.run(|| db.next_of(package.job_id)).await;
        // What Postgres refuses to answer it will refuse to begin, with a reason that is kept.
        match next.unwrap_or(NextStep::Visit) {
            NextStep::Purchase => {
                // One that expires before its time has come is told so when it does.
                let earliest =
                    |time: DateTime<Utc>| package.deadline.map_or(time, |deadline| time.min(deadline));
                let waits = match package.not_before.map(earliest) {
                    Some(time) => self.room.waits_until(time, delivery).await,
                    None => false,
                };
                !waits && self.room.admit(wanted, delivery).await
            }
            // Its provider has to be asked only if there is no picture of it yet.
            NextStep::Attempt => self.room.admit_among_its_type(wanted, delivery).await,
            NextStep::Visit => true,
        }
    }
}

fn unknown_type(name: &str) -> Failure {
    let name: String = name.chars().take(80).collect();
    Failure::new(
        ErrorClass::InvalidPackage,
        format!(
            "Unknown type for workPackage: {name}; this version knows {}",
            WORK_TYPES.join(" and ")
        ),
    )
}

/// Says what a package asks for under a name that nobody reads, and counts it.
fn note_near_misses(job_id: Option<i32>, near_misses: &[NearMiss]) {
    for NearMiss { found, meant } in near_misses {
        measure::MISSPELLED.count(1, &[("field", *meant)]);
        let of = job_id.map_or_else(
            || "a package".to_owned(),
            |job_id| format!("the package of job {job_id}"),
        );
        let found = one_line(found, 80);
        tracing::warn!(
            job_id,
            "{of} has the field {found}, which nobody reads; did you mean {meant}?"
        );
    }
}
