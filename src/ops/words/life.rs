//! How a job stands, in one sentence, and what it has cost.

use super::age_of_seconds;
use crate::db::{Db, DbError, Story};
use crate::failure::{ErrorClass, without_advice};
use crate::plain_text::plain;
use crate::queue::{Redis, TakenOver};

/// Who works on a job.
pub(crate) struct Owner {
    pub(crate) worker_id: String,
    /// Whether it holds its lease, or why Redis cannot be asked.
    pub(crate) is_alive: anyhow::Result<bool>,
}

/// All that is known of a job.
pub(crate) struct Life {
    pub(crate) job_id: i32,
    pub(crate) story: Story,
    pub(crate) owner: Option<Owner>,
    /// Where its package came from, as far as Redis can be asked and knows.
    pub(crate) origin: Option<TakenOver>,
}

/// What a job's calls have cost.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TotalCost {
    pub(crate) usd: f64,
    /// Calls that are open, or of which nobody knows what they brought: they may be billed.
    pub(crate) unknown: usize,
}

impl Life {
    /// Reads it. `None`: nobody knows such a job.
    ///
    /// # Errors
    /// [`DbError`].
    pub(crate) async fn find(job_id: i32, db: &Db, redis: &Redis) -> Result<Option<Self>, DbError> {
        let story = db.story(job_id).await?;
        if story.shown.is_none()
            && story.ledger.is_none()
            && story.dead.is_empty()
            && story.callbacks.is_empty()
        {
            return Ok(None);
        }
        let owner = match story.ledger.as_ref().filter(|row| row.state == "begun") {
            Some(row) => {
                let worker_id = row.worker_id.clone().unwrap_or_default();
                let is_alive = redis.has_lease(&worker_id).await.map_err(Into::into);
                Some(Owner { worker_id, is_alive })
            }
            None => None,
        };
        let origin = redis.origin_of(job_id).await.ok().flatten();
        Ok(Some(Self {
            job_id,
            story,
            owner,
            origin,
        }))
    }

    /// How it stands, in one sentence.
    pub(crate) fn headline(&self) -> String {
        let job_id = self.job_id;
        let Some(ledger) = &self.story.ledger else {
            let shown = self.story.shown.as_ref();
            if let Some(image_id) = shown.and_then(|row| row.image_id.as_ref())
                && shown.is_some_and(|row| row.progress == Some(100))
            {
                return format!(
                    "job {job_id} is done: image {image_id}; the ledger has forgotten it (JOBS_RETENTION)"
                );
            }
            return match shown.and_then(|row| row.error.as_deref()) {
                Some(error) => format!("job {job_id} failed before it was begun: {}", plain(error)),
                None if shown.is_none() => {
                    format!("job {job_id} has no row in ac_background_jobs; only refused packages name it")
                }
                None => format!("no replica has begun job {job_id}: its package waits, or was never pushed"),
            };
        };
        let reason = plain(ledger.error_message.as_deref().unwrap_or("no reason is known"));
        match ledger.state.as_str() {
            "waiting" => format!("job {job_id} waits for a replica"),
            "begun" => format!(
                "job {job_id} is being worked on, in attempt {}",
                ledger.attempts + 1
            ),
            "retry_wait" if ledger.error_class.as_deref() == Some(ErrorClass::OverBudget.as_str()) => {
                format!("job {job_id} waits: {reason}")
            }
            "retry_wait" => {
                let due_in = ledger.due_in_s.unwrap_or_default();
                let due = match due_in > 0.0 {
                    true => format!("next in {}", age_of_seconds(due_in)),
                    false => {
                        "next as soon as its provider is called and a replica is free (see status)".to_owned()
                    }
                };
                let reason = without_advice(&reason);
                match ledger.attempts {
                    0 => format!("job {job_id} is looked at again, {due}: {reason}"),
                    failed => format!("attempt {failed} of job {job_id} failed, {due}: {reason}"),
                }
            }
            "held" => format!(
                "job {job_id} is held: decide whether another picture may be bought, then run generative-ai-worker jobs release {job_id}"
            ),
            "done" => {
                let image = match ledger.image_id {
                    Some(image_id) => format!("image {image_id}"),
                    None => "a picture".to_owned(),
                };
                // Only a job that has made its picture has objects.
                let deleted = if ledger.object_keys.is_none() {
                    " is deleted"
                } else {
                    ""
                };
                format!("job {job_id} is done: {image}{deleted}")
            }
            "dead" => format!(
                "job {job_id} failed for good in attempt {}: {reason}",
                ledger.attempts
            ),
            other => format!("job {job_id} is {other}"),
        }
    }

    pub(crate) fn cost(&self) -> TotalCost {
        let mut total = TotalCost::default();
        for call in &self.story.calls {
            match call.cost_usd {
                Some(usd) => total.usd += usd,
                None if call.state != "failed" => total.unknown += 1,
                None => {}
            }
        }
        total
    }

    /// The same in words.
    pub(crate) fn cost_in_words(&self) -> String {
        let calls = self.story.calls.len();
        if calls == 0 {
            return "nothing was bought".to_owned();
        }
        let TotalCost { usd, unknown } = self.cost();
        let calls = match calls {
            1 => "1 call".to_owned(),
            calls => format!("{calls} calls"),
        };
        match unknown {
            0 => format!("${usd:.4} for {calls}"),
            unknown => format!("${usd:.4} for {calls}, and what {unknown} of them may still be billed"),
        }
    }
}
