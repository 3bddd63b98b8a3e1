//! Who draws: the settings of every image provider.

use super::{Environment, Faults, values};
use crate::provider::catalog::{self, Model};
use crate::provider::list::Services;
use crate::provider::policy::allowed::Allowed;
use crate::settings::Reader;

/// Who draws, and how each is reached.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// The provider of packages that name none.
    pub default: String,
    /// Whether `IMAGE_PROVIDER` names it, and not only its default.
    pub is_chosen: bool,
    /// Who draws, in this order, when the provider that was meant cannot.
    pub fallbacks: Vec<String>,
    /// How each service is reached.
    pub services: Services,
    /// An operator's own models.
    pub models: Vec<Model>,
    /// What packages may ask for.
    pub allowed: Allowed,
    /// Whether result URLs of providers may lead to private addresses.
    pub allow_private_result_urls: bool,
}

impl ProviderSettings {
    /// Reads what a command needs that only shows the providers.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn from_environment(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = Reader::new(environment);
        let settings = provider_settings(&mut reader);
        reader.finish(settings)
    }
}

pub(super) fn provider_settings(reader: &mut Reader<'_>) -> ProviderSettings {
    let chosen = reader.optional("IMAGE_PROVIDER", values::provider_name);
    ProviderSettings {
        is_chosen: chosen.is_some(),
        default: chosen.unwrap_or_else(|| reader.or_default("IMAGE_PROVIDER", values::provider_name)),
        fallbacks: reader
            .optional("IMAGE_PROVIDER_FALLBACKS", values::provider_names)
            .unwrap_or_default(),
        services: Services::read(reader),
        models: reader.optional("MODELS_FILE", models_of).unwrap_or_default(),
        allowed: reader
            .optional("ALLOWED_MODELS", |text| {
                Allowed::parse(text, values::provider_name)
            })
            .unwrap_or_default()
            .with_low_moderation(reader.or_default("ALLOW_LOW_MODERATION", values::boolean)),
        allow_private_result_urls: reader.or_default("ALLOW_PRIVATE_RESULT_URLS", values::boolean),
    }
}

fn models_of(path: &str) -> Result<Vec<Model>, String> {
    let json =
        std::fs::read_to_string(path).map_err(|error| format!("the file {path} cannot be read: {error}"))?;
    catalog::parse(&json).map_err(|wrong| format!("the file {path} is no table of models: {wrong}"))
}
