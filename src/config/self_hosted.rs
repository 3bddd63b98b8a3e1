//! Services that people run themselves, and deployments that they name.

use std::path::PathBuf;

use super::values;
use crate::provider::services::automatic1111::Automatic1111Settings;
use crate::provider::services::azure_openai::{ApiVersion, AzureOpenAiSettings};
use crate::provider::services::comfyui::ComfyUiSettings;
use crate::provider::services::openai_compatible::OpenAiCompatibleSettings;
use crate::settings::Reader;

pub(super) fn azure_openai_settings(reader: &mut Reader<'_>) -> AzureOpenAiSettings {
    let settings = AzureOpenAiSettings {
        base_url: reader.optional("AZURE_OPENAI_API_BASE", values::http_url),
        api_key: reader.secret("AZURE_OPENAI_API_KEY"),
        deployment: reader.text("AZURE_OPENAI_API_DALLE_DEPLOYMENT_NAME"),
        version: reader.or_default("AZURE_OPENAI_API_VERSION", ApiVersion::parse),
        model: reader.text("AZURE_OPENAI_API_MODEL"),
    };
    reader.all_faults(settings.faults());
    settings
}

pub(super) fn openai_compatible_settings(reader: &mut Reader<'_>) -> OpenAiCompatibleSettings {
    let settings = OpenAiCompatibleSettings {
        base_url: reader.optional("OPENAI_COMPATIBLE_BASE_URL", values::http_url),
        api_key: reader.secret("OPENAI_COMPATIBLE_API_KEY"),
        model: reader.text("OPENAI_COMPATIBLE_MODEL"),
        is_free: reader.or_default("OPENAI_COMPATIBLE_IS_FREE", values::boolean),
    };
    reader.all_faults(settings.faults());
    settings
}

pub(super) fn automatic1111_settings(reader: &mut Reader<'_>) -> Automatic1111Settings {
    let settings = Automatic1111Settings {
        base_url: reader.optional("AUTOMATIC1111_BASE_URL", values::http_url),
        api_key: reader.secret("AUTOMATIC1111_API_KEY"),
        options: reader.text("AUTOMATIC1111_OPTIONS"),
    };
    reader.all_faults(settings.faults());
    settings
}

pub(super) fn comfyui_settings(reader: &mut Reader<'_>) -> ComfyUiSettings {
    let settings = ComfyUiSettings {
        base_url: reader.optional("COMFYUI_BASE_URL", values::http_url),
        api_key: reader.secret("COMFYUI_API_KEY"),
        workflow: reader.text("COMFYUI_WORKFLOW").map(PathBuf::from),
        checkpoint: reader.text("COMFYUI_CHECKPOINT"),
    };
    reader.all_faults(settings.faults());
    settings
}
