//! How a job stands, in one sentence, and what it has cost.

use chrono::DateTime;

use super::provider::now_of;
use super::{age_of_seconds, counted, time};
use crate::db::{CallRow, Db, DbError, Story};
use crate::failure::{ErrorClass, without_advice};
use crate::plain_text::plain;
use crate::provider::list::PROVIDERS;
use crate::queue::{Place, Placed, ProviderState, Redis, SUSPECTS, TakenOver};
use crate::worker::parked_for;

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
    /// Where its package is, of a job that waits.
    pub(crate) waits: Option<Waits>,
}

/// What a job waits for.
pub(crate) struct Waits {
    pub(crate) placed: Placed,
    /// Whether replicas take nothing meanwhile.
    is_paused: bool,
    /// How it stands with the provider that its package is parked for, where that is left alone or tried again.
    provider: Option<ProviderState>,
}

/// What a job's calls have cost.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TotalCost {
    pub(crate) usd: f64,
    /// Calls that are open, or of which nobody knows what they brought, or it could not be used: they may be billed.
    pub(crate) unknown: usize,
}

impl Waits {
    /// Looks for the package. `None`: it is nowhere, or among more than are looked at.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn find(job_id: i32, redis: &Redis) -> anyhow::Result<Option<Self>> {
        let parked_for = parked_for(PROVIDERS.into_iter());
        let Some(placed) = redis.place_of(job_id, &parked_for).await? else {
            return Ok(None);
        };
        let provider = match &placed.place {
            Place::Parked { name } if PROVIDERS.contains(&&**name) => {
                let state = redis.provider_states(&[name]).await?.remove(name);
                // One that has failed and is called all the same has no room.
                state.filter(|state| state.is_shut() || state.window.is_some())
            }
            _ => None,
        };
        let is_paused = redis.paused_by().await?.is_some();
        Ok(Some(Self {
            placed,
            is_paused,
            provider,
        }))
    }

    /// What ends this wait where it is one for many jobs, so that no single job can be let go of it.
    pub(crate) fn shared_end(&self) -> Option<String> {
        match &self.placed.place {
            Place::Parked { name } if name == SUSPECTS => {
                Some("it is tried when no other such package is".to_owned())
            }
            Place::Parked { name } if self.provider.is_some() => Some(format!(
                "generative-ai-worker providers resume {name} ends that for all"
            )),
            Place::Parked { .. } => Some("it goes on as soon as there is room".to_owned()),
            Place::OverBudget { .. } => {
                Some("it goes on with the next day or month, or with more in BUDGETS".to_owned())
            }
            Place::Waiting { .. } | Place::Delayed { .. } | Place::InHand { .. } => None,
        }
    }

    /// To stand behind "its package".
    pub(crate) fn in_words(&self) -> String {
        let paused = match self.is_paused {
            true => ", and the queue is paused (generative-ai-worker resume ends that)",
            false => "",
        };
        match &self.placed.place {
            Place::Waiting { list, before: 0 } => format!("is among the next of the list {list}{paused}"),
            Place::Waiting { list, before } => {
                let others = counted(*before, "other", "others");
                format!("waits on the list {list}, behind {others}{paused}")
            }
            Place::Delayed { until_ms } => match DateTime::from_timestamp_millis(*until_ms) {
                Some(until) => format!("waits until {}", time(until)),
                None => "waits for a time".to_owned(),
            },
            Place::Parked { name } if name == SUSPECTS => {
                "was with a replica when that crashed, and waits until it may be tried by itself".to_owned()
            }
            Place::Parked { name } => match (name.strip_prefix("type/"), &self.provider) {
                (Some(work_type), _) => {
                    format!("waits until another {work_type} may begin (WORK_TYPE_LIMITS)")
                }
                (None, Some(state)) => format!("waits for {name}: {}", now_of(state)),
                (None, None) => format!("waits until {name} has room for another call"),
            },
            Place::OverBudget { budget } => format!("waits for money of the budget {budget}"),
            Place::InHand { worker_id } => format!("is with {worker_id}, which begins it"),
        }
    }
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
        let may_wait = match (&story.ledger, &story.shown) {
            (Some(ledger), _) => matches!(ledger.state.as_str(), "waiting" | "retry_wait"),
            (None, Some(shown)) => shown.error.is_none() && shown.progress != Some(100),
            (None, None) => false,
        };
        let waits = match may_wait {
            true => Waits::find(job_id, redis).await.ok().flatten(),
            false => None,
        };
        Ok(Some(Self {
            job_id,
            story,
            owner,
            origin,
            waits,
        }))
    }

    /// The package of a job that waits, as it was pushed.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn package_in_queue(job_id: i32, redis: &Redis) -> anyhow::Result<Option<Vec<u8>>> {
        let waits = Waits::find(job_id, redis).await?;
        Ok(waits.map(|waits| waits.placed.package))
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
                Some(error) if self.story.dead.is_empty() => format!(
                    "job {job_id} failed, and the ledger does not know why (JOBS_RETENTION): {}",
                    plain(error)
                ),
                Some(error) => format!("job {job_id} failed before it was begun: {}", plain(error)),
                None if shown.is_none() => {
                    format!("job {job_id} has no row in ac_background_jobs; only refused packages name it")
                }
                None => match &self.waits {
                    Some(waits) => format!(
                        "no replica has begun job {job_id}: its package {}",
                        waits.in_words()
                    ),
                    None => {
                        format!("no replica has begun job {job_id}: its package waits, or was never pushed")
                    }
                },
            };
        };
        let reason = plain(ledger.error_message.as_deref().unwrap_or("no reason is known"));
        match ledger.state.as_str() {
            "waiting" => match &self.waits {
                Some(waits) => format!(
                    "job {job_id} waits for a replica: its package {}",
                    waits.in_words()
                ),
                None => format!("job {job_id} waits for a replica"),
            },
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
                    false => match &self.waits {
                        Some(waits) => {
                            format!("next when its turn comes, as its package {}", waits.in_words())
                        }
                        None => "next as soon as its provider is called and a replica is free (see status)"
                            .to_owned(),
                    },
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
                let is_gone = self.story.image.as_ref().is_some_and(|image| image.deleted);
                let deleted = match ledger.object_keys {
                    None => " is deleted",
                    Some(_) if is_gone => ", which was deleted since",
                    Some(_) => "",
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
                None if call.state != "failed" || is_unused(call) => total.unknown += 1,
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

/// Whether it brought what could not be used.
fn is_unused(call: &CallRow) -> bool {
    let class = call.error_class.as_deref().unwrap_or_default();
    [ErrorClass::BadOutput, ErrorClass::BadImage]
        .iter()
        .any(|unused| unused.as_str() == class)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A job without a row in the ledger.
    fn forgotten(shown: Value, dead: Value) -> Life {
        let story = json!({"shown": shown, "calls": [], "dead": dead, "callbacks": []});
        Life {
            job_id: 7,
            story: serde_json::from_value(story).unwrap(),
            owner: None,
            origin: None,
            waits: None,
        }
    }

    #[test]
    fn a_job_that_the_ledger_does_not_know_is_told_of_by_its_row() {
        for (shown, expected) in [
            (
                json!({"progress": 100, "image_id": 3}),
                "job 7 is done: image 3; the ledger has forgotten it (JOBS_RETENTION)",
            ),
            (
                json!({"progress": 40, "error": "the prompt was refused"}),
                "job 7 failed, and the ledger does not know why (JOBS_RETENTION): the prompt was refused",
            ),
            (
                json!({"progress": 5}),
                "no replica has begun job 7: its package waits, or was never pushed",
            ),
            (
                Value::Null,
                "job 7 has no row in ac_background_jobs; only refused packages name it",
            ),
        ] {
            assert_eq!(forgotten(shown, json!([])).headline(), expected);
        }
    }

    fn at(place: Place, provider: Option<ProviderState>) -> Waits {
        Waits {
            placed: Placed {
                place,
                package: Vec::new(),
            },
            is_paused: false,
            provider,
        }
    }

    #[test]
    fn only_a_wait_of_one_job_alone_can_be_ended_for_it() {
        let parked = |name: &str| Place::Parked {
            name: name.to_owned(),
        };
        let alone = [
            Place::Waiting {
                list: "normal",
                before: 2,
            },
            Place::Delayed { until_ms: 1 },
            Place::InHand {
                worker_id: "worker".to_owned(),
            },
        ];
        for place in alone {
            assert_eq!(at(place, None).shared_end(), None);
        }
        let shared = [
            (parked(SUSPECTS), None, "when no other such package is"),
            (parked("openai"), None, "as soon as there is room"),
            (
                parked("openai"),
                Some(ProviderState::default()),
                "providers resume openai",
            ),
            (parked("type/collection-image"), None, "as soon as there is room"),
            (
                Place::OverBudget {
                    budget: "group/9".to_owned(),
                },
                None,
                "more in BUDGETS",
            ),
        ];
        for (place, provider, expected) in shared {
            let end = at(place, provider).shared_end().unwrap();
            assert!(end.contains(expected), "{end}");
        }
    }
}
