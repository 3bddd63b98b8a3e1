//! Azure's OpenAI service: OpenAI's Images API behind deployments that an operator has named.
//!
//! Owns the two paths, the key's header, and what Azure means by errors of its own; the rest is `openai_images`.
//! A deployment's name does not say which model is behind it: `deployment` is told or guesses.
//!
//! Source: Microsoft Learn, "How to use Azure OpenAI image generation models" and "Azure OpenAI in Microsoft
//! Foundry Models REST API reference", as of 2026-09.

use serde_json::Value;
use url::Url;

use crate::failure::ErrorClass;
use crate::http_client::Outgoing;
use crate::provider::catalog::{self, Model, refused, repeated};
use crate::provider::wire::body::with;
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::errors::Signs;
use crate::provider::wire::keyed::Access;
use crate::provider::wire::openai_images::{self, DIALECT, asking};
use crate::provider::wire::prompt::Prompts;
use crate::provider::wire::reading::Dialect;
use crate::provider::{Call, CheckedSpec, Cost, ImageSpec, Unsupported};
use crate::settings::variable;

mod deployment;
#[cfg(test)]
mod tests;

use deployment::{ApiVersion, Deployment};

const DEPLOYMENT: &str = "AZURE_OPENAI_API_DALLE_DEPLOYMENT_NAME";
const VERSION: &str = "AZURE_OPENAI_API_VERSION";
const MODEL: &str = "AZURE_OPENAI_API_MODEL";
const V1: &str = "openai/v1/";

/// How it is reached.
pub(crate) const ACCESS: Access = Access {
    name: "azureOpenai",
    variables: &[
        variable(
            "AZURE_OPENAI_API_BASE",
            None,
            "https://resource.openai.azure.com",
            "Where Azure's OpenAI service is",
        ),
        variable("AZURE_OPENAI_API_KEY", None, "...", "Key of that resource"),
        variable(
            DEPLOYMENT,
            None,
            "gpt-image-2",
            "The deployment that draws, whichever model is behind it",
        ),
        variable(
            VERSION,
            Some("v1"),
            "v1",
            "v1, preview, or a date such as 2025-04-01-preview, which asks below /openai/deployments",
        ),
        variable(
            MODEL,
            None,
            "gpt-image-2",
            "The model behind the deployment. Default: seen from the deployment's name",
        ),
    ],
    keys: &["AZURE_OPENAI_API_KEY"],
    bases: &["AZURE_OPENAI_API_BASE"],
    header: ("api-key", ""),
    base: resource,
    ..Access::usual(|reader| {
        let name = reader.text(DEPLOYMENT);
        let version = reader.or_default(VERSION, ApiVersion::parse);
        let model = reader.optional(MODEL, openai_model);
        direct::make(AzureOpenAi(
            name.map(|name| Deployment::new(name, model, version)),
        ))
    })
};

/// Holds the one deployment that packages may name.
struct AzureOpenAi(Option<Deployment>);

/// The resource's own address: some write down a path below it, which is ours to add.
fn resource(base_url: &Url) -> Url {
    let mut base = base_url.clone();
    let path = base.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path);
    let path = path.strip_suffix("/openai").unwrap_or(path).to_owned();
    base.set_path(&path);
    base
}

fn openai_model(id: &str) -> Result<&'static Model, String> {
    catalog::find("openai", id).ok_or_else(|| {
        format!(
            "\"{}\" was found; the id of a model of OpenAI is accepted, such as gpt-image-2",
            repeated(id)
        )
    })
}

impl Direct for AzureOpenAi {
    const DIALECT: Dialect = Dialect { judge, ..DIALECT };
    const PROMPTS: Prompts = Prompts::Instructed;

    fn offers(&self, provider: &'static str, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let Some(deployment) = &self.0 else {
            return Err(Unsupported {
                class: ErrorClass::Auth,
                message: format!(
                    "No image model is configured for provider: {provider}; {DEPLOYMENT} is not set"
                ),
            });
        };
        match spec.model.as_deref() {
            Some(asked) if !asked.is_empty() && asked != deployment.name => Err(refused(format!(
                "Unsupported image model for {provider}: {}; use {}",
                repeated(asked),
                deployment.name
            ))),
            _ => deployment.check(provider, spec),
        }
    }

    fn model(&self, _: &str, _: &str) -> Option<&'static Model> {
        self.0.as_ref()?.priced
    }

    /// Exactly the fields that a deployment takes.
    fn request(&self, call: &Call<'_>) -> Outgoing {
        let name = &*call.spec.model;
        let version = self.0.as_ref().map(|deployment| &deployment.version);
        let dated = match version {
            Some(ApiVersion::Dated(date)) => Some(date.as_str()),
            _ => None,
        };
        // Each family of models refuses the other's field for the format.
        let is_dall_e = self.0.as_ref().is_some_and(Deployment::is_dall_e);
        let fields = [
            // With it, the dated path refuses some models.
            ("model", dated.is_none().then(|| name.into())),
            ("moderation", call.spec.moderation().map(Value::from)),
            ("output_format", (!is_dall_e).then(|| call.spec.format().into())),
            ("response_format", is_dall_e.then(|| "b64_json".into())),
        ];
        let body = with(openai_images::body(call), fields);
        match (dated, version) {
            (Some(date), _) => {
                let segment: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
                let base = format!("openai/deployments/{}/", segment.replace('+', "%20"));
                asking(&base, call, &body).query("api-version", date)
            }
            (_, Some(ApiVersion::Preview)) => asking(V1, call, &body).query("api-version", "preview"),
            _ => asking(V1, call, &body),
        }
    }

    /// Source: prices of Azure equal those of OpenAI ("Azure OpenAI pricing").
    fn cost(model: Option<&Model>, usage: Option<&Value>) -> Option<Cost> {
        catalog::cost(model?, usage?)
    }
}

fn judge(signs: &Signs<'_>) -> ErrorClass {
    own_class(signs).unwrap_or_else(|| openai_images::judge(signs))
}

/// What Azure means by signs of its own.
fn own_class(signs: &Signs<'_>) -> Option<ErrorClass> {
    match signs.status {
        // The whole resource is blocked, the network refused, or the key wrong. Never this prompt, although the
        // sentence may quote the content policy.
        401 | 403 => return Some(ErrorClass::Auth),
        // A deployment that is not there, or a path that this version of the API does not have.
        404 | 410 => return Some(ErrorClass::ModelGone),
        _ => {}
    }
    let inner = |name: &str| signs.body.json.as_ref()?.pointer(&format!("/error/{name}"));
    let is_filter = ["innererror", "inner_error"]
        .into_iter()
        .filter_map(inner)
        .any(|inner| {
            inner.get("code").and_then(Value::as_str) == Some("ResponsibleAIPolicyViolation")
                || ["content_filter_result", "content_filter_results"]
                    .iter()
                    .any(|name| inner.get(name).is_some_and(|result| !result.is_null()))
        });
    // Azure's look-alikes of codes; what OpenAI has too is known to everybody.
    match signs.body.code.as_deref() {
        _ if is_filter => Some(ErrorClass::Moderation),
        Some("ResponsibleAIPolicyViolation" | "content_filter_error") => Some(ErrorClass::Moderation),
        Some("RateLimitReached") => Some(ErrorClass::RateLimited),
        _ => None,
    }
}
