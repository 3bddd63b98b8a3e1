//! The ends of jobs that are posted to a `callbackUrl`: who wants to be told is written down before anything is done for a job, and any
//! replica of the queue posts what is due.
//!
//! A crash at any point leaves the row of the outbox, which is due again when its lease ends; the receiver knows by the id what it has been
//! told before. Each receiver has so many posts open at once and no more, so that one that is slow or gone holds up nobody else's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::attempt::Attempts;
use super::joined::End;
use super::statements::Statements;
use crate::db::{CallbackSequel, DueCallback};
use crate::failure::Failure;
use crate::fault;
use crate::measure;
use crate::notify::{Message, Notifier, Verdict, next_try};
use crate::queue::Event;
use crate::trace::{self, TraceParent};
use crate::work_package::WorkPackage;

/// Posts to one receiver that a replica has open at once.
const PER_ORIGIN: usize = 8;
/// Between two looks for what is due, unless an attempt of this replica rings.
const LOOK: Duration = Duration::from_secs(1);
/// For so long a replica that stops waits for answers. What it does not hear is posted again, when its lease ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Attempts {
    /// Has the end of a job told to the URL of its package: when it ends, or now where it has ended. `again`: also where that URL has been
    /// told of this end already, as whoever pushes a package again wants to hear it. `false`: the ledger has forgotten the job.
    ///
    /// # Errors
    /// What Postgres says that does not take it.
    pub(super) async fn want_callback(&self, package: &WorkPackage, again: bool) -> Result<bool, Failure> {
        let Some(url) = &package.callback_url else {
            return Ok(true);
        };
        let (db, queue) = (&self.statements.db, self.queue.redis().keys().inbox());
        let told = trace::of_job().map(|parent| parent.as_str().to_owned());
        let wanted = self
            .statements
            .run(|| db.want_callback(package.job_id, url.expose(), queue, told.as_deref(), again))
            .await;
        self.callbacks_due.notify_one();
        wanted
    }

    /// The same of a job that is done, also where only the application's row says so.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn tell_done(
        &self,
        package: &WorkPackage,
        image: (Option<i32>, Option<&str>),
    ) -> Result<(), Failure> {
        if self.want_callback(package, true).await? {
            return Ok(());
        }
        let Some(url) = &package.callback_url else {
            return Ok(());
        };
        let (db, queue) = (&self.statements.db, self.queue.redis().keys().inbox());
        let told = trace::of_job().map(|parent| parent.as_str().to_owned());
        self.statements
            .run(|| db.tell_forgotten(package.job_id, url.expose(), queue, told.as_deref(), image))
            .await
    }
}

/// Posts what is due.
pub(super) struct Callbacks {
    pub(super) notifier: Notifier,
    pub(super) statements: Statements,
    /// Whose ends they are.
    pub(super) queue: String,
    /// Rung by attempts that have ended a job for which somebody waits.
    pub(super) due: Arc<Notify>,
}

impl Callbacks {
    /// Posts until `stop`, and waits a little for answers.
    pub(super) async fn run(self: Arc<Self>, stop: &CancellationToken) {
        let mut open = HashMap::new();
        let mut posts = JoinSet::new();
        while !stop.is_cancelled() {
            while let Some(ended) = posts.try_join_next_with_id() {
                open.remove(&id_of(ended));
            }
            for due in self.claim(&open).await {
                let (this, origin) = (self.clone(), due.origin.clone());
                let post = posts.spawn(async move { this.tell(&due).await });
                open.insert(post.id(), origin);
            }
            tokio::select! {
                Some(ended) = posts.join_next_with_id() => { open.remove(&id_of(ended)); }
                () = self.due.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => {}
            }
        }
        let all_heard = async { while posts.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, all_heard).await;
    }

    async fn claim(&self, open: &HashMap<tokio::task::Id, String>) -> Vec<DueCallback> {
        let mut room = Vec::new();
        for origin in self.notifier.origins() {
            let taken = open.values().filter(|other| *other == origin).count();
            let free = PER_ORIGIN.saturating_sub(taken);
            if free > 0 {
                room.push((origin.to_owned(), i32::try_from(free).unwrap_or(i32::MAX)));
            }
        }
        if room.is_empty() {
            return Vec::new();
        }
        // Whether Postgres answers is for others to say.
        let due = self.statements.db.due_callbacks(&self.queue, &room).await;
        due.unwrap_or_default()
    }

