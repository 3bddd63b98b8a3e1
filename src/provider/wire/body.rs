//! Bodies in JSON whose fields are sent where there is something to say.

use serde_json::Value;

/// The body with those of these fields that have a value.
pub(in crate::provider) fn with<const N: usize>(
    mut body: Value,
    fields: [(&'static str, Option<Value>); N],
) -> Value {
    for (name, value) in fields {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    body
}
