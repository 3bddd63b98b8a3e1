//! Stability AI's "Stable Image" and "Stable Diffusion 3.5": one form, one picture, as base64 in JSON.
//!
//! Source: Stability AI, REST API v2beta, "Generate".

use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::failure::ErrorClass;
use crate::http_client::Outgoing;
use crate::provider::wire::body::with;
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::errors::{Signs, judge_by_status};
use crate::provider::wire::keyed::Access;
use crate::provider::wire::reading::{Dialect, NoPicture};
use crate::provider::{Call, catalog};
use crate::settings::variable;

#[cfg(test)]
mod tests;

/// How it is reached. Source of the question: Stability AI, REST API v1, "Account balance".
pub(crate) const ACCESS: Access = Access {
    name: "stability",
    variables: &[
        variable("STABILITY_API_KEY", None, "sk-...", "Key of Stability AI"),
        variable(
            "STABILITY_BASE_URL",
            Some("https://api.stability.ai"),
            "https://api.stability.ai",
            "Where Stability AI's API is",
        ),
    ],
    keys: &["STABILITY_API_KEY"],
    bases: &["STABILITY_BASE_URL"],
    question: Some("v1/user/balance"),
    ..Access::usual(|_| direct::make(Stability))
};

struct Stability;

impl Direct for Stability {
    const DIALECT: Dialect = Dialect {
        judge,
        refusal,
        usage: |answer| {
            let seed = answer.get("seed").filter(|seed| seed.is_number())?;
            Some(json!({ "seed": seed }))
        },
        ..Dialect::PLAIN
    };
    /// Source: Stability AI, REST API v2beta, "Generate", field `seed`.
    const MAX_SEED: i64 = 4_294_967_294;
    /// After more than 150 requests in 10 s. Source: Stability AI, REST API v2beta, "Rate limits".
    const REFUSAL: Option<Duration> = Some(Duration::from_secs(60));

    fn request(&self, call: &Call<'_>) -> Outgoing {
        let model = catalog::find(ACCESS.name, &call.spec.model);
        let id = model.map_or(&*call.spec.model, |model| &*model.id);
        let (endpoint, sd3_model) = match id {
            "core" | "ultra" => (id, None),
            id => ("sd3", Some(id)),
        };
        let spec = call.spec;
        let fields = [
            ("model", sd3_model.map(Value::from)),
            ("aspect_ratio", spec.size.as_deref().map(Value::from)),
            ("seed", spec.seed.map(Value::from)),
            ("negative_prompt", spec.negative().map(Value::from)),
        ];
        let form = json!({"prompt": call.prompt.expose(), "output_format": spec.format()});
        // The picture itself otherwise, without what explains it.
        let accept = (ACCEPT, HeaderValue::from_static("application/json"));
        Outgoing::post_form(
            format!("v2beta/stable-image/generate/{endpoint}"),
            &with(form, fields),
            "image",
        )
        .headers(HeaderMap::from_iter([accept]))
    }
}

/// Why a picture that may be there is not to be used. One that was filtered is there, blurred.
fn refusal(answer: &Value) -> Option<NoPicture> {
    let reason = answer.get("finish_reason").and_then(Value::as_str)?;
    let (class, why) = match reason {
        "SUCCESS" | "" => return None,
        "CONTENT_FILTERED" => (
            ErrorClass::Moderation,
            "what was drawn was filtered, finish reason CONTENT_FILTERED",
        ),
        _ => (ErrorClass::BadOutput, "the finish reason is not SUCCESS"),
    };
    Some(NoPicture::new(class, why, ""))
}

/// Source: Stability AI, REST API v2beta, "Errors": `{"id", "name", "errors": […]}`.
fn judge(signs: &Signs<'_>) -> ErrorClass {
    let json = signs.body.json.as_ref();
    match json.and_then(|json| json.get("name")?.as_str()) {
        Some("content_moderation") => ErrorClass::Moderation,
        Some("unauthorized" | "permission_denied") => ErrorClass::Auth,
        Some("payment_required") => ErrorClass::Quota,
        Some("rate_limit_exceeded") => ErrorClass::RateLimited,
        Some("internal_error") => ErrorClass::Overloaded,
        Some("bad_request") => ErrorClass::InvalidRequest,
        _ => judge_by_status(signs),
    }
}
