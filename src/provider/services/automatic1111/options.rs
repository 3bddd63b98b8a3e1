//! What an operator wants of every picture, beyond what packages say.

use serde_json::{Map, Value};

/// What `AUTOMATIC1111_OPTIONS` may not set.
const OWN_FIELDS: [&str; 9] = [
    "prompt",
    "width",
    "height",
    "seed",
    "batch_size",
    "n_iter",
    "send_images",
    "save_images",
    "force_task_id",
];

/// Reads a JSON object with more fields of the request, `{"steps":30}` for example.
///
/// # Errors
/// What is wrong, to stand after the variable's name.
pub(super) fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let fields: Map<String, Value> = serde_json::from_str(text)
        .map_err(|_| "is not a JSON object; write for example {\"steps\":30}".to_owned())?;
    if let Some(own) = OWN_FIELDS.iter().find(|own| fields.contains_key(**own)) {
        return Err(format!("{own} is set by each package and cannot be set here"));
    }
    match fields.get("override_settings") {
        Some(settings) if !settings.is_object() => Err("override_settings is not a JSON object".to_owned()),
        _ => Ok(fields),
    }
}
