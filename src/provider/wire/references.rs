//! Reference images in a request in JSON, where the table of models says that they stand.

use serde_json::Value;

use crate::http_client::Inline;
use crate::provider::Call;
use crate::provider::catalog::Place;

/// Puts the reference images of a call into its body. `inline` says how they are written.
pub(in crate::provider) fn put(body: &mut Value, call: &Call<'_>, inline: fn(usize) -> Inline) {
    let count = call.references.count();
    let taken = call.spec.references.as_ref().filter(|_| count > 0);
    let Some(place) = taken.and_then(|taken| taken.place.as_ref()) else {
        return;
    };
    let text = |number: usize| serde_json::json!(inline(number));
    match place {
        Place::Field(name) => body[name] = text(0),
        Place::List(name) => body[name] = (0..count).map(text).collect(),
        Place::Fields(name) => {
            for number in 0..count {
                let name = match number {
                    0 => name.clone(),
                    _ => format!("{name}_{}", number + 1),
                };
                body[name] = text(number);
            }
        }
    }
}
