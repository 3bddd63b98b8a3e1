//! JSON Schema of events.

use serde_json::{Map, Value, json};

use crate::failure::ErrorClass;

/// Statuses with the fields that their events have; all of them also have `status`, `jobId` and `at`. `error` and `errorClass`
/// go together. Those with a question mark may be absent.
const STATUSES: [(&str, &str, &[&str]); 6] = [
    ("started", "An attempt has begun", &["progress", "attempt"]),
    ("progress", "The job has come further", &["progress"]),
    (
        "retrying",
        "The attempt has failed, and another follows by itself",
        &["error", "errorClass", "attempt"],
    ),
    (
        "completed",
        "The picture is there, or is deleted where the package has asked for that; the end of the job",
        &["progress", "imageId?", "imageUrl?"],
    ),
    (
        "failed",
        "The job has failed for good; its end",
        &["error", "errorClass"],
    ),
    (
        "cancelled",
        "Somebody has ended the job; its end",
        &["error", "errorClass"],
    ),
];

/// JSON Schema (draft 2020-12) of the events of this version.
pub(super) fn schema() -> Value {
    let statuses = STATUSES.iter().map(|(status, description, fields)| {
        let mut properties = Map::new();
        properties.insert("status".to_owned(), json!({"const": status}));
        let mut required = vec!["status"];
        for name in ["jobId", "at"].iter().chain(*fields) {
            let plain = name.trim_end_matches('?');
            properties.insert(plain.to_owned(), field(plain, status));
            required.extend((plain == *name).then_some(plain));
        }
        required.sort_unstable();
        json!({
            "title": format!("{}{}", status[..1].to_uppercase(), &status[1..]),
            "description": description,
            "type": "object",
            "required": required,
            "properties": properties,
        })
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Event",
        "description": "One JSON object per change of a job. Later versions may add fields.",
        "oneOf": statuses.collect::<Vec<_>>(),
    })
}

fn field(name: &str, status: &str) -> Value {
    let classes: Vec<&str> = ErrorClass::ALL.into_iter().map(ErrorClass::as_str).collect();
    match name {
        "jobId" if status == "failed" => {
            json!({"type": ["integer", "null"], "description": "Row of ac_background_jobs; null where no job can be read from the package"})
        }
        "jobId" => json!({"type": "integer", "description": "Row of ac_background_jobs"}),
        "at" => json!({"type": "string", "format": "date-time"}),
        "progress" => json!({"type": "integer", "minimum": 0, "maximum": 100}),
        "attempt" => json!({"type": "integer", "minimum": 1, "description": "Counted from 1"}),
        "imageId" => {
            json!({"type": "integer", "description": "Row of images; always there of a picture that was made"})
        }
        "imageUrl" => {
            json!({"type": "string", "description": "The address of the picture; always there of one that was made"})
        }
        "errorClass" => json!({"enum": classes}),
        _ => json!({"type": "string", "description": "One sentence for the person who waits"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Event;

    /// Each event validates, and has no field that its schema does not know.
    #[test]
    fn events_are_as_the_schema_says() {
        let failure = crate::failure::Failure::new(ErrorClass::Overloaded, "It is overloaded.");
        let events = [
            Event::started(42, 2),
            Event::progress(42, 20),
            Event::retrying(42, 2, &failure),
            Event::completed(42, 7, "https://h/x.png".to_owned()),
            Event::failed(None, ErrorClass::Moderation, "no".to_owned()),
            Event::cancelled(42, "Cancelled by anna.".to_owned()),
        ];
        let mut strict = schema();
        for status in strict["oneOf"].as_array_mut().unwrap() {
            status["additionalProperties"] = json!(false);
        }
        let validator = jsonschema::validator_for(&strict).unwrap();
        for event in events {
            let event: Value = serde_json::from_str(&event.to_json()).unwrap();
            assert!(validator.is_valid(&event), "{event}");
        }
        let without_reason = json!({"status": "failed", "jobId": 1, "at": "2026-01-01T00:00:00.000Z"});
        assert!(!validator.is_valid(&without_reason));
    }
}
