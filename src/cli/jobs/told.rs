//! A job's story in words: those of the log and of events.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::callbacks::{headline, target};
use super::super::text::{rfc3339, time, took};
use crate::db::{CallRow, DeadPackage, LedgerRow};
use crate::ops::words::Life;
use crate::plain_text::plain;

impl Life<'_> {
    /// The whole story.
    pub(super) fn tell(&self) -> String {
        let mut text = format!("{}\n", plain(&self.headline()));
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<9} {}", plain(value));
        };
        if let Some(shown) = &self.story.shown {
            let of = |value: &Option<Value>| value.as_ref().map(ToString::to_string);
            line(
                "row",
                &format!(
                    "progress {}, error {}, imageId {}",
                    shown
                        .progress
                        .map_or_else(|| "null".to_owned(), |p| p.to_string()),
                    shown.error.as_deref().unwrap_or("null"),
                    of(&shown.image_id).as_deref().unwrap_or("none"),
                ),
            );
            if let (Some(created), Some(updated)) = (shown.created_at, shown.updated_at) {
                line("made", &format!("{}, changed {}", time(created), time(updated)));
            }
        }
        if let Some(ledger) = &self.story.ledger {
            self.tell_ledger(ledger, &mut line);
        }
        line("cost", &self.cost_in_words());
        for call in &self.story.calls {
            tell_call(call, &mut text);
        }
        for package in self.dead {
            tell_dead(package, &mut text);
        }
        for row in &self.story.callbacks {
            let _ = writeln!(text, "{}", plain(&headline(row)));
            let _ = writeln!(text, "  {:<9} {}", "to", target(&row.url));
        }
        text
    }

    fn tell_ledger(&self, ledger: &LedgerRow, line: &mut impl FnMut(&str, &str)) {
        line(
            "state",
            &format!(
                "{}; failed attempts {}, deliveries {}, crashes {}",
                ledger.state, ledger.attempts, ledger.deliveries, ledger.crashes
            ),
        );
        line("begun", &time(ledger.begun_at));
        if let Some(owner) = self.owner {
            let lease = match owner.is_alive {
                Some(true) => "alive",
                Some(false) => "without a lease: another replica will take the job over",
                None => "whether it is alive cannot be told",
            };
            line("owner", &format!("{}, {lease}", owner.worker_id));
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
            line("next", &format!("{}{cure}", time(next)));
        }
        if let Some(finished) = ledger.finished_at {
            line("ended", &time(finished));
        }
        if let Some(class) = &ledger.error_class {
            line("class", class);
        }
        if let Some(details) = &ledger.error_details {
            line("details", details);
        }
        if let Some(provider) = &ledger.provider {
            let request = request(ledger.provider_request_id.as_deref());
            let model = ledger.model.as_deref().unwrap_or_default();
            line("drawn by", &format!("{provider} {model}{request}"));
        }
        if let Some(url) = &ledger.image_url {
            line("picture", url);
        }
        for key in ledger.object_keys.iter().flatten() {
            line("object", key);
        }
        if let Some(mark) = &ledger.provenance_mark {
            line("mark", mark);
        }
        match &self.story.image {
            Some(image) => {
                let owner = image
                    .user_id
                    .map_or_else(|| "nobody".to_owned(), |id| format!("user {id}"));
                let deleted = if image.deleted { ", deleted" } else { "" };
                line("image row", &format!("{}, of {owner}{deleted}", image.id));
            }
            None if ledger.image_id.is_some() => line("image row", "gone"),
            None => {}
        }
    }
}

fn request(id: Option<&str>) -> String {
    id.map(|id| format!(", request {id}")).unwrap_or_default()
}

fn tell_call(call: &CallRow, text: &mut String) {
    let took = took(Duration::try_from_secs_f64(call.took_s).unwrap_or_default());
    let class = call.error_class.as_deref().unwrap_or("no class");
    let outcome = match call.state.as_str() {
        "succeeded" => format!("succeeded after {took}"),
        "failed" => format!("failed after {took}: {class}"),
        "unknown" => format!("nobody knows what it brought, after {took}: {class}"),
        state => format!("{state}, open for {took}"),
    };
    let head = format!(
        "call {}: {} {}: {outcome}",
        call.call_no, call.provider, call.model
    );
    let _ = writeln!(text, "{}", plain(&head));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {}", plain(value));
    };
    line("sent", &format!("{} by {}", time(call.sent_at), call.worker_id));
    match call.ended_at {
        Some(ended) => line("ended", &time(ended)),
        None => line("deadline", &time(call.deadline_at)),
    }
    if let Some(id) = &call.provider_request_id {
        line("request", id);
    }
    if let Some(handle) = &call.handle {
        line("handle", handle);
    }
    if let Some(details) = &call.error_details {
        line("details", details);
    }
    if let Some(usd) = call.cost_usd {
        let basis = call.cost_basis.as_deref().unwrap_or("of unknown basis");
        line("cost", &format!("${usd:.4} ({basis})"));
    }
}

fn tell_dead(package: &DeadPackage, text: &mut String) {
    let attempts = match package.attempts {
        0 => "refused before any attempt".to_owned(),
        attempts => format!("attempt {attempts}"),
    };
    let _ = writeln!(
        text,
        "dead package {}: {attempts}: {}",
        package.id, package.error_class
    );
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {}", plain(value));
    };
    line(
        "dead at",
        &format!("{} by {}", time(package.dead_at), package.worker_id),
    );
    line("reason", &package.reason);
    if let Some(details) = &package.details {
        line("details", details);
    }
    if let Some(retried_at) = package.retried_at {
        line("retried", &time(retried_at));
    }
}

/// A dead package within a job's JSON.
pub(super) fn dead_json(package: &DeadPackage) -> Value {
    json!({
        "id": package.id,
        "errorClass": package.error_class,
        "reason": package.reason,
        "details": package.details,
        "attempts": package.attempts,
        "workerId": package.worker_id,
        "deadAt": rfc3339(package.dead_at),
        "retriedAt": package.retried_at.map(rfc3339),
    })
}
