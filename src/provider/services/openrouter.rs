//! OpenRouter's Image API: one request for the models of many makers, one picture, as base64 in JSON.
//!
//! Source: OpenRouter, "Image generation" and "Errors"; @openrouter/sdk 1.3.19; all as of 2026-11.

use serde_json::{Value, json};

use crate::failure::ErrorClass;
use crate::http_client::{Inline, Outgoing};
use crate::provider::catalog::{self, Model};
use crate::provider::wire::body::with;
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::errors::{Signs, judge_by_status};
use crate::provider::wire::keyed::Access;
use crate::provider::wire::reading::Dialect;
use crate::provider::{Call, Cost};
use crate::settings::variable;
use crate::work_package::Word;

#[cfg(test)]
mod tests;

/// How it is reached. Source of the question: OpenRouter, API reference, "Get current API key".
pub(crate) const ACCESS: Access = Access {
    name: "openrouter",
    variables: &[
        variable("OPENROUTER_API_KEY", None, "sk-or-...", "Key of OpenRouter"),
        variable(
            "OPENROUTER_BASE_URL",
            Some("https://openrouter.ai/api/v1"),
            "https://openrouter.ai/api/v1",
            "Where OpenRouter's API is",
        ),
    ],
    keys: &["OPENROUTER_API_KEY"],
    bases: &["OPENROUTER_BASE_URL"],
    question: Some("key"),
    ..Access::usual(|_| direct::make(OpenRouter))
};

struct OpenRouter;

impl Direct for OpenRouter {
    const DIALECT: Dialect = Dialect {
        judge,
        ..Dialect::PLAIN
    };

    fn request(&self, call: &Call<'_>) -> Outgoing {
        let spec = call.spec;
        let shape = spec.size.as_deref().map(catalog::split_resolution);
        let resolution = shape.and_then(|(_, resolution)| resolution);
        let count = call.references.count();
        let picture = |number| json!({"type": "image_url", "image_url": {"url": Inline::DataUri(number)}});
        let body = json!({"model": spec.model, "prompt": call.prompt.expose(), "n": 1});
        // A model of which nothing is known chooses the format by itself.
        let format = spec.options.output_format;
        let fields = [
            ("aspect_ratio", shape.map(|(ratio, _)| ratio.into())),
            ("resolution", resolution.map(Value::from)),
            ("quality", spec.quality.as_deref().map(Value::from)),
            ("background", spec.background().map(Value::from)),
            ("output_format", format.map(|format| format.as_str().into())),
            ("seed", spec.seed.map(Value::from)),
            (
                "input_references",
                (count > 0).then(|| (0..count).map(picture).collect()),
            ),
        ];
        Outgoing::post_json("images", &with(body, fields))
    }

    /// The service says what it has charged.
    fn cost(model: Option<&Model>, usage: Option<&Value>) -> Option<Cost> {
        let usd = usage.and_then(|usage| usage.get("cost")?.as_f64());
        catalog::reported(usd).or_else(|| catalog::listed(model))
    }
}

/// Source: OpenRouter, "Errors": 402 is credit, 403 moderation or the key, 529 a maker that is overloaded.
fn judge(signs: &Signs<'_>) -> ErrorClass {
    let is_flagged = signs.body.holder().is_some_and(|error| {
        ["reasons", "flagged_input"].iter().any(|name| {
            error
                .get("metadata")
                .is_some_and(|metadata| metadata.get(*name).is_some())
        })
    });
    match signs.status {
        _ if is_flagged => ErrorClass::Moderation,
        403 if signs.says(&["moderation", "flagged"]) => ErrorClass::Moderation,
        404 => ErrorClass::ModelGone,
        // In a body with the status 200 too.
        200..=299 => {
            let code = signs.body.code.as_deref().and_then(|code| code.parse().ok());
            code.map_or(ErrorClass::BadOutput, |status| {
                judge_by_status(&Signs { status, ..*signs })
            })
        }
        _ => judge_by_status(signs),
    }
}
