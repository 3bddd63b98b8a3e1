//! What a generator needs of the ledger of paid calls. The worker keeps it, in Postgres.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::provider::ProviderError;
use crate::provider::policy::resend::Verdict;

/// A call of an earlier attempt that has not ended: its picture may be on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCall {
    /// Counts the calls of the job from 1.
    pub call_no: i32,
    /// Who was asked.
    pub provider: String,
    /// For which model.
    pub model: String,
    /// What the provider can be asked for the picture by.
    pub handle: Option<String>,
    /// How long whoever made the call may still wait for it.
    pub patience: Duration,
    /// How long ago it was made.
    pub age: Duration,
}

/// A call that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Intent<'a> {
    /// Who is to draw.
    pub provider: &'a str,
    /// With which model.
    pub model: &'a str,
    /// About what it will cost, in US dollars; `None`: nobody knows.
    pub estimate_usd: Option<f64>,
    /// Nobody waits for the picture any longer than this.
    pub deadline: Instant,
}

/// Why an attempt ends without an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// It has failed, and what was asked of a provider with it.
    Failed(Failure),
    /// A provider has the order and has not ended it. The next attempt asks for the picture again, by the provider's id:
    /// nothing has failed, and nothing may be bought meanwhile.
    CallGoesOn {
        /// What was wrong when it was last asked about.
        failure: Failure,
        /// How long ago it was ordered.
        age: Duration,
    },
    /// Whoever made an earlier call may still be waiting for its picture, for this long at most.
    OthersWait(Duration),
    /// Nothing was bought, and what kept it from being bought may be over at once.
    NotSent,
    /// Nothing was bought, as a budget is spent.
    OverBudget {
        /// What people are told, and for how long it is at the most.
        failure: Failure,
        /// Which.
        budget: String,
    },
    /// Nobody may be asked now: the provider wants a pause of this length, or is broken.
    OutOfReach(Duration),
    /// An operator has to decide whether another picture may be bought.
    Held(Failure),
    /// The job is another replica's, or has an open call that this attempt did not know of.
    Lost,
}

impl<E: Into<Failure>> From<E> for Unfinished {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Whether a provider may be called now, and who learns how a call has ended. One for each attempt.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Takes room for one call, before it is made. What is open at once is taken until the attempt ends.
    ///
    /// # Errors
    /// How long to wait.
    async fn enter(&self, provider: &str) -> Result<(), Duration>;

    /// The call that was let through last is not made: it is not to count as one.
    fn not_made(&self, provider: &str);

    /// The attempt waits for the picture of an earlier call: until it enters again, no call of its is counted.
    async fn only_waits(&self);

    /// Notes how a call has ended that was let through and took so long, for all who call this provider, and with which `reason`, where
    /// it has failed. Returns for how long
    /// the provider had been shut already, if it was: then nobody else calls it, and the attempt may wait as they do.
    async fn report(
        &self,
        provider: &str,
        verdict: Verdict,
        reason: &str,
        took: Duration,
    ) -> Option<Duration>;

    /// How many times in a row the provider has failed, whoever asked.
    fn faults(&self, provider: &str) -> u32;
}

/// Where calls that cost money are written down. One for each attempt.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Commits that a call is about to be made, and returns its number. Nothing may be spent before, nor what no budget has.
    ///
    /// # Errors
    /// [`Unfinished::Lost`] when this replica may not spend money on the job, [`Unfinished::NotSent`] when the commit has taken
    /// so long that the call is better not made. Neither leaves a call open.
    async fn intend(&self, intent: Intent<'_>) -> Result<i32, Unfinished>;

    /// Commits the handle of a call that a provider has accepted.
    async fn accepted(&self, call_no: i32, handle: &str);

    /// Whether a call that was made lately has this handle.
    ///
    /// # Errors
    /// [`Unfinished::Failed`] when the ledger cannot say.
    async fn is_known(&self, provider: &str, handle: &str) -> Result<bool, Unfinished>;

    /// Writes down that a call brought no picture: another may be made, by whoever owns the job then.
    async fn failed(&self, call_no: i32, error: &ProviderError);

    /// Writes down that nobody will ever know what a call has brought. `Ok`: another may be bought.
    ///
    /// # Errors
    /// [`Unfinished::Failed`] or [`Unfinished::Held`], as `UNKNOWN_OUTCOME` says.
    async fn outcome_unknown(&self, call_no: i32, error: &ProviderError) -> Result<(), Unfinished>;

    /// Writes down that nobody waits for the answer of a call any more, which may still be found out.
    async fn unanswered(&self, call_no: i32, error: &ProviderError);

    /// How an attempt ends whose call has gone on for too long, as `failure` says. The call stays open.
    fn followed_too_long(&self, failure: Failure) -> Unfinished;
}
