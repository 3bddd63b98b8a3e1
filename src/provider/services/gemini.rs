//! Google's Gemini API (the one with API keys): one call, one picture, as base64 in JSON.
//!
//! What goes on the wire and what an answer means is shared with Vertex AI: see `google`.
//!
//! Source: Gemini API guide, "Image generation"; Gemini API reference, "Using Gemini API keys".

use serde_json::Value;

use crate::http_client::Outgoing;
use crate::provider::catalog::Model;
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::google;
use crate::provider::wire::keyed::Access;
use crate::provider::wire::prompt::Prompts;
use crate::provider::wire::reading::Dialect;
use crate::provider::{Call, Cost};
use crate::settings::variable;

#[cfg(test)]
mod tests;

/// How it is reached. Other services of Google take keys under the second name, so the first says more.
/// Source of the question: Gemini API reference, `models.list`.
pub(crate) const ACCESS: Access = Access {
    name: "gemini",
    variables: &[
        variable(
            "GEMINI_API_KEY",
            None,
            "AIza...",
            "Key of the Gemini API; wins over GOOGLE_API_KEY",
        ),
        variable(
            "GOOGLE_API_KEY",
            None,
            "AIza...",
            "The same, under Google's other name for it",
        ),
        variable(
            "GEMINI_BASE_URL",
            Some("https://generativelanguage.googleapis.com"),
            "https://generativelanguage.googleapis.com",
            "Where the Gemini API is",
        ),
    ],
    keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    bases: &["GEMINI_BASE_URL"],
    header: ("x-goog-api-key", ""),
    question: Some("v1beta/models"),
    ..Access::usual(|_| direct::make(Gemini))
};

struct Gemini;

impl Direct for Gemini {
    const DIALECT: Dialect = google::DIALECT;
    const PROMPTS: Prompts = Prompts::Instructed;
    const MAX_SEED: i64 = google::MAX_SEED;

    fn request(&self, call: &Call<'_>) -> Outgoing {
        let path = format!("v1beta/models/{}:generateContent", call.spec.model);
        Outgoing::post_json(path, &google::request(call))
    }

    fn cost(model: Option<&Model>, usage: Option<&Value>) -> Option<Cost> {
        google::cost(model?, usage)
    }
}
