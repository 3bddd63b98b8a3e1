//! What producers and listeners rely on, as files for their tools: JSON Schema of packages and events, AsyncAPI, and types for
//! TypeScript. All of it is made from what the parser takes and what events have; the folder `contract/` has it as this version
//! prints it, and a test says when it does not.

mod asyncapi;
mod event;
mod typescript;

use serde_json::Value;

use crate::work_package::json_schema;

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

    /// The text of it, for a queue whose lists of replies begin with `reply_prefix`.
    #[must_use]
    pub fn print(self, queue: &str, reply_prefix: &str) -> String {
        let json = |value: &Value| {
            let text = serde_json::to_string_pretty(value).expect("a schema has text keys only");
            format!("{text}\n")
        };
        let package = json_schema(reply_prefix);
        match self {
            Self::Package => json(&package),
            Self::Event => json(&event::schema()),
            Self::AsyncApi => json(&asyncapi::document(queue, &package, &event::schema())),
            Self::TypeScript => typescript::types(&package, &event::schema()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_as_this_version_prints_them() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/contract");
        let mut written = Vec::new();
        for (form, name) in Form::ALL {
            let (path, text) = (
                format!("{folder}/{name}"),
                form.print("generative-ai", "{generative-ai}:reply:"),
            );
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
