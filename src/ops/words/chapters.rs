//! The story of a job in facts and chapters, for commands and for the page: those are the words of the log and of events.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::callback::{headline, target};
use super::{Life, time, took};
use crate::db::{CallRow, CallbackRow, DeadPackage, LedgerRow};
use crate::queue::TakenOver;

/// What has a name, in the order in which it is told.
pub(crate) type Facts = Vec<(&'static str, String)>;

/// Something that has happened to a job, with what is known of it.
pub(crate) struct Chapter {
    pub(crate) at: DateTime<Utc>,
    pub(crate) tone: Tone,
    pub(crate) title: String,
    pub(crate) facts: Facts,
}

/// How it has come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Neither,
    Good,
    Bad,
    /// That is not known yet.
    Open,
}

impl Life {
    /// How the job stands, part by part.
    pub(crate) fn facts(&self) -> Facts {
        let mut facts = Facts::new();
        if let Some(shown) = &self.story.shown {
            let of = |value: &Option<Value>| value.as_ref().map(ToString::to_string);
            facts.push((
                "row",
                format!(
                    "progress {}, error {}, imageId {}",
                    shown
                        .progress
                        .map_or_else(|| "null".to_owned(), |p| p.to_string()),
                    shown.error.as_deref().unwrap_or("null"),
                    of(&shown.image_id).as_deref().unwrap_or("none"),
                ),
            ));
            if let (Some(created), Some(updated)) = (shown.created_at, shown.updated_at) {
                facts.push(("made", format!("{}, changed {}", time(created), time(updated))));
            }
        }
        if let Some(ledger) = &self.story.ledger {
            self.tell_ledger(ledger, &mut facts);
            facts.extend(self.waits.as_ref().map(|waits| ("package", waits.in_words())));
        }
        facts.push(("cost", self.cost_in_words()));
        facts
    }

    /// Where its package came from, each call that cost money, each end without a picture, and who was told.
    pub(crate) fn chapters(&self) -> Vec<Chapter> {
        let story = &self.story;
        let origin = self.origin.iter().map(of_origin);
        origin
            .chain(story.calls.iter().map(of_call))
            .chain(story.dead.iter().map(of_dead))
            .chain(story.callbacks.iter().map(of_callback))
            .collect()
    }

    fn tell_ledger(&self, ledger: &LedgerRow, facts: &mut Facts) {
        facts.push((
            "state",
            format!(
                "{}; failed attempts {}, deliveries {}, crashes {}",
                ledger.state, ledger.attempts, ledger.deliveries, ledger.crashes
            ),
        ));
        if ledger.deliveries > 0 {
            facts.push(("begun", time(ledger.begun_at)));
        }
        if let Some(owner) = &self.owner {
            let lease = match owner.is_alive {
                Ok(true) => "alive",
                Ok(false) => "without a lease: another replica will take the job over",
                Err(_) => "whether it is alive cannot be told",
            };
            facts.push(("owner", format!("{}, {lease}", owner.worker_id)));
        }
        if let Some(next) = ledger.next_attempt_at.filter(|_| ledger.state == "retry_wait") {
            // What is due and not worked on waits for something else than its time.
            let cure = match ledger.due_in_s.is_some_and(|due_in| due_in > 0.0) {
                true => format!(
                    "; generative-ai-worker jobs release {} ends the wait",
                    self.job_id
                ),
                false => String::new(),
            };
            facts.push(("next", format!("{}{cure}", time(next))));
        }
        let drawn_by = ledger.provider.as_ref().map(|provider| {
            let request = ledger.provider_request_id.as_ref();
            let request = request.map(|id| format!(", request {id}")).unwrap_or_default();
            let model = ledger.model.as_deref().unwrap_or_default();
            format!("{provider} {model}{request}")
        });
        for (name, value) in [
            ("ended", ledger.finished_at.map(time)),
            ("class", ledger.error_class.clone()),
            ("details", ledger.error_details.clone()),
            ("drawn by", drawn_by),
            ("picture", ledger.image_url.clone()),
        ] {
            facts.extend(value.map(|value| (name, value)));
        }
        let objects = ledger.object_keys.iter().flatten();
        facts.extend(objects.map(|key| ("object", key.clone())));
        facts.extend(ledger.provenance_mark.clone().map(|mark| ("mark", mark)));
        match &self.story.image {
            Some(image) => {
                let owner = image
                    .user_id
                    .map_or_else(|| "nobody".to_owned(), |id| format!("user {id}"));
                let deleted = if image.deleted { ", deleted" } else { "" };
                facts.push(("image row", format!("{}, of {owner}{deleted}", image.id)));
            }
            None if ledger.image_id.is_some() => facts.push(("image row", "gone".to_owned())),
            None => {}
        }
    }
}

