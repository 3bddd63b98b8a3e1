//! What is behind a deployment, and what it takes: a name of an operator's choice does not say.

use chrono::Utc;

use crate::provider::catalog::{self, Model, repeated};
use crate::provider::{CheckedSpec, ImageSpec, Unsupported};
use crate::work_package::{Background, OutputFormat};

/// The first version whose deployments path knows GPT image models.
/// Source: Microsoft Learn, "How to use Azure OpenAI image generation models", "Prerequisites".
const FIRST_WITH_GPT: &str = "2025-04-01";

/// Which of the two paths is used, and with which version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ApiVersion {
    /// `/openai/v1/…` with the deployment in the body.
    V1,
    /// Its preview.
    Preview,
    /// `/openai/deployments/<deployment>/…?api-version=<this date>`.
    Dated(String),
}

impl ApiVersion {
    /// `v1`, `preview`, or a date such as `2025-04-01-preview`.
    ///
    /// # Errors
    /// What was found and what is accepted, to stand after the variable's name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let date = text.strip_suffix("-preview").unwrap_or(text);
        let is_date = date.len() == 10 && chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok();
        match text {
            "v1" => Ok(Self::V1),
            "preview" => Ok(Self::Preview),
            _ if is_date => Ok(Self::Dated(text.to_owned())),
            _ => Err(format!(
                "\"{}\" was found; v1, preview, or a date such as 2025-04-01-preview is accepted",
                repeated(text)
            )),
        }
    }
}

/// A deployment, whichever model is behind it.
pub(super) struct Deployment {
    pub(super) name: String,
    pub(super) version: ApiVersion,
    /// The model behind it, where that is known and has a price.
    pub(super) priced: Option<&'static Model>,
    takes: &'static Model,
}

impl Deployment {
    /// `model` is what is behind it, where that was said; otherwise name and version give it away, or it is some GPT image model.
    pub(super) fn new(name: String, model: Option<&'static Model>, version: ApiVersion) -> Self {
        let lower = name.to_lowercase();
        let named = || {
            let named = catalog::all("openai").filter(|model| lower.contains(&model.id));
            named.max_by_key(|model| model.id.len())
        };
        let known = model.or_else(named);
        let is_old = matches!(&version, ApiVersion::Dated(date) if date.as_str() < FIRST_WITH_GPT);
        let is_dall_e = match known {
            Some(model) => model.id.starts_with("dall-e"),
            None => lower.contains("dall-e") || lower.contains("dalle") || is_old,
        };
        let priced = known.filter(|_| !is_dall_e);
        Self {
            name,
            version,
            priced,
            // Kept as long as the table is: there is one deployment.
            takes: Box::leak(Box::new(takes(is_dall_e, priced))),
        }
    }

    /// Whether DALL-E 3 is behind it, retired on 2026-03-04.
    pub(super) fn is_dall_e(&self) -> bool {
        self.takes.formats.is_empty()
    }

    /// As [`catalog::check`], for this deployment.
    pub(super) fn check(&self, provider: &str, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let today = Utc::now().date_naive();
        catalog::check_for(self.takes, &self.name, provider, spec, today)
    }
}

/// What a deployment of `model` takes, or of some GPT image model that is not known: anything that one of them takes.
/// Deployments end when Azure says so, take no `auto`, and deliver no WebP.
fn takes(is_dall_e: bool, model: Option<&Model>) -> Model {
    let table = |id: &str| catalog::find("openai", id).expect("the table of models has it");
    let mut takes = match model {
        _ if is_dall_e => table("dall-e-3").clone(),
        Some(model) => model.clone(),
        None => Model {
            // What every GPT image model draws.
            default_size: table("gpt-image-1").default_size.clone(),
            backgrounds: vec![Background::Transparent, Background::Opaque],
            ..table("gpt-image-2").clone()
        },
    };
    takes.ends_on = None;
    takes.qualities.retain(|quality| quality != "auto");
    takes.complexities.clear();
    takes.formats = match is_dall_e {
        true => Vec::new(),
        false => vec![OutputFormat::Png, OutputFormat::Jpeg],
    };
    takes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The model behind a deployment; `any` where it is some GPT image model.
    fn model(deployment: &str, model: Option<&str>, version: &str) -> String {
        let model = model.map(|id| catalog::find("openai", id).unwrap());
        let version = ApiVersion::parse(version).unwrap();
        let deployment = Deployment::new(deployment.to_owned(), model, version);
        match deployment.priced {
            _ if deployment.is_dall_e() => "dall-e".to_owned(),
            None => "any".to_owned(),
            Some(model) => model.id.clone(),
        }
    }

    #[test]
    fn the_model_is_told_or_seen_from_name_and_version() {
        for (deployment, told, version, expected) in [
            ("pictures", None, "v1", "any"),
            ("pictures", Some("gpt-image-2"), "v1", "gpt-image-2"),
            ("dalle", Some("gpt-image-2"), "v1", "gpt-image-2"),
            ("pictures", Some("dall-e-3"), "v1", "dall-e"),
            ("my-dall-e-3", None, "v1", "dall-e"),
            ("Dalle3", None, "2025-04-01-preview", "dall-e"),
            ("prod-GPT-image-1-mini-eu", None, "v1", "gpt-image-1-mini"),
            ("gpt-image-1.5", None, "v1", "gpt-image-1.5"),
            ("pictures", None, "2024-10-21", "dall-e"),
            ("pictures", None, "2025-04-01-preview", "any"),
            ("gpt-image-2", None, "2024-10-21", "gpt-image-2"),
        ] {
            assert_eq!(
                model(deployment, told, version),
                expected,
                "{deployment} {told:?} {version}"
            );
        }
    }
}
