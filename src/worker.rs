//! The worker: takes packages as slots become free and sees each one through to its end.
//!
//! `claims` is the loop, `attempt` what happens to one package, `ending` the one place where its end is settled, counted and
//! logged. What keeps a replica and the queue in order beside that is in `upkeep`, how a replica begins and ends in `lifecycle`.

mod again;
mod attempt;
mod backoff;
mod begin;
mod budgets;
mod callbacks;
mod cancelled;
mod claims;
mod deletion;
mod drawing;
mod ending;
mod failing;
mod health;
mod housekeeping;
mod in_hand;
mod joined;
mod ledger;
mod lifecycle;
mod notices;
mod observer;
mod progress;
mod reconciler;
mod room;
mod set_aside;
mod settings;
mod statements;
mod suspects;
mod upkeep;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use crate::db::Db;
use crate::measure;
use crate::notify::Notifier;
use crate::queue::{Delivery, Queue, ReplicaStatus};
use crate::removal::Remover;
use crate::router::Router;

use attempt::{AtStake, Attempts, Stake};
pub use backoff::Backoff;
pub use budgets::{Budget, BudgetAction, Budgets, Period, Scope, in_dollars};
use callbacks::Callbacks;
use claims::{Claims, Wake};
use ending::Endings;
use health::Health;
pub use housekeeping::{Housekeeping, Tidied};
use in_hand::InHand;
use ledger::LeaseWatch;
pub use ledger::UnknownOutcome;
pub use lifecycle::Ended;
pub use observer::Observer;
use progress::Reporter;
pub use reconciler::{Books, BooksError};
use room::Room;
pub use room::parked_for;
pub use settings::{AttemptSettings, UpkeepSettings, WorkerSettings};
use statements::Statements;
use upkeep::{Alarm, Upkeep};

/// One replica, before it begins.
pub struct Worker {
    settings: WorkerSettings,
    queue: Queue,
    db: Db,
    router: Arc<Router>,
    remover: Remover,
    /// `None`: the ends of jobs are posted to nobody.
    notifier: Option<Notifier>,
    status: Arc<ReplicaStatus>,
    health: Arc<Health>,
    alarm: Arc<Alarm>,
    room: Arc<Room>,
}

impl Worker {
    /// A replica that has not begun to take. Must be made within a tokio runtime.
    #[must_use]
    pub fn new(
        settings: WorkerSettings,
        queue: Queue,
        db: Db,
        database: Uuid,
        router: Router,
        remover: Remover,
        notifier: Option<Notifier>,
    ) -> Self {
        let status = Arc::new(ReplicaStatus::new(settings.concurrency, database));
        let health = Health::new(status.clone(), settings.lease_ttl, queue.server_number());
        let (health, alarm) = (Arc::new(health), Arc::new(Alarm::new()));
        let room = Room::new(
            queue.clone(),
            health.clone(),
            alarm.clone(),
            router.pipeline().providers().names(),
            settings.provider_limits.clone(),
            &settings.work_type_limits,
        );
        Self {
            health,
            alarm,
            room: Arc::new(room),
            settings,
            queue,
            db,
            router: Arc::new(router),
            remover,
            notifier,
            status,
        }
    }

    /// Its id, new at each start.
    #[must_use]
    pub fn worker_id(&self) -> &str {
        self.queue.worker_id()
    }

    /// A look at this replica from outside its loop.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer {
            status: self.status.clone(),
            health: self.health.clone(),
            room: self.room.clone(),
            router: self.router.clone(),
            budgets: Arc::new(self.settings.attempts.budgets.clone()),
        }
    }

    /// Takes packages until `stop`, then gives back what has bought nothing or has an id at its provider, and finishes the rest,
    /// until `hurry` or for as long as the settings allow.
    ///
    /// # Errors
    /// When the replica cannot begin; once it has, it rides out every outage.
    pub async fn run(self, stop: CancellationToken, hurry: CancellationToken) -> anyhow::Result<Ended> {
        let shutdown_timeout = self.settings.shutdown_timeout;
        let heartbeat = lifecycle::begin(&self).await?;
        let replica = Replica::new(self, heartbeat.lease.clone(), stop);
        let upkeep = replica.upkeep.start(&replica.stop, &replica.abandon);
        let attempts = TaskTracker::new();
        let start = |delivery| {
            let replica = replica.clone();
            attempts.spawn(async move { replica.see_through(delivery).await });
        };
        replica.claims.run(&replica.stop, start).await;
        Ok(lifecycle::end(&replica, heartbeat, upkeep, attempts, shutdown_timeout, &hurry).await)
    }
}

