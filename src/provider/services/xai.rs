//! xAI's image API: OpenAI's with shapes in place of sizes; one call, one picture.
//!
//! Source: xAI API reference, "Image generations"; AI SDK, provider xai; litellm 1.110.2; all as of 2026-11.

use serde_json::{Value, json};

use crate::failure::ErrorClass;
use crate::http_client::{Inline, Outgoing};
use crate::provider::Call;
use crate::provider::catalog;
use crate::provider::wire::body::with;
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::errors::Signs;
use crate::provider::wire::keyed::Access;
use crate::provider::wire::openai_images::{self, EDITS, PATH};
use crate::provider::wire::reading::Dialect;
use crate::settings::variable;

#[cfg(test)]
mod tests;

/// How it is reached. Source of the question: xAI API reference, "API key".
pub(crate) const ACCESS: Access = Access {
    name: "xai",
    variables: &[
        variable("XAI_API_KEY", None, "xai-...", "Key of xAI"),
        variable(
            "XAI_BASE_URL",
            Some("https://api.x.ai/v1"),
            "https://api.x.ai/v1",
            "Where xAI's API is",
        ),
    ],
    keys: &["XAI_API_KEY"],
    bases: &["XAI_BASE_URL"],
    question: Some("api-key"),
    ..Access::usual(|_| direct::make(Xai))
};

struct Xai;

/// What is charged stands in `usage.cost_in_usd_ticks`, whose unit no page of xAI names: the price is the table's until one
/// does.
impl Direct for Xai {
    const DIALECT: Dialect = Dialect {
        judge,
        ..openai_images::DIALECT
    };

    fn request(&self, call: &Call<'_>) -> Outgoing {
        let spec = call.spec;
        let size = spec.size.as_deref().filter(|size| *size != "auto");
        let shape = size.map(catalog::split_resolution);
        let resolution = shape.and_then(|(_, resolution)| resolution);
        // Source: xAI API reference, "Image edits".
        let count = call.references.count();
        let picture = |number| json!({"url": Inline::DataUri(number), "type": "image_url"});
        let body = json!({
            "model": spec.model,
            "prompt": call.prompt.expose(),
            "n": 1,
            "response_format": "b64_json",
        });
        let fields = [
            ("aspect_ratio", shape.map(|(ratio, _)| ratio.into())),
            ("resolution", resolution.map(|word| word.to_lowercase().into())),
            ("quality", spec.quality.as_deref().map(Value::from)),
            ("image", (count == 1).then(|| picture(0))),
            ("images", (count > 1).then(|| (0..count).map(picture).collect())),
        ];
        Outgoing::post_json(if count == 0 { PATH } else { EDITS }, &with(body, fields))
    }
}

/// Errors are OpenAI's, or `{"code": "…", "error": "text"}` with sentences for codes.
fn judge(signs: &Signs<'_>) -> ErrorClass {
    match signs.status {
        400 | 401 if signs.says(&["incorrect api key", "invalid api key"]) => ErrorClass::Auth,
        403 | 429 if signs.says(&["credits", "spending limit"]) => ErrorClass::Quota,
        400 | 403 if signs.says(&["content moderation", "rejected by", "usage guidelines"]) => {
            ErrorClass::Moderation
        }
        _ => openai_images::judge(signs),
    }
}
