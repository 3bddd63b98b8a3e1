//! Reference images in a request in JSON, where the table of models says that they stand.

use serde_json::Value;

use crate::http_client::Inline;
use crate::provider::{Call, ReferencePlace};

/// The body of a call with its reference images in it. `inline` says how they are written.
pub(in crate::provider) fn put(mut body: Value, call: &Call<'_>, inline: fn(usize) -> Inline) -> Value {
    let count = call.references.count();
    let taken = call.spec.references.filter(|_| count > 0);
    let Some(place) = taken.and_then(|taken| taken.place.as_ref()) else {
        return body;
    };
    let text = |number: usize| serde_json::json!(inline(number));
    match place {
        ReferencePlace::Field(name) => body[name] = text(0),
        ReferencePlace::List(name) => body[name] = (0..count).map(text).collect(),
        ReferencePlace::Fields(name) => {
            for number in 0..count {
                let name = match number {
                    0 => name.clone(),
                    _ => format!("{name}_{}", number + 1),
                };
                body[name] = text(number);
            }
        }
    }
    body
}
