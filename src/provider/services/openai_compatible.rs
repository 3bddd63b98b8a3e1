//! Any server that speaks OpenAI's Images API: LocalAI, LiteLLM, vLLM-Omni, stable-diffusion.cpp and others.
//!
//! Owns what can be asked of a server of which nothing is known but its address, and the shapes of their answers:
//! only the fields that all of them know are sent, and those that one refuses are left out the second time.
//! Whether a picture costs money is not to be seen from here either: an operator says so, and until then it does.

use async_trait::async_trait;
use serde_json::Value;

use crate::failure::ErrorClass;
use crate::http_client::{Answer, Outgoing};
use crate::provider::catalog::pixels::sides;
use crate::provider::catalog::{self, Model, refused, repeated};
use crate::provider::wire::body::with;
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::errors::Signs;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::keyed::Access;
use crate::provider::wire::openai_images::{self, DIALECT, PATH};
use crate::provider::wire::prompt::{Prompts, without_directives};
use crate::provider::wire::reading::Dialect;
use crate::provider::wire::service::Service;
use crate::provider::{Call, CheckedSpec, ImageSpec, ProviderError, Unsupported};
use crate::settings::{values, variable};
use crate::work_package::Word;

#[cfg(test)]
mod tests;

const MODEL: &str = "OPENAI_COMPATIBLE_MODEL";
const IS_FREE: &str = "OPENAI_COMPATIBLE_IS_FREE";
/// What almost every server draws, whichever model is behind it.
const DEFAULT_SIZE: &str = "1024x1024";
const LARGEST_SIDE_PX: u32 = 4096;
const SMALLEST_SIDE_PX: u32 = 64;
/// Longest model id and quality that are passed on.
const WORD_CHARS: usize = 200;
/// Fields that a server may refuse to know, and does without.
const OPTIONAL_FIELDS: [&str; 2] = ["response_format", "seed"];

/// How it is reached. Many servers ask for no key.
pub(crate) const ACCESS: Access = Access {
    name: "openaiCompatible",
    variables: &[
        variable(
            "OPENAI_COMPATIBLE_BASE_URL",
            None,
            "http://127.0.0.1:8080/v1",
            "A server that speaks OpenAI's Images API: LocalAI, LiteLLM, vLLM-Omni, stable-diffusion.cpp, ...",
        ),
        variable(
            "OPENAI_COMPATIBLE_API_KEY",
            None,
            "...",
            "Its key, where it wants one",
        ),
        variable(
            MODEL,
            None,
            "stablediffusion",
            "Its model, for packages that name none",
        ),
        variable(
            IS_FREE,
            Some("false"),
            "true",
            "Whether its pictures cost nothing, so that calls are not kept in the ledger and may be repeated",
        ),
    ],
    keys: &["OPENAI_COMPATIBLE_API_KEY"],
    bases: &["OPENAI_COMPATIBLE_BASE_URL"],
    question: Some("models"),
    needs_key: false,
    ..Access::usual(|reader| {
        let model = reader.text(MODEL);
        let is_free = reader.or_default(IS_FREE, values::boolean);
        direct::make(OpenAiCompatible { model, is_free })
    })
};

struct OpenAiCompatible {
    /// Of packages that name none.
    model: Option<String>,
    /// Whether a picture costs nothing, so that drawing again after a fault harms nobody.
    is_free: bool,
}

fn body(call: &Call<'_>) -> Value {
    let spec = call.spec;
    let format = spec.options.output_format;
    let fields = [
        ("model", Some(spec.model.as_str().into())),
        ("response_format", Some("b64_json".into())),
        ("seed", spec.seed.map(Value::from)),
        ("negative_prompt", spec.negative().map(Value::from)),
        ("moderation", spec.moderation().map(Value::from)),
        ("output_format", format.map(|format| format.as_str().into())),
    ];
    with(openai_images::body(call), fields)
}