/// The parts of a replica that runs, each with one concern. Cloning it is cheap.
#[derive(Clone)]
struct Replica {
    claims: Arc<Claims>,
    attempts: Arc<Attempts>,
    endings: Arc<Endings>,
    upkeep: Arc<Upkeep>,
    room: Arc<Room>,
    in_hand: Arc<InHand>,
    /// Nothing more is taken, and attempts end as soon as nothing is at stake.
    stop: CancellationToken,
    /// Attempts end at once.
    abandon: CancellationToken,
}

impl Replica {
    fn new(worker: Worker, lease: crate::queue::Lease, stop: CancellationToken) -> Self {
        let Worker {
            settings,
            queue,
            db,
            router,
            remover,
            notifier,
            status,
            health,
            alarm,
            room,
        } = worker;
        let lease = LeaseWatch {
            until: lease,
            margin: settings.lease_ttl / 4,
        };
        let in_hand = Arc::new(InHand::new(settings.concurrency, status.clone()));
        let wake = Arc::new(Wake::default());
        let reporter = Reporter::new(queue.clone(), db.clone());
        let statements = Statements {
            db,
            health: health.clone(),
        };
        let callbacks_due = Arc::new(Notify::new());
        let callbacks = notifier.map(|notifier| Callbacks {
            notifier,
            statements: statements.clone(),
            queue: queue.redis().keys().inbox().to_owned(),
            due: callbacks_due.clone(),
        });
        Self {
            claims: Arc::new(Claims {
                concurrency: settings.concurrency,
                queue: queue.clone(),
                status: status.clone(),
                health: health.clone(),
                in_hand: in_hand.clone(),
                wake: wake.clone(),
                lease: lease.clone(),
            }),
            endings: Arc::new(Endings {
                queue: queue.clone(),
                health: health.clone(),
                status,
                in_hand: in_hand.clone(),
                alarm: alarm.clone(),
            }),
            upkeep: Arc::new(Upkeep {
                settings: settings.upkeep,
                queue: queue.clone(),
                statements: statements.clone(),
                in_hand: in_hand.clone(),
                room: room.clone(),
                reporter: reporter.clone(),
                wake,
                alarm: alarm.clone(),
                callbacks: callbacks.map(Arc::new),
            }),
            attempts: Arc::new(Attempts {
                settings: settings.attempts,
                queue,
                statements,
                router,
                remover,
                room: room.clone(),
                in_hand: in_hand.clone(),
                reporter,
                lease,
                alarm,
                callbacks_due,
            }),
            room,
            in_hand,
            stop,
            abandon: CancellationToken::new(),
        }
    }

    /// One package from taken to settled, whatever happens to it. What is dropped on the way is given back when the replica
    /// leaves.
    async fn see_through(&self, delivery: Delivery) {
        let held = self.in_hand.guard(&delivery.id);
        let stake = AtStake::nothing();
        // Boxed, as every task and every wrapper of a future holds what it wraps, and copies it, before it runs.
        let seeing_through = Box::pin(async {
            let (ending, span) = self.attempts.attempt_when_safe(&delivery, &stake).await;
            stake.set(Stake::Nothing);
            self.endings.settle(ending).instrument(span).await;
        });
        // Polled after each step of the attempt, which alone changes what is at stake.
        let nothing_at_stake = poll_fn(|_| match stake.now() {
            Stake::Nothing => Poll::Ready(()),
            _ => Poll::Pending,
        });
        let may_be_dropped = async {
            // Nothing is abandoned before the stop.
            self.stop.cancelled().await;
            tokio::select! {
                () = self.abandon.cancelled() => {}
                () = nothing_at_stake => {}
            }
        };
        measure::process(async {
            tokio::select! {
                biased;
                () = seeing_through => {}
                () = may_be_dropped => measure::given_back(),
            }
        })
        .await;
        // It was dropped on the way: whether or not the intent has arrived, the call was not made.
        if let Stake::Intent(job_id) = stake.now() {
            self.in_hand.note_unsent(job_id);
        }
        self.room.give_back(&delivery).await;
        drop(held);
    }
}
