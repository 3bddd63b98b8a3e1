//! What the event channel, reply lists and callbacks say about a job.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::failure::{ErrorClass, Failure};

/// What happened to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// An attempt has begun.
    Started,
    /// The job has come further.
    Progress,
    /// The picture is there, or is deleted as the package has asked.
    Completed,
    /// The job has failed for good.
    Failed,
    /// The attempt has failed and there will be another.
    Retrying,
    /// Somebody has ended the job.
    Cancelled,
}

/// One change of a job, in the words of the job row.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    job_id: Option<i32>,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_id: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_class: Option<ErrorClass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    at: String,
    /// The channel has it already.
    #[serde(skip)]
    is_told: bool,
}

impl Event {
    fn new(job_id: Option<i32>, status: Status) -> Self {
        Self {
            job_id,
            status,
            progress: None,
            image_id: None,
            image_url: None,
            error: None,
            error_class: None,
            attempt: None,
            at: in_text(Utc::now()),
            is_told: false,
        }
    }

    /// The attempt with this number, counted from 1, has begun.
    #[must_use]
    pub fn started(job_id: i32, attempt: u32) -> Self {
        Self {
            progress: Some(10),
            attempt: Some(attempt),
            ..Self::new(Some(job_id), Status::Started)
        }
    }

    /// The job has come to `percent`.
    #[must_use]
    pub fn progress(job_id: i32, percent: u8) -> Self {
        Self {
            progress: Some(percent),
            ..Self::new(Some(job_id), Status::Progress)
        }
    }

    /// Somebody has ended the job.
    #[must_use]
    pub fn cancelled(job_id: i32, message: String) -> Self {
        Self {
            error: Some(message),
            error_class: Some(ErrorClass::Cancelled),
            ..Self::new(Some(job_id), Status::Cancelled)
        }
    }

    /// The picture is there, or is deleted. Of one that is there both are known.
    #[must_use]
    pub fn completed(
        job_id: i32,
        image_id: impl Into<Option<i32>>,
        image_url: impl Into<Option<String>>,
    ) -> Self {
        Self {
            progress: Some(100),
            image_id: image_id.into(),
            image_url: image_url.into(),
            ..Self::new(Some(job_id), Status::Completed)
        }
    }

    /// The job, or the package of no readable job, has failed for good.
    #[must_use]
    pub fn failed(job_id: Option<i32>, class: ErrorClass, message: String) -> Self {
        Self {
            error: Some(message),
            error_class: Some(class),
            ..Self::new(job_id, Status::Failed)
        }
    }

    /// The attempt with this number has failed and there will be another.
    #[must_use]
    pub fn retrying(job_id: i32, attempt: u32, failure: &Failure) -> Self {
        Self {
            error: Some(failure.message_while_retried()),
            error_class: Some(failure.class),
            attempt: Some(attempt),
            ..Self::new(Some(job_id), Status::Retrying)
        }
    }

    /// The same for reply lists alone: the channel has been told, by the command that has ended the job.
    #[must_use]
    pub fn for_replies(self) -> Self {
        Self {
            is_told: true,
            ..self
        }
    }

    /// The same at another time: when it happened, where that is told later.
    #[must_use]
    pub fn at(self, time: DateTime<Utc>) -> Self {
        Self {
            at: in_text(time),
            ..self
        }
    }

    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// The JSON that subscribers get.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event has text keys only")
    }
}

fn in_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn without_time(event: &Event) -> Value {
        let mut value: Value = serde_json::from_str(&event.to_json()).unwrap();
        assert!(value["at"].as_str().unwrap().ends_with('Z'));
        value.as_object_mut().unwrap().remove("at");
        value
    }

    /// One of each status, with a job.
    fn all() -> Vec<Event> {
        let failure = Failure::new(
            ErrorClass::Overloaded,
            "It is overloaded. Start the job again in some minutes.",
        );
        vec![
            Event::started(42, 2),
            Event::progress(42, 20),
            Event::retrying(42, 2, &failure),
            Event::completed(42, 7, "https://h/x.png".to_owned()),
            Event::failed(Some(42), ErrorClass::Moderation, "no".to_owned()),
            Event::cancelled(42, "Cancelled by anna.".to_owned()),
        ]
    }

    #[test]
    fn producers_find_every_status_and_its_fields_in_their_manual() {
        let manual = include_str!("../../docs/reference/events.md");
        let rows: Vec<Vec<&str>> = manual
            .lines()
            .filter(|line| line.starts_with("| `") || line.starts_with("| status"))
            .take_while(|line| !line.starts_with("| `jobId`"))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        let fields: Vec<&str> = rows[0][3..].iter().map(|name| name.trim_matches('`')).collect();
        let told: Vec<Value> = all()
            .iter()
            .map(|event| serde_json::from_str(&event.to_json()).unwrap())
            .collect();
        assert_eq!(rows.len() - 1, told.len(), "a row for each status");
        for (row, event) in rows[1..].iter().zip(told) {
            assert_eq!(row[0].trim_matches('`'), event["status"], "in this order");
            let mut written: Vec<&str> = fields
                .iter()
                .zip(&row[3..])
                .filter(|(_, cell)| cell.starts_with("yes"))
                .map(|(name, _)| *name)
                .collect();
            written.push("status");
            written.sort_unstable();
            let mut found: Vec<&String> = event.as_object().unwrap().keys().collect();
            found.sort_unstable();
            assert_eq!(found, written, "{}", row[0]);
        }
    }

    #[test]
    fn a_job_that_is_tried_again_is_nobodys_to_start() {
        let failure = Failure::new(
            ErrorClass::Overloaded,
            "It is overloaded. Start the job again in some minutes.",
        );
        let event = without_time(&Event::retrying(42, 2, &failure));
        assert_eq!(event["error"], "It is overloaded. It is tried again by itself.");
    }

    #[test]
    fn events_have_the_fields_that_subscribers_read() {
        assert_eq!(
            without_time(&Event::completed(42, 7, "https://h/x.png".to_owned())),
            json!({"jobId": 42, "status": "completed", "progress": 100, "imageId": 7, "imageUrl": "https://h/x.png"})
        );
        assert_eq!(
            without_time(&Event::failed(Some(42), ErrorClass::Moderation, "no".to_owned())),
            json!({"jobId": 42, "status": "failed", "error": "no", "errorClass": "moderation"})
        );
        assert_eq!(
            without_time(&Event::started(42, 2)),
            json!({"jobId": 42, "status": "started", "progress": 10, "attempt": 2})
        );
    }
}
