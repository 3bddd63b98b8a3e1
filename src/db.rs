//! Postgres: the job rows, the image rows and the worker's own ledger.
//!
//! Owns the pool, the migrations and every statement. Each statement serves a whole batch (see
//! [`crate::batch`]); of a batch that Postgres does not take because of some of its rows each
//! request is run alone, so that nobody else's job fails or waits with them.

mod actions;
mod address;
mod again;
mod begin;
mod budgets;
mod callbacks;
mod calls;
mod cancel;
mod check;
mod connect;
mod costs;
mod dashboard;
mod dead;
mod delete;
mod erase;
mod error;
mod fail;
mod inspect;
mod jobs;
mod join;
mod lane;
mod lengths;
mod locks;
mod look;
mod migrate;
mod options;
mod overview;
mod pooler;
mod reconcile;
mod record;
mod rehearse;
mod reject;
mod release;
mod schema;
mod shown;
mod statement;
mod story;
mod tidy;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use secrecy::SecretString;

use crate::measure::PoolUse;
use lane::Lane;

pub use actions::Action;
pub use begin::{BeginRequest, Begun, OpenCall};
pub use budgets::{BudgetUse, Charge, Reservation, SpentBudget};
pub use callbacks::{CallbackChoice, CallbackCounts, CallbackRow, CallbackSequel, DueCallback};
pub use calls::{CallError, CallNews, CallTurn, IntendRequest, Intended};
pub use cancel::{AbandonedCall, Cancelled};
pub(crate) use check::is_silence;
pub use check::{Lacking, check};
pub use costs::{Costs, CostsBy};
pub use dashboard::{CallCounts, Hit, Picture, PictureFilter, PicturePage, Totals, UnfinishedJob};
pub use dead::{DeadCount, DeadFilter, DeadPackage, DeadSelection, Revived};
pub use delete::{Deletable, DeletableRow, DeletedRecord, Made};
pub use erase::{DeadBytes, Erasable, Erased, MaybeOfUser};
pub use error::DbError;
pub use fail::{Buried, BuryRequest, RetryRequest, Sequel};
pub use inspect::{MissingRight, PostgresFacts, Twins};
pub use jobs::JobRow;
pub use join::{Joined, JoinedReplies};
pub use lengths::PictureNames;
pub use look::NextStep;
pub use migrate::{UnfitDatabase, migrate, pending};
pub use overview::{Figures, Spending, StateCount, Stuck};
pub use reconcile::{Adrift, JobVersion, KeptPackage};
pub use record::{PictureRecord, Recorded};
pub use reject::RejectRequest;
pub use release::Wait;
pub use story::{CallRow, ImageRow, LedgerRow, ShownRow, Story};
pub use tidy::{Chore, Retention};

/// How to reach Postgres; made by `config`.
#[derive(Clone, Debug)]
pub struct DbSettings {
    /// `DATABASE_URL`, as libpq reads it.
    pub url: SecretString,
    /// Connections at the most.
    pub pool_size: usize,
}

/// Whether a `DATABASE_URL` can be used, without connecting.
///
/// # Errors
/// Names the parameter and never the password.
pub fn check_url(url: &str) -> anyhow::Result<()> {
    address::target(url).map(|_| ())
}

/// Requests that share one statement at the most.
const MAX_BATCH: usize = 200;
/// After this long without an answer the database counts as unreachable.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The one way to the database. Cloning it is cheap.
#[derive(Clone)]
pub struct Db {
    pool: connect::Connections,
    look: Arc<Lane<look::LookRequest, NextStep>>,
    begin: Arc<Lane<Arc<BeginRequest>, Begun>>,
    intend: Arc<Lane<IntendRequest, Intended>>,
    intend_within: Arc<Lane<calls::WithinBudgets, Intended>>,
    note_call: Arc<Lane<CallNews, i64>>,
    record: Arc<Lane<Arc<PictureRecord>, Recorded>>,
    retry: Arc<Lane<RetryRequest, Option<u32>>>,
    bury: Arc<Lane<BuryRequest, Option<Buried>>>,
    reject: Arc<Lane<RejectRequest, Buried>>,
}

impl Db {
    /// Makes the pool, without connecting yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the URL cannot be used; the message names the parameter and never the password.
    pub fn new(settings: &DbSettings) -> anyhow::Result<Self> {
        let pool = connect::Way::of(settings)?.pool(settings.pool_size)?;
        Ok(Self {
            look: Lane::start(&pool, look::run),
            begin: Lane::start(&pool, begin::run),
            intend: Lane::start(&pool, calls::run_intend),
            intend_within: Lane::start(&pool, budgets::run_intend),
            note_call: Lane::start(&pool, calls::run_note),
            record: Lane::start(&pool, record::run_record),
            retry: Lane::start(&pool, fail::run_retry),
            bury: Lane::start(&pool, fail::run_bury),
            reject: Lane::start(&pool, reject::run),
            pool,
        })
    }

    /// How the pool of connections is used.
    #[must_use]
    pub fn pool_use(&self) -> PoolUse {
        let status = self.pool.pool.status();
        PoolUse {
            max: status.max_size,
            open: status.size,
            idle: status.available,
            waiting: status.waiting,
        }
    }

    /// Whether Postgres answers and takes writes, within two seconds. Returns when the server was started: another time
    /// is another server, or the same one anew, and may lack what the one before had confirmed.
    ///
    /// # Errors
    /// [`DbError::Unavailable`] or [`DbError::Demoted`], which say what is wrong.
    pub async fn check(&self) -> Result<DateTime<Utc>, DbError> {
        let ping = async |connection: &mut AsyncPgConnection| statement::ping(connection).await;
        statement::on_connection_within(Duration::from_secs(2), &self.pool, ping).await
    }

    /// The same, without the reason.
    pub async fn is_up(&self) -> bool {
        self.check().await.is_ok()
    }
}
