//! ByteDance's Seedream on ModelArk: one call, one picture.
//!
//! Source: BytePlus ModelArk, "Image generation API" and "Error codes"; AI SDK, provider bytedance; all as of 2026-11.

use serde_json::{Value, json};

use crate::failure::ErrorClass;
use crate::http_client::{Inline, Outgoing};
use crate::provider::Call;
use crate::provider::catalog::pixels_of;
use crate::provider::wire::body::with;
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::errors::{Signs, judge_by_status};
use crate::provider::wire::keyed::Access;
use crate::provider::wire::openai_images::PATH;
use crate::provider::wire::reading::{Dialect, NoPicture};
use crate::settings::variable;

#[cfg(test)]
mod tests;

/// How it is reached.
pub(crate) const ACCESS: Access = Access {
    name: "seedream",
    variables: &[
        variable("ARK_API_KEY", None, "...", "Key of ModelArk, for seedream"),
        variable(
            "ARK_BASE_URL",
            Some("https://ark.ap-southeast.bytepluses.com/api/v3"),
            "https://ark.ap-southeast.bytepluses.com/api/v3",
            "Where ModelArk's API is; wins over SEEDREAM_BASE_URL",
        ),
        variable(
            "SEEDREAM_BASE_URL",
            None,
            "https://ark.eu-west.bytepluses.com/api/v3",
            "The same under another name",
        ),
    ],
    keys: &["ARK_API_KEY"],
    bases: &["ARK_BASE_URL", "SEEDREAM_BASE_URL"],
    ..Access::usual(|_| direct::make(Seedream))
};

struct Seedream;

impl Direct for Seedream {
    const DIALECT: Dialect = Dialect {
        judge,
        nothing,
        ..Dialect::PLAIN
    };

    /// Nothing that a model of the family refuses: the newest knows no `sequential_image_generation`, none a seed.
    fn request(&self, call: &Call<'_>) -> Outgoing {
        let pixels = call
            .spec
            .size
            .as_deref()
            .and_then(|size| pixels_of(size, "2K", 16));
        let picture = |number| json!(Inline::DataUri(number));
        let body = json!({
            "model": call.spec.model,
            "prompt": call.prompt.expose(),
            "response_format": "b64_json",
            "watermark": false,
        });
        let fields = [
            (
                "size",
                pixels.map(|(width, height)| format!("{width}x{height}").into()),
            ),
            (
                "image",
                match call.references.count() {
                    0 => None,
                    1 => Some(picture(0)),
                    count => Some((0..count).map(picture).collect()),
                },
            ),
        ];
        Outgoing::post_json(PATH, &with(body, fields))
    }
}

fn judge(signs: &Signs<'_>) -> ErrorClass {
    signs.by_word(class_of).unwrap_or_else(|| judge_by_status(signs))
}

/// A picture that has failed stands among the pictures, with its error.
fn nothing(answer: &Value) -> Option<NoPicture> {
    let text = |name: &str| answer.pointer(&format!("/data/0/error/{name}"))?.as_str();
    let class = class_of(text("code")?).unwrap_or(ErrorClass::BadOutput);
    Some(NoPicture::new(
        class,
        "the picture has failed",
        text("message").unwrap_or_default(),
    ))
}

/// Source: BytePlus ModelArk, "Error codes": families of names such as `InputTextSensitiveContentDetected.PolicyViolation`.
fn class_of(code: &str) -> Option<ErrorClass> {
    Some(match code {
        _ if code.contains("SensitiveContent") || code.contains("RiskDetection") => ErrorClass::Moderation,
        _ if code.starts_with("AccountOverdue") || code.starts_with("QuotaExceeded") => ErrorClass::Quota,
        _ if code.starts_with("SetLimitExceeded") => ErrorClass::Quota,
        _ if code.starts_with("RateLimitExceeded") => ErrorClass::RateLimited,
        _ if code.starts_with("ServerOverloaded") || code.starts_with("InternalServiceError") => {
            ErrorClass::Overloaded
        }
        _ if code.starts_with("AuthenticationError") || code.starts_with("AccessDenied") => ErrorClass::Auth,
        _ if code.starts_with("ModelNotOpen") => ErrorClass::Auth,
        _ if code.starts_with("InvalidEndpointOrModel") => ErrorClass::ModelGone,
        _ if code.starts_with("InvalidParameter") => ErrorClass::InvalidRequest,
        _ => return None,
    })
}
