//! FLUX and MAI on Azure (Microsoft Foundry): one call, one picture, as base64 in JSON. OpenAI's models there are
//! `azureOpenai`.
//!
//! Source: Microsoft Learn, "Deploy and use FLUX models in Microsoft Foundry" and "MAI-Image", as of 2026-11.

use serde_json::json;

use crate::failure::ErrorClass;
use crate::http_client::Outgoing;
use crate::provider::Call;
use crate::provider::catalog::pixels_of;
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::errors::Signs;
use crate::provider::wire::keyed::Access;
use crate::provider::wire::openai_images;
use crate::provider::wire::reading::Dialect;
use crate::settings::variable;

#[cfg(test)]
mod tests;

/// How it is reached.
pub(crate) const ACCESS: Access = Access {
    name: "azureFoundry",
    variables: &[
        variable(
            "AZURE_FOUNDRY_BASE_URL",
            None,
            "https://resource.services.ai.azure.com",
            "Where the resource of Microsoft Foundry is that has FLUX or MAI models",
        ),
        variable("AZURE_FOUNDRY_API_KEY", None, "...", "Key of that resource"),
    ],
    keys: &["AZURE_FOUNDRY_API_KEY"],
    bases: &["AZURE_FOUNDRY_BASE_URL"],
    header: ("api-key", ""),
    ..Access::usual(|_| direct::make(AzureFoundry))
};

struct AzureFoundry;

impl Direct for AzureFoundry {
    const DIALECT: Dialect = Dialect {
        judge,
        ..openai_images::DIALECT
    };

    /// The model's name is that of its deployment, as Azure proposes it.
    fn request(&self, call: &Call<'_>) -> Outgoing {
        let model = &call.spec.model;
        let mut body = json!({"model": model, "prompt": call.prompt.expose()});
        let size = call.spec.size.as_deref();
        if let Some((width, height)) = size.and_then(|size| pixels_of(size, "1K", 16)) {
            body["width"] = width.into();
            body["height"] = height.into();
        }
        let path = match model.strip_prefix("FLUX.2-") {
            Some(kind) => {
                body["n"] = 1.into();
                body["output_format"] = call.spec.format().into();
                if let Some(seed) = call.spec.seed {
                    body["seed"] = seed.into();
                }
                format!("providers/blackforestlabs/v1/flux-2-{kind}")
            }
            None => "mai/v1/images/generations".to_owned(),
        };
        Outgoing::post_json(path, &body).query("api-version", "preview")
    }
}

/// As `azureOpenai`: a 401 or 403 is never about the prompt, whatever its sentence quotes.
fn judge(signs: &Signs<'_>) -> ErrorClass {
    match signs.status {
        401 | 403 => ErrorClass::Auth,
        404 | 410 => ErrorClass::ModelGone,
        400 if signs.says(&["content filter", "content_filter", "responsible ai", "moderat"]) => {
            ErrorClass::Moderation
        }
        _ => openai_images::judge(signs),
    }
}
