//! OpenRouter's Image API: one request for the models of many makers, one picture, as base64 in JSON.
//!
//! Source: OpenRouter, "Image generation" and "Errors"; @openrouter/sdk 1.3.19; all as of 2026-11.

use serde_json::{Value, json};

use crate::failure::ErrorClass;
use crate::http_client::Outgoing;
use crate::provider::catalog::{self, Model};
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
    header: ("authorization", "Bearer "),
    more: &[],
    question: Some("key"),
    build: direct::build::<OpenRouter>,
};

struct OpenRouter;

impl Direct for OpenRouter {
    const DIALECT: Dialect = Dialect {
        judge,
        ..Dialect::PLAIN
    };

    fn request(call: &Call<'_>) -> Outgoing {
        let spec = call.spec;
        let mut body = json!({"model": spec.model, "prompt": call.prompt.expose(), "n": 1});
        if let Some(size) = &spec.size {
            let (ratio, resolution) = catalog::split_resolution(size);
            body["aspect_ratio"] = ratio.into();
            if let Some(resolution) = resolution {
                body["resolution"] = resolution.into();
            }
        }
        let words = [
            ("quality", spec.quality.as_deref()),
            ("background", spec.background()),
            // A model of which nothing is known chooses by itself.
            ("output_format", spec.options.output_format.map(Word::as_str)),
        ];
        for (name, word) in words {
            if let Some(word) = word {
                body[name] = word.into();
            }
        }
        if let Some(seed) = spec.seed {
            body["seed"] = seed.into();
        }
        Outgoing::post_json("images", &body)
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