fn of_origin(origin: &TakenOver) -> Chapter {
    let mut facts = vec![
        ("added", time(origin.added_at)),
        ("taken", time(origin.taken_at)),
        ("named", origin.name.clone()),
        ("priority", origin.priority.to_string()),
    ];
    if origin.attempts_made > 0 {
        facts.push((
            "tried",
            format!("{} times before, in BullMQ", origin.attempts_made),
        ));
    }
    Chapter {
        at: origin.added_at,
        tone: Tone::Neither,
        title: format!("BullMQ job {} of {}", origin.id, origin.queue),
        facts,
    }
}

fn of_call(call: &CallRow) -> Chapter {
    let took = took(Duration::try_from_secs_f64(call.took_s).unwrap_or_default());
    let class = call.error_class.as_deref().unwrap_or("no class");
    let (tone, outcome) = match call.state.as_str() {
        "succeeded" => (Tone::Good, format!("succeeded after {took}")),
        "failed" => (Tone::Bad, format!("failed after {took}: {class}")),
        "unknown" => (
            Tone::Bad,
            format!("nobody knows what it brought, after {took}: {class}"),
        ),
        state => (Tone::Open, format!("{state}, open for {took}")),
    };
    let mut facts = vec![("sent", format!("{} by {}", time(call.sent_at), call.worker_id))];
    facts.push(match call.ended_at {
        Some(ended) => ("ended", time(ended)),
        None => ("deadline", time(call.deadline_at)),
    });
    let cost = call.cost_usd.map(|usd| {
        let basis = call.cost_basis.as_deref().unwrap_or("of unknown basis");
        format!("${usd:.4} ({basis})")
    });
    for (name, value) in [
        ("request", call.provider_request_id.clone()),
        ("handle", call.handle.clone()),
        ("details", call.error_details.clone()),
        ("cost", cost),
    ] {
        facts.extend(value.map(|value| (name, value)));
    }
    Chapter {
        at: call.sent_at,
        tone,
        title: format!(
            "call {}: {} {}: {outcome}",
            call.call_no, call.provider, call.model
        ),
        facts,
    }
}

fn of_dead(package: &DeadPackage) -> Chapter {
    let attempts = match package.attempts {
        0 => "refused before any attempt".to_owned(),
        attempts => format!("attempt {attempts}"),
    };
    let mut facts = vec![
        (
            "dead at",
            format!("{} by {}", time(package.dead_at), package.worker_id),
        ),
        ("reason", package.reason.clone()),
    ];
    facts.extend(package.details.clone().map(|details| ("details", details)));
    facts.extend(package.retried_at.map(|at| ("retried", time(at))));
    Chapter {
        at: package.dead_at,
        tone: Tone::Bad,
        title: format!("dead package {}: {attempts}: {}", package.id, package.error_class),
        facts,
    }
}

fn of_callback(row: &CallbackRow) -> Chapter {
    Chapter {
        at: row.ended_at,
        tone: match row.state.as_str() {
            "delivered" => Tone::Good,
            "failed" => Tone::Bad,
            "waiting" => Tone::Open,
            _ => Tone::Neither,
        },
        title: headline(row),
        facts: vec![("to", target(&row.url))],
    }
}