    async fn tell(&self, due: &DueCallback) {
        let body = body_of(&event_of(due));
        let span = tracing::info_span!(
            target: trace::TARGET,
            "callback",
            otel.name = "POST callback",
            otel.kind = "client",
            http.request.method = "POST",
            server.address = due.origin,
            job.id = due.job_id,
        );
        let parent = due.traceparent.as_deref().and_then(TraceParent::parse);
        let parent = trace::go_on(&span, parent.as_ref());
        let message = Message {
            id: due.id,
            url: &due.url,
            body: &body,
            traceparent: parent.as_ref().map(TraceParent::as_str),
        };
        let verdict = self.notifier.post(&message).instrument(span.clone()).await;
        if let Verdict::Failed { .. } = &verdict {
            trace::fail(&span, "not_delivered");
        }
        fault::point("posted");
        let tries = u32::try_from(due.tries).unwrap_or_default() + 1;
        let (sequel, status, why) = match verdict {
            Verdict::Delivered(status) => (CallbackSequel::Delivered, Some(status), None),
            Verdict::Failed {
                status,
                why,
                is_final,
                retry_after,
            } => {
                let pause = next_try(tries, retry_after, &mut rand::rng()).filter(|_| !is_final);
                let sequel = pause.map_or(CallbackSequel::Failed, CallbackSequel::Again);
                (sequel, status, Some(why))
            }
        };
        let db = &self.statements.db;
        let settled = self
            .statements
            .run(|| db.settle_callback(due, &sequel, status, why.as_deref()))
            .await;
        match settled {
            Ok(Some(state)) => count_and_log(due, &state, &sequel, tries, why.as_deref()),
            // It took longer than the lease: whoever has it now says what came of it.
            Ok(None) => {}
            Err(refused) => tracing::error!(
                callback_id = %due.id,
                details = refused.details,
                "what came of a callback cannot be recorded; it is posted again"
            ),
        }
    }
}

fn id_of<T>(ended: Result<(tokio::task::Id, T), tokio::task::JoinError>) -> tokio::task::Id {
    match ended {
        Ok((id, _)) => id,
        // It is due again when its lease ends.
        Err(error) => error.id(),
    }
}

/// The URL is in no log: its path and query may be secret.
fn count_and_log(due: &DueCallback, state: &str, sequel: &CallbackSequel, tries: u32, why: Option<&str>) {
    let DueCallback {
        id, job_id, origin, ..
    } = due;
    let job_id = job_id.unwrap_or_default();
    let why = why.unwrap_or_default();
    let outcome = match (state, sequel) {
        ("delivered", _) => {
            tracing::info!(callback_id = %id, tries, "the end of job {job_id} was told to {origin}");
            "delivered"
        }
        ("waiting", CallbackSequel::Again(pause)) => {
            tracing::info!(
                callback_id = %id,
                "try {tries} to tell {origin} of the end of job {job_id} failed, next in {pause:.0?}: {why}"
            );
            "retried"
        }
        ("failed", _) => {
            tracing::warn!(
                callback_id = %id,
                "{origin} is not told of the end of job {job_id}, after {tries} tries: {why}. When it is mended, run \
                 generative-ai-worker callbacks retry {id}"
            );
            "failed"
        }
        _ => {
            tracing::info!(callback_id = %id, "job {job_id} has ended anew, and {origin} is told of that end: {why}");
            "superseded"
        }
    };
    measure::CALLBACKS.count(1, &[("outcome", outcome)]);
}

fn event_of(due: &DueCallback) -> Event {
    let end = End {
        job_id: due.job_id,
        state: &due.outcome,
        image_id: due.image_id,
        image_url: due.image_url.as_deref(),
        error_class: due.error_class.as_deref(),
        error_message: due.error_message.as_deref(),
    };
    end.event().at(due.ended_at)
}

/// The event, and what receivers of webhooks look for first.
///
/// Source: Standard Webhooks specification, "Payload structure".
fn body_of(event: &Event) -> String {
    let mut body = serde_json::to_value(event).expect("an event has text keys only");
    let kind = format!("job.{}", body["status"].as_str().unwrap_or_default());
    let at = body["at"].clone();
    body["type"] = Value::from(kind);
    body["timestamp"] = at;
    body.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_body_is_the_event_with_the_type_and_the_time_that_receivers_look_for() {
        let ended_at = "2026-11-30T10:00:00.123Z";
        let event = Event::completed(42, 7, "https://h/x.png".to_owned()).at(ended_at.parse().unwrap());
        let body: Value = serde_json::from_str(&body_of(&event)).unwrap();
        assert_eq!(
            body,
            json!({"type": "job.completed", "timestamp": ended_at, "jobId": 42, "status": "completed", "progress": 100,
                "imageId": 7, "imageUrl": "https://h/x.png", "at": ended_at})
        );
    }
}
