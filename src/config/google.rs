//! What Google's image services need.

use std::path::{Path, PathBuf};

use super::values;
use crate::provider::services::gemini::GeminiSettings;
use crate::provider::services::imagen::ImagenSettings;
use crate::provider::services::imagen::auth::GoogleAuthSettings;
use crate::settings::Reader;

pub(super) fn imagen_settings(reader: &mut Reader<'_>) -> ImagenSettings {
    let settings = ImagenSettings {
        project: reader.text("GOOGLE_CLOUD_PROJECT_ID"),
        location: reader.text("GOOGLE_CLOUD_IMAGEN_LOCATION"),
        base_url: reader.optional("VERTEX_BASE_URL", values::http_url),
        auth: GoogleAuthSettings {
            credentials_file: reader.text("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
            well_known_file: well_known_file(reader),
            metadata_host: reader.text("GCE_METADATA_HOST"),
        },
    };
    for fault in settings.faults() {
        reader.fault(fault);
    }
    settings
}

/// Where gcloud keeps the login of `gcloud auth application-default login`.
///
/// Source: Google Cloud, "How Application Default Credentials works".
fn well_known_file(reader: &Reader<'_>) -> Option<PathBuf> {
    let directory = match reader.foreign("CLOUDSDK_CONFIG") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(reader.foreign("HOME")?).join(".config/gcloud"),
    };
    Some(directory.join("application_default_credentials.json"))
}

pub(super) fn gemini_settings(reader: &mut Reader<'_>) -> GeminiSettings {
    let own = reader.secret("GEMINI_API_KEY");
    let settings = GeminiSettings {
        // Other services of Google take keys under the second name, so the first says more.
        api_key: own.or_else(|| reader.secret("GOOGLE_API_KEY")),
        base_url: reader.or_default("GEMINI_BASE_URL", values::http_url),
    };
    for fault in settings.faults() {
        reader.fault(fault);
    }
    settings
}
