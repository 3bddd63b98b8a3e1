//! OpenAI's Images API: one call, one picture, as base64 in JSON.
//!
//! Source: OpenAI API reference, "Create image"; OpenAI guides "Error codes" and "Rate limits".

use serde_json::Value;

use crate::http_client::Outgoing;
use crate::provider::catalog::{self, Model};
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::keyed::Access;
use crate::provider::wire::openai_images::{DIALECT, asking};
use crate::provider::wire::reading::Dialect;
use crate::provider::{Call, Cost};
use crate::settings::variable;

#[cfg(test)]
mod tests;

/// How it is reached. Source of the question: OpenAI API reference, "List models".
pub(crate) const ACCESS: Access = Access {
    name: "openai",
    variables: &[
        variable("OPENAI_API_KEY", None, "sk-...", "Key of OpenAI"),
        variable(
            "OPENAI_BASE_URL",
            Some("https://api.openai.com/v1"),
            "https://api.openai.com/v1",
            "Where OpenAI's API is",
        ),
        variable("OPENAI_ORG_ID", None, "org-...", "Organization that OpenAI bills"),
        variable("OPENAI_PROJECT_ID", None, "proj_...", "Project that OpenAI bills"),
    ],
    keys: &["OPENAI_API_KEY"],
    bases: &["OPENAI_BASE_URL"],
    header: ("authorization", "Bearer "),
    more: &[
        ("OPENAI_ORG_ID", "openai-organization"),
        ("OPENAI_PROJECT_ID", "openai-project"),
    ],
    question: Some("models"),
    build: direct::build::<OpenAi>,
};

/// Exactly the fields that GPT image models take: one more, and the request is refused.
/// Source: OpenAI API reference, "Create image" and "Create image edit", as of 2026-11.
#[derive(serde::Serialize)]
struct Request<'a> {
    model: &'a str,
    prompt: &'a str,
    n: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    background: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complexity: Option<&'static str>,
    output_format: &'static str,
    /// Edits have no such choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    moderation: Option<&'static str>,
}

struct OpenAi;

impl Direct for OpenAi {
    const DIALECT: Dialect = DIALECT;
    const READS_INSTRUCTIONS: bool = true;

    fn request(call: &Call<'_>) -> Outgoing {
        let spec = call.spec;
        let request = Request {
            model: &spec.model,
            prompt: call.prompt.expose(),
            n: 1,
            size: spec.size.as_deref(),
            quality: spec.quality.as_deref(),
            background: spec.background(),
            complexity: spec.complexity(),
            output_format: spec.format(),
            moderation: (call.references.is_empty()).then(|| spec.moderation().unwrap_or("auto")),
        };
        asking("", call, &request)
    }

    /// Nothing is known without token counts: sizes and qualities cost very differently.
    fn cost(model: Option<&Model>, usage: Option<&Value>) -> Option<Cost> {
        catalog::cost(model?, usage?)
    }
}
