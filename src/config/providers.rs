//! Who draws: the settings of every image provider.

use super::{Environment, Faults, google, self_hosted, values};
use crate::provider::catalog::{self, Model};
use crate::provider::policy::allowed::Allowed;
use crate::provider::services::automatic1111::Automatic1111Settings;
use crate::provider::services::azure_openai::AzureOpenAiSettings;
use crate::provider::services::bfl::BflSettings;
use crate::provider::services::comfyui::ComfyUiSettings;
use crate::provider::services::fal::FalSettings;
use crate::provider::services::gemini::GeminiSettings;
use crate::provider::services::imagen::ImagenSettings;
use crate::provider::services::openai::OpenAiSettings;
use crate::provider::services::openai_compatible::OpenAiCompatibleSettings;
use crate::provider::services::replicate::ReplicateSettings;
use crate::provider::services::stability::StabilitySettings;
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
    /// OpenAI.
    pub openai: OpenAiSettings,
    /// Azure's OpenAI service.
    pub azure_openai: AzureOpenAiSettings,
    /// Replicate, for `flux`.
    pub replicate: ReplicateSettings,
    /// Vertex AI.
    pub imagen: ImagenSettings,
    /// The Gemini API.
    pub gemini: GeminiSettings,
    /// Black Forest Labs.
    pub bfl: BflSettings,
    /// Stability AI.
    pub stability: StabilitySettings,
    /// fal.
    pub fal: FalSettings,
    /// Any server that speaks OpenAI's Images API.
    pub openai_compatible: OpenAiCompatibleSettings,
    /// AUTOMATIC1111's web UI.
    pub automatic1111: Automatic1111Settings,
    /// ComfyUI.
    pub comfyui: ComfyUiSettings,
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
        openai: openai_settings(reader),
        azure_openai: self_hosted::azure_openai_settings(reader),
        replicate: replicate_settings(reader),
        imagen: google::imagen_settings(reader),
        gemini: google::gemini_settings(reader),
        bfl: bfl_settings(reader),
        stability: stability_settings(reader),
        fal: fal_settings(reader),
        openai_compatible: self_hosted::openai_compatible_settings(reader),
        automatic1111: self_hosted::automatic1111_settings(reader),
        comfyui: self_hosted::comfyui_settings(reader),
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

fn openai_settings(reader: &mut Reader<'_>) -> OpenAiSettings {
    let settings = OpenAiSettings {
        api_key: reader.secret("OPENAI_API_KEY"),
        base_url: reader.or_default("OPENAI_BASE_URL", values::http_url),
        organization: reader.text("OPENAI_ORG_ID"),
        project: reader.text("OPENAI_PROJECT_ID"),
    };
    reader.all_faults(settings.faults());
    settings
}

fn replicate_settings(reader: &mut Reader<'_>) -> ReplicateSettings {
    let settings = ReplicateSettings {
        api_token: reader.secret("REPLICATE_API_TOKEN"),
        base_url: reader.or_default("REPLICATE_BASE_URL", values::http_url),
        model: reader.text("FLUX_PRO_MODEL_NAME"),
    };
    reader.all_faults(settings.faults());
    settings
}

fn bfl_settings(reader: &mut Reader<'_>) -> BflSettings {
    let settings = BflSettings {
        api_key: reader.secret("BFL_API_KEY"),
        base_url: reader.or_default("BFL_BASE_URL", values::http_url),
    };
    reader.all_faults(settings.faults());
    settings
}

fn stability_settings(reader: &mut Reader<'_>) -> StabilitySettings {
    let settings = StabilitySettings {
        api_key: reader.secret("STABILITY_API_KEY"),
        base_url: reader.or_default("STABILITY_BASE_URL", values::http_url),
    };
    reader.all_faults(settings.faults());
    settings
}

fn fal_settings(reader: &mut Reader<'_>) -> FalSettings {
    let key = reader.secret("FAL_KEY");
    let same_key = reader.secret("FAL_API_KEY");
    let settings = FalSettings {
        api_key: key.or(same_key),
        base_url: reader.or_default("FAL_BASE_URL", values::http_url),
    };
    reader.all_faults(settings.faults());
    settings
}
