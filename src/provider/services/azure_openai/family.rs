//! What is behind a deployment, and what it takes: a name of an operator's choice does not say.

use super::{ApiVersion, NAME};
use crate::provider::catalog::pixels::refused;
use crate::provider::catalog::{self, Choices, Model, repeated};
use crate::provider::{CheckedSpec, ImageSpec, Unsupported};
use crate::work_package::{Background, ImageType, Moderation, OutputFormat};

/// What a deployment takes.
#[derive(Clone, Copy, Debug)]
pub enum Family {
    /// DALL-E 3, retired on 2026-03-04: three sizes, `standard` and `hd`.
    DallE,
    /// A GPT image model that is known.
    Gpt(&'static Model),
    /// Some GPT image model: it is asked for anything that one of them takes.
    AnyGpt,
}

/// Azure's GPT image deployments take no `auto`.
const GPT_QUALITIES: [&str; 3] = ["low", "medium", "high"];
const MEDIUM: &str = "medium";
/// The first version whose deployments path knows GPT image models.
/// Source: Microsoft Learn, "How to use Azure OpenAI image generation models", "Prerequisites".
const FIRST_WITH_GPT: &str = "2025-04-01";

impl Family {
    /// The family of `model`, where it is told; otherwise what the deployment's name or the version gives away.
    pub(super) fn behind(deployment: &str, model: Option<&str>, version: &ApiVersion) -> Self {
        if let Some(model) = model.and_then(|model| catalog::find("openai", model)) {
            return Self::of(model);
        }
        let name = deployment.to_lowercase();
        let known = catalog::all("openai")
            .filter(|model| name.contains(&model.id))
            .max_by_key(|model| model.id.len());
        match (known, version) {
            (Some(model), _) => Self::of(model),
            _ if name.contains("dall-e") || name.contains("dalle") => Self::DallE,
            (None, ApiVersion::Dated(date)) if date.as_str() < FIRST_WITH_GPT => Self::DallE,
            _ => Self::AnyGpt,
        }
    }

    fn of(model: &'static Model) -> Self {
        if model.id.starts_with("dall-e") {
            Self::DallE
        } else {
            Self::Gpt(model)
        }
    }

    /// The model whose prices are known. Source: prices of Azure equal those of OpenAI ("Azure OpenAI pricing").
    pub(super) fn model(self) -> Option<&'static Model> {
        match self {
            Self::Gpt(model) => Some(model),
            Self::DallE | Self::AnyGpt => None,
        }
    }

    fn table(self) -> Option<&'static Model> {
        match self {
            Self::DallE => catalog::find("openai", "dall-e-3"),
            Self::Gpt(model) => Some(model),
            Self::AnyGpt => catalog::find("openai", "gpt-image-2"),
        }
    }

    /// Size and quality as they go on the wire; empty means absent.
    pub(super) fn check(self, spec: &ImageSpec, deployment: &str) -> Result<(String, String), Unsupported> {
        let (qualities, default_quality): (&[&str], &str) = match self {
            Self::DallE => (&["standard", "hd"], "standard"),
            // The model's own, from which Azure leaves `auto` out.
            Self::Gpt(model) if model.qualities.iter().any(|quality| quality == "xhigh") => {
                (&["low", "medium", "high", "xhigh", "max"], MEDIUM)
            }
            Self::Gpt(_) | Self::AnyGpt => (&GPT_QUALITIES, MEDIUM),
        };
        let size = match spec.size.as_deref().filter(|size| !size.is_empty()) {
            None => self.default_size(spec.image_type),
            Some(size) => self.accept(size).ok_or_else(|| {
                let right = self
                    .table()
                    .map(|model| model.sizes.to_string())
                    .unwrap_or_default();
                refused(format!(
                    "Unsupported image size for {deployment}: {}; use {right}",
                    repeated(size)
                ))
            })?,
        };
        let quality = match spec.quality.as_deref().filter(|quality| !quality.is_empty()) {
            None => default_quality,
            Some(quality) => qualities
                .iter()
                .copied()
                .find(|known| *known == quality)
                .ok_or_else(|| {
                    refused(format!(
                        "Unsupported image quality for {deployment}: {}; use {}",
                        repeated(quality),
                        qualities.join(", ")
                    ))
                })?,
        };
        Ok((size, quality.to_owned()))
    }

    /// All else that is asked for. Azure delivers no WebP.
    pub(super) fn check_options(
        self,
        spec: &ImageSpec,
        deployment: &str,
    ) -> Result<CheckedSpec, Unsupported> {
        let gpt = Choices {
            backgrounds: &[Background::Transparent, Background::Opaque],
            moderations: &[Moderation::Low],
            formats: &[OutputFormat::Png, OutputFormat::Jpeg],
            ..Choices::default()
        };
        let choices = match self {
            Self::DallE => Choices::default(),
            Self::Gpt(model) => Choices {
                backgrounds: &model.backgrounds,
                references: model.references.as_ref(),
                ..gpt
            },
            Self::AnyGpt => Choices {
                references: self.table().and_then(|model| model.references.as_ref()),
                ..gpt
            },
        };
        catalog::check_options(choices, NAME, deployment, spec)
    }

    fn accept(self, size: &str) -> Option<String> {
        self.table()?.sizes.accept(size)
    }

    fn default_size(self, image_type: ImageType) -> String {
        let table = match self {
            // What every GPT image model draws.
            Self::AnyGpt => catalog::find("openai", "gpt-image-1"),
            _ => self.table(),
        };
        let size = table.map(|model| match image_type {
            ImageType::Icon => model.default_size.icon.as_str(),
            ImageType::Collection => model.default_size.otherwise.as_str(),
        });
        size.unwrap_or("1024x1024").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(deployment: &str, model: Option<&str>, version: &str) -> String {
        let version = ApiVersion::parse(version).unwrap();
        match Family::behind(deployment, model, &version) {
            Family::DallE => "dall-e".to_owned(),
            Family::AnyGpt => "any".to_owned(),
            Family::Gpt(model) => model.id.clone(),
        }
    }

    #[test]
    fn the_family_is_told_or_seen_from_name_and_version() {
        for (deployment, model, version, expected) in [
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
                family(deployment, model, version),
                expected,
                "{deployment} {model:?} {version}"
            );
        }
    }
}