/// Whether an answer refuses a request for this field, as far as one can tell among many servers.
fn refuses(answer: &Answer, field: &str, incident: &Incident<'_>) -> bool {
    if !matches!(answer.status.as_u16(), 400 | 422) {
        return false;
    }
    let text = incident.masked(&String::from_utf8_lossy(&answer.body));
    text.contains(field) && incident.answer(answer, judge).class == ErrorClass::InvalidRequest
}

fn check_size(size: &str, model: &str) -> Result<Option<String>, Unsupported> {
    let bounds = SMALLEST_SIDE_PX..=LARGEST_SIDE_PX;
    match sides(size) {
        _ if size == "auto" => Ok(None),
        Some((width, height)) if bounds.contains(&width) && bounds.contains(&height) => {
            Ok(Some(format!("{width}x{height}")))
        }
        _ => Err(refused(format!(
            "Unsupported image size for {}: {}; use auto or WIDTHxHEIGHT with both edges from {SMALLEST_SIDE_PX} to \
             {LARGEST_SIDE_PX}",
            repeated(model),
            repeated(size)
        ))),
    }
}

#[async_trait]
impl Direct for OpenAiCompatible {
    const DIALECT: Dialect = Dialect { judge, ..DIALECT };
    const PROMPTS: Prompts = Prompts::Without(without_directives);

    fn is_free(&self) -> bool {
        self.is_free
    }

    fn offers(&self, name: &'static str, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let given = |option: &Option<String>| option.clone().filter(|text| !text.is_empty());
        let Some(model) = given(&spec.model).or_else(|| self.model.clone()) else {
            return Err(refused(format!(
                "No image model is configured for provider: {name}; name one in imageModel, or have an operator set \
                 {MODEL}"
            )));
        };
        let is_word = |text: &str| text.chars().count() <= WORD_CHARS && !text.chars().any(char::is_control);
        if !is_word(&model) {
            return Err(refused(format!(
                "Unsupported image model for {name}: {}; use the id of a model of that server",
                repeated(&model)
            )));
        }
        let size = check_size(given(&spec.size).as_deref().unwrap_or(DEFAULT_SIZE), &model)?;
        let quality = given(&spec.quality);
        if let Some(quality) = quality.as_deref().filter(|quality| !is_word(quality)) {
            return Err(refused(format!(
                "Unsupported image quality for {}: {}; use a word that its server knows, or leave it out",
                repeated(&model),
                repeated(quality)
            )));
        }
        // Nothing is known of its models but what an operator says in MODELS_FILE.
        let choices = catalog::find(name, &model).map(Model::choices);
        let checked = catalog::check_options(choices.unwrap_or_default(), name, &model, spec)?;
        Ok(CheckedSpec {
            model,
            size,
            quality,
            seed: spec.seed,
            ..checked
        })
    }

    fn request(&self, call: &Call<'_>) -> Outgoing {
        Outgoing::post_json(PATH, &body(call))
    }

    /// Once, and once more for each optional field that the server does not want. A refusal costs nothing.
    async fn ask(
        &self,
        service: &Service,
        request: Outgoing,
        call: &Call<'_>,
        incident: &Incident<'_>,
    ) -> Result<Answer, ProviderError> {
        let mut answer = service.call(request, incident, call.deadline).await?;
        let mut body = body(call);
        let is_unwanted = |body: &Value, answer: &Answer, field: &str| {
            body.get(field).is_some() && refuses(answer, field, incident)
        };
        while let Some(field) = OPTIONAL_FIELDS
            .into_iter()
            .find(|field| is_unwanted(&body, &answer, field))
        {
            body.as_object_mut().map(|fields| fields.remove(field));
            let request = Outgoing::post_json(PATH, &body);
            answer = service.call(request, incident, call.deadline).await?;
        }
        Ok(answer)
    }
}

/// What these servers mean by signs of their own, and what OpenAI means by the rest.
///
/// Source: LiteLLM documentation, "Budgets, Rate Limits" and "Exception Mapping".
fn judge(signs: &Signs<'_>) -> ErrorClass {
    match signs.body.kinds.iter().any(|kind| kind == "budget_exceeded") {
        true => ErrorClass::Quota,
        false => openai_images::judge(signs),
    }
}
