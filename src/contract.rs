//! What producers and listeners rely on, as files for their tools: JSON Schema of packages and events, AsyncAPI, and types for
//! TypeScript. All of it is made from what the parser takes and what events have; the folder `contract/` has it as this version
//! prints it, and a test says when it does not.

mod asyncapi;
mod event;
mod typescript;

use serde_json::Value;

use crate::work_package::{PackageLimits, json_schema};

/// A form of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON Schema 2020-12 of a work package.
    Package,
    /// JSON Schema 2020-12 of an event.
    Event,
    /// AsyncAPI 3: both, and where they come and go.
    AsyncApi,
    /// Types of both.
    TypeScript,
}

impl Form {
    /// All of them, with the names of their files in `contract/`.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Package, "package.schema.json"),
        (Self::Event, "event.schema.json"),
        (Self::AsyncApi, "asyncapi.json"),
        (Self::TypeScript, "generative-ai-worker.d.ts"),
    ];

    /// The text of it, for a queue whose packages have these limits.
    #[must_use]
    pub fn print(self, queue: &str, limits: &PackageLimits) -> String {
        self.print_package(queue, &json_schema(limits))
    }

    fn print_package(self, queue: &str, package: &Value) -> String {
        let json = |value: &Value| {
            let text = serde_json::to_string_pretty(value).expect("a schema has text keys only");
            format!("{text}\n")
        };
        match self {
            Self::Package => json(package),
            Self::Event => json(&event::schema()),
            Self::AsyncApi => json(&asyncapi::document(queue, package, &event::schema())),
            Self::TypeScript => typescript::types(package, &event::schema()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_files_are_as_this_version_prints_them() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/contract");
        let mut written = Vec::new();
        let limits = PackageLimits {
            max_bytes: 262_144,
            reply_prefix: "{generative-ai}:reply:".to_owned(),
            callback_origins: std::iter::empty().collect(),
        };
        let mut package = json_schema(&limits);
        // Of which hosts it may be is each operator's to say.
        package["properties"]["callbackUrl"] = json!({
            "type": ["string", "null"],
            "description": "Gets the final event by POST, signed; refused unless CALLBACK_HOSTS of the worker allows it",
        });
        for (form, name) in Form::ALL {
            let (path, text) = (format!("{folder}/{name}"), form.print("generative-ai", &limits));
            if std::fs::read_to_string(&path).unwrap_or_default() != text {
                std::fs::write(&path, text).unwrap();
                written.push(name);
            }
        }
        assert!(
            written.is_empty(),
            "of contract/ {written:?} differed; they have been written anew, look at them and commit them"
        );
    }
}
