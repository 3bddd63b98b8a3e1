//! OpenAI's Images API: one call, one picture, as base64 in JSON.
//!
//! Source: OpenAI API reference, "Create image"; OpenAI guides "Error codes" and "Rate limits".

use serde_json::Value;

use crate::http_client::Outgoing;
use crate::provider::catalog::{self, Model};
use crate::provider::wire::body::with;
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::keyed::Access;
use crate::provider::wire::openai_images::{self, DIALECT, asking};
use crate::provider::wire::prompt::Prompts;
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
    more: &[
        ("OPENAI_ORG_ID", "openai-organization"),
        ("OPENAI_PROJECT_ID", "openai-project"),
    ],
    question: Some("models"),
    ..Access::usual(|_| direct::make(OpenAi))
};

struct OpenAi;

impl Direct for OpenAi {
    const DIALECT: Dialect = DIALECT;
    const PROMPTS: Prompts = Prompts::Instructed;

    /// Exactly the fields that GPT image models take: one more, and the request is refused.
    /// Source: OpenAI API reference, "Create image" and "Create image edit", as of 2026-11.
    fn request(&self, call: &Call<'_>) -> Outgoing {
        let spec = call.spec;
        let moderation = || spec.moderation().unwrap_or("auto").into();
        let fields = [
            ("model", Some(spec.model.as_str().into())),
            ("complexity", spec.complexity().map(Value::from)),
            ("output_format", Some(spec.format().into())),
            // Edits have no such choice.
            ("moderation", call.references.is_empty().then(moderation)),
        ];
        asking("", call, &with(openai_images::body(call), fields))
    }

    /// Nothing is known without token counts: sizes and qualities cost very differently.
    fn cost(model: Option<&Model>, usage: Option<&Value>) -> Option<Cost> {
        catalog::cost(model?, usage?)
    }
}
