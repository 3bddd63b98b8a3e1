//! Alibaba's Qwen-Image on Model Studio (DashScope): one call, the address of one picture.
//!
//! Source: Alibaba Cloud Model Studio, "Qwen-Image API reference" and "Error codes", as of 2026-11.

use serde_json::{Value, json};

use crate::failure::ErrorClass;
use crate::http_client::Outgoing;
use crate::provider::Call;
use crate::provider::catalog::pixels_of;
use crate::provider::wire::body::with;
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::errors::{Signs, judge_by_status};
use crate::provider::wire::keyed::Access;
use crate::provider::wire::reading::Dialect;
use crate::settings::variable;

#[cfg(test)]
mod tests;

const PATH: &str = "services/aigc/multimodal-generation/generation";

/// How it is reached.
pub(crate) const ACCESS: Access = Access {
    name: "qwen",
    variables: &[
        variable(
            "DASHSCOPE_API_KEY",
            None,
            "sk-...",
            "Key of Alibaba Cloud Model Studio, for qwen",
        ),
        variable(
            "DASHSCOPE_BASE_URL",
            Some("https://dashscope-intl.aliyuncs.com/api/v1"),
            "https://dashscope-intl.aliyuncs.com/api/v1",
            "Where Model Studio's API is; wins over QWEN_BASE_URL",
        ),
        variable(
            "QWEN_BASE_URL",
            None,
            "https://dashscope.aliyuncs.com/api/v1",
            "The same under another name",
        ),
    ],
    keys: &["DASHSCOPE_API_KEY"],
    bases: &["DASHSCOPE_BASE_URL", "QWEN_BASE_URL"],
    ..Access::usual(|_| direct::make(Qwen))
};

struct Qwen;

impl Direct for Qwen {
    const DIALECT: Dialect = Dialect {
        judge,
        ..Dialect::PLAIN
    };
    /// Source: Alibaba Cloud Model Studio, "Qwen-Image API reference", `seed`.
    const MAX_SEED: i64 = 2_147_483_647;

    fn request(&self, call: &Call<'_>) -> Outgoing {
        let pixels = call
            .spec
            .size
            .as_deref()
            .and_then(|size| pixels_of(size, "1K", 16));
        let fields = [
            (
                "size",
                pixels.map(|(width, height)| format!("{width}*{height}").into()),
            ),
            ("seed", call.spec.seed.map(Value::from)),
            ("negative_prompt", call.spec.negative().map(Value::from)),
        ];
        let parameters = with(json!({"n": 1, "watermark": false}), fields);
        let content = json!([{"text": call.prompt.expose()}]);
        let body = json!({
            "model": call.spec.model,
            "input": {"messages": [{"role": "user", "content": content}]},
            "parameters": parameters,
        });
        Outgoing::post_json(PATH, &body)
    }
}

/// Errors come with the status 200 as well: `{"code", "message", "request_id"}`.
fn judge(signs: &Signs<'_>) -> ErrorClass {
    let class = signs.by_word(|code| {
        Some(match code {
            "DataInspectionFailed" | "DataInspection" | "IPInfringementSuspect" => ErrorClass::Moderation,
            "InvalidApiKey" | "AccessDenied" | "AccessDenied.Unpurchased" => ErrorClass::Auth,
            "Arrearage" | "AllocationQuota.FreeTierOnly" | "CommodityNotPurchased" => ErrorClass::Quota,
            _ if code.starts_with("Throttling") => ErrorClass::RateLimited,
            "ModelNotFound" | "Model.NotFound" => ErrorClass::ModelGone,
            "ModelServingError" | "ModelUnavailable" | "SystemError" => ErrorClass::Overloaded,
            "RequestTimeOut" => ErrorClass::Ambiguous,
            _ if code.starts_with("InternalError") => ErrorClass::Overloaded,
            _ if code.starts_with("InvalidParameter") || code.starts_with("BadRequest") => {
                ErrorClass::InvalidRequest
            }
            _ => return None,
        })
    });
    class.unwrap_or_else(|| judge_by_status(signs))
}
