//! What packages may ask for, as far as an operator limits it: `ALLOWED_MODELS` and `ALLOW_LOW_MODERATION`.
//!
//! Whoever may push a package spends the operator's money at whatever model it names. Looked at before a purchase, never between
//! a job and what is paid already.

use crate::failure::ErrorClass;
use crate::provider::{CheckedSpec, Unsupported};
use crate::work_package::Moderation;

/// What packages may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// `None`: every model of every provider.
    models: Option<Vec<AllowedModel>>,
    /// Whether a package may have its prompt judged less strictly.
    low_moderation: bool,
}

/// One of the comma-separated parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedModel {
    /// Whose.
    pub provider: String,
    /// `None`: every model of it.
    pub model: Option<String>,
    /// Empty: every quality.
    pub qualities: Vec<String>,
}

impl Allowed {
    /// Reads `openai:gpt-image-2,openai:gpt-image-2.6-flare:low|medium,builtin`. `known` judges names of providers.
    ///
    /// # Errors
    /// What was found and what is accepted, to stand after the variable's name.
    pub fn parse(text: &str, known: impl Fn(&str) -> Result<String, String>) -> Result<Self, String> {
        let mut models = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let mut parts = item.splitn(2, ':');
            let provider = known(parts.next().unwrap_or_default())?;
            let rest = parts.next();
            // Models of some services have colons in their names: qualities are what comes after the last one, where that
            // looks like some.
            let (model, qualities) = match rest.and_then(|rest| rest.rsplit_once(':')) {
                Some((model, words)) if words.split('|').all(is_word) => {
                    (Some(model), words.split('|').map(str::to_owned).collect())
                }
                _ => (rest, Vec::new()),
            };
            if model.is_some_and(str::is_empty) {
                return Err(format!(
                    "\"{item}\" was found; write for example openai:gpt-image-2, openai:gpt-image-2:low|medium or builtin, separated by \
                     commas"
                ));
            }
            models.push(AllowedModel {
                provider,
                model: model.map(str::to_owned),
                qualities,
            });
        }
        Ok(Self {
            models: (!models.is_empty()).then_some(models),
            low_moderation: false,
        })
    }

    /// What is named; `None` where every model of every provider is allowed.
    #[must_use]
    pub fn models(&self) -> Option<&[AllowedModel]> {
        self.models.as_deref()
    }

    /// The same, with or without packages that ask for `moderation: low`.
    #[must_use]
    pub fn with_low_moderation(mut self, low_moderation: bool) -> Self {
        self.low_moderation = low_moderation;
        self
    }

    /// Whether a provider may be asked for this.
    ///
    /// # Errors
    /// [`Unsupported`], `InvalidRequest`: says what may be asked for instead.
    pub fn check(&self, provider: &str, spec: &CheckedSpec) -> Result<(), Unsupported> {
        if spec.options.moderation == Some(Moderation::Low) && !self.low_moderation {
            return Err(refused(
                "moderation low is not allowed on this service; leave moderation out".to_owned(),
            ));
        }
        let Some(models) = &self.models else {
            return Ok(());
        };
        let of_model = |entry: &&AllowedModel| {
            entry.provider == provider && entry.model.as_ref().is_none_or(|model| *model == spec.model)
        };
        let entries: Vec<&AllowedModel> = models.iter().filter(of_model).collect();
        let quality = spec.quality.as_deref();
        let has_quality = |entry: &&AllowedModel| {
            entry.qualities.is_empty()
                || quality.is_some_and(|quality| entry.qualities.iter().any(|allowed| allowed == quality))
        };
        if entries.iter().any(has_quality) {
            return Ok(());
        }
        if entries.is_empty() {
            let all: Vec<String> = models.iter().map(AllowedModel::name).collect();
            return Err(refused(format!(
                "{provider}:{} is not allowed on this service, which draws with {}",
                spec.model,
                all.join(", ")
            )));
        }
        let words: Vec<&str> = entries
            .iter()
            .flat_map(|entry| entry.qualities.iter().map(String::as_str))
            .collect();
        Err(refused(format!(
            "{} is not allowed on this service with {}; set imageQuality to {}",
            spec.model,
            quality.map_or_else(
                || "no imageQuality".to_owned(),
                |quality| format!("imageQuality {quality}")
            ),
            words.join(" or ")
        )))
    }
}

impl AllowedModel {
    /// As it is written, without its qualities.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.model {
            Some(model) => format!("{}:{model}", self.provider),
            None => self.provider.clone(),
        }
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase())
}

fn refused(message: String) -> Unsupported {
    Unsupported {
        class: ErrorClass::InvalidRequest,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> Allowed {
        Allowed::parse(text, |name| Ok(name.to_owned())).unwrap()
    }

    fn spec(model: &str, quality: Option<&str>) -> CheckedSpec {
        CheckedSpec {
            model: model.to_owned(),
            quality: quality.map(str::to_owned),
            ..CheckedSpec::default()
        }
    }

    #[test]
    fn what_is_not_named_is_refused_and_what_is_allowed_is_said() {
        let some = allowed("openai:gpt-image-2, openai:flare:low|medium,builtin,fal:a/b:v1");
        for (provider, model, quality, refusal) in [
            ("openai", "gpt-image-2", Some("high"), None),
            ("openai", "gpt-image-2", None, None),
            ("openai", "flare", Some("medium"), None),
            (
                "openai",
                "flare",
                Some("high"),
                Some("set imageQuality to low or medium"),
            ),
            ("openai", "flare", None, Some("with no imageQuality; set")),
            (
                "openai",
                "other",
                None,
                Some("draws with openai:gpt-image-2, openai:flare, builtin"),
            ),
            ("builtin", "anything", Some("x"), None),
            ("fal", "a/b:v1", None, None),
            ("flux", "m", None, Some("flux:m is not allowed")),
        ] {
            let found = some
                .check(provider, &spec(model, quality))
                .err()
                .map(|refused| refused.message);
            match refusal {
                None => assert_eq!(found, None, "{provider}:{model}"),
                Some(said) => assert!(
                    found.as_ref().is_some_and(|found| found.contains(said)),
                    "{found:?}"
                ),
            }
        }
        assert_eq!(allowed("").check("flux", &spec("m", None)), Ok(()));
        assert!(Allowed::parse("openai:", |name| Ok(name.to_owned())).is_err());
        assert_eq!(
            Allowed::parse("nobody", |_| Err("who?".into())),
            Err("who?".to_owned())
        );
    }

    #[test]
    fn low_moderation_takes_an_operators_word() {
        let mut low = spec("m", None);
        low.options.moderation = Some(Moderation::Low);
        assert!(Allowed::default().check("openai", &low).is_err());
        assert_eq!(
            Allowed::default().with_low_moderation(true).check("openai", &low),
            Ok(())
        );
    }
}
