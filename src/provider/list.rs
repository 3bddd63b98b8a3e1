//! The one list of providers: an entry each, from which follow its variables, its settings, the provider and the question
//! about its account; and the providers of a replica.

use std::sync::Arc;

use anyhow::Context;

use super::catalog;
use super::policy::allowed::Allowed;
use super::policy::fallback;
use super::services::{
    automatic1111, azure_foundry, azure_openai, bedrock, bfl, blank, builtin, comfyui, fal, gemini, imagen,
    openai, openai_compatible, openrouter, qwen, replicate, seedream, stability, xai,
};
use super::wire::account::{AccountQuestion, ServiceSettings};
use super::wire::keyed::{Access, Keyed};
use super::{CheckedSpec, ImageProvider, ImageSpec, Unsupported};
use crate::failure::ErrorClass;
use crate::http_client::Downloads;
use crate::settings::{Reader, Variable};

/// One provider.
pub struct Entry {
    /// As packages and `IMAGE_PROVIDER` write it.
    pub name: &'static str,
    /// What an operator may set.
    pub variables: &'static [Variable],
    settings: Settings,
}

/// How what an operator has set is read.
enum Settings {
    /// A key and an address.
    Keyed(&'static Access),
    /// In a way of its own.
    Own(fn(&mut Reader<'_>) -> Arc<dyn ServiceSettings>),
}

impl Entry {
    /// A service behind a key and an address.
    const fn keyed(access: &'static Access) -> Self {
        Self {
            name: access.name,
            variables: access.variables,
            settings: Settings::Keyed(access),
        }
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn ServiceSettings> {
        match self.settings {
            Settings::Keyed(access) => Arc::new(Keyed::read(access, reader)),
            Settings::Own(read) => read(reader),
        }
    }
}

/// Every provider of this version. A new one is one entry here, one file in `services` and its models in the catalog.
pub const ENTRIES: &[Entry] = &[
    Entry::keyed(&openai::ACCESS),
    Entry::keyed(&azure_openai::ACCESS),
    Entry::keyed(&replicate::ACCESS),
    Entry {
        name: imagen::NAME,
        variables: imagen::VARIABLES,
        settings: Settings::Own(|reader| Arc::new(imagen::ImagenSettings::read(reader))),
    },
    Entry::keyed(&gemini::ACCESS),
    Entry::keyed(&bfl::ACCESS),
    Entry::keyed(&stability::ACCESS),
    Entry::keyed(&fal::ACCESS),
    Entry::keyed(&openrouter::ACCESS),
    Entry::keyed(&xai::ACCESS),
    Entry {
        name: bedrock::NAME,
        variables: bedrock::VARIABLES,
        settings: Settings::Own(|reader| Arc::new(bedrock::BedrockSettings::read(reader))),
    },
    Entry::keyed(&azure_foundry::ACCESS),
    Entry::keyed(&seedream::ACCESS),
    Entry::keyed(&qwen::ACCESS),
    Entry::keyed(&openai_compatible::ACCESS),
    Entry::keyed(&automatic1111::ACCESS),
    Entry::keyed(&comfyui::ACCESS),
    Entry {
        name: builtin::NAME,
        variables: &[],
        settings: Settings::Own(|_| Arc::new(builtin::Builtin)),
    },
    Entry {
        name: blank::NAME,
        variables: &[],
        settings: Settings::Own(|_| Arc::new(blank::Blank)),
    },
];

/// Names of [`ENTRIES`].
pub const PROVIDERS: [&str; ENTRIES.len()] = {
    let mut names = [""; ENTRIES.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = ENTRIES[at].name;
        at += 1;
    }
    names
};

/// What an operator has said about each service.
#[derive(Clone, Debug)]
pub struct Services(Vec<(&'static str, Arc<dyn ServiceSettings>)>);

impl Services {
    /// Reads the variables of every entry.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let read = ENTRIES.iter().map(|entry| {
            (
                entry.name,
                reader.with(entry.variables, |reader| entry.read(reader)),
            )
        });
        Self(read.collect())
    }

    /// Makes every provider, configured or not.
    ///
    /// # Errors
    /// When a provider's settings cannot be used.
    pub fn build(&self, downloads: &Downloads) -> anyhow::Result<Vec<Arc<dyn ImageProvider>>> {
        let all = self.0.iter();
        all.map(|(name, settings)| settings.build(downloads).context(*name))
            .collect()
    }

    /// What can be asked for free about the account at `name`.
    #[must_use]
    pub fn question(&self, name: &str) -> Option<AccountQuestion> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.and_then(|(_, settings)| settings.question())
    }
}

/// The providers of a replica, by name.
pub struct Providers {
    all: Vec<Arc<dyn ImageProvider>>,
    default: String,
    fallbacks: Vec<String>,
    allowed: Allowed,
}

impl Providers {
    /// `default` is used by packages that name none (`IMAGE_PROVIDER`), `fallbacks` in their order when the one that
    /// was meant cannot draw (`IMAGE_PROVIDER_FALLBACKS`).
    #[must_use]
    pub fn new(all: Vec<Arc<dyn ImageProvider>>, default: impl Into<String>, fallbacks: Vec<String>) -> Self {
        Self {
            all,
            default: default.into(),
            fallbacks,
            allowed: Allowed::default().with_low_moderation(true),
        }
    }

    /// The same, for packages that may ask for no more than this.
    #[must_use]
    pub fn allowing(mut self, allowed: Allowed) -> Self {
        self.allowed = allowed;
        self
    }

    /// What packages may ask for.
    #[must_use]
    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// Says, at no cost, whether a package may ask this of a provider, and whether it offers it.
    ///
    /// # Errors
    /// [`Unsupported`].
    pub fn accept(&self, provider: &dyn ImageProvider, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = provider.check(spec)?;
        self.allowed.check(provider.name(), &checked)?;
        Ok(checked)
    }

    /// The same of a provider that is to draw in another one's place; `None` where it does not.
    #[must_use]
    pub fn accept_instead(&self, provider: &dyn ImageProvider, spec: &ImageSpec) -> Option<CheckedSpec> {
        let checked = fallback::translate(provider, spec)?;
        let is_allowed = self.allowed.check(provider.name(), &checked).is_ok();
        is_allowed.then_some(checked)
    }

    /// All providers.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn ImageProvider>> {
        self.all.iter()
    }

    /// Names of all providers.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.all.iter().map(|provider| provider.name())
    }

    /// Models of the providers that are configured.
    pub fn models(&self) -> impl Iterator<Item = &'static catalog::Model> {
        let is_configured =
            |provider: &&Arc<dyn ImageProvider>| provider.check(&ImageSpec::default()).is_ok();
        let configured = self.all.iter().filter(is_configured);
        configured.flat_map(|provider| catalog::all(provider.name()))
    }

    /// Name of the provider that a package is for.
    #[must_use]
    pub fn name_of<'a>(&'a self, name: Option<&'a str>) -> &'a str {
        name.unwrap_or(&self.default)
    }

    /// Those that may draw in place of `meant`, in their order.
    pub fn fallbacks_for<'a>(&'a self, meant: &'a str) -> impl Iterator<Item = Arc<dyn ImageProvider>> {
        self.fallbacks
            .iter()
            .filter(move |name| *name != meant)
            .filter_map(|name| self.select(Some(name)).ok())
    }

    /// The provider that a package names, or the default one.
    ///
    /// # Errors
    /// [`Unsupported`] for a name that this version does not know.
    pub fn select(&self, name: Option<&str>) -> Result<Arc<dyn ImageProvider>, Unsupported> {
        let name = self.name_of(name);
        self.all
            .iter()
            .find(|provider| provider.name() == name)
            .cloned()
            .ok_or_else(|| {
                let known: Vec<_> = self.all.iter().map(|provider| provider.name()).collect();
                let found: String = name.chars().take(80).collect();
                Unsupported {
                    class: ErrorClass::InvalidRequest,
                    message: format!(
                        "Unsupported image provider: {found}; this version has {}",
                        known.join(", ")
                    ),
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::provider::{Call, suite};
    use crate::work_package::Prompt;

    /// Every provider, as an operator has set it.
    fn built(variables: &[(&str, &str)]) -> Vec<Arc<dyn ImageProvider>> {
        crate::http_client::install_tls();
        let environment = Environment::from_iter(variables.iter().copied());
        let services = Services::read(&mut Reader::new(&environment));
        services.build(&Downloads::new(false).unwrap()).unwrap()
    }

    #[test]
    fn an_entry_is_the_provider_that_it_names() {
        let built = built(&[]);
        let names: Vec<&str> = built.iter().map(|provider| provider.name()).collect();
        assert_eq!(names, PROVIDERS);
        for provider in &built {
            let has_models = catalog::all(provider.name()).count() > 0;
            let is_told = provider
                .check(&ImageSpec::default())
                .is_ok_and(|checked| !checked.model.is_empty());
            let own_models = ["azureOpenai", "openaiCompatible", "automatic1111", "comfyui"];
            assert!(
                has_models || is_told || own_models.contains(&provider.name()),
                "{} has no models",
                provider.name()
            );
        }
    }

    #[tokio::test]
    async fn without_a_key_every_request_is_refused_with_the_variable_and_nothing_is_sent() {
        let empty: Vec<(&str, &str)> = ENTRIES
            .iter()
            .flat_map(|entry| entry.variables)
            .filter(|variable| variable.default.is_none())
            .map(|variable| (variable.name, " \n"))
            .collect();
        for provider in built(&[]).iter().chain(&built(&empty)) {
            let name = provider.name();
            if ["builtin", "blank"].contains(&name) {
                continue;
            }
            // Some have no model of their own.
            let asked = match catalog::all(name).count() {
                0 if name != "azureOpenai" => suite::asking("any", "", ""),
                _ => ImageSpec::default(),
            };
            let refused = provider.check(&asked).unwrap_err();
            assert_eq!(refused.class, ErrorClass::Auth, "{name}: {refused}");
            assert!(refused.message.contains(" is not set"), "{name}: {refused}");
            let spec = CheckedSpec {
                model: "a/b".to_owned(),
                ..CheckedSpec::default()
            };
            let prompt = Prompt::new("a paper boat".to_owned());
            let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(300);
            let drawn = provider.draw(&Call::unwatched(&prompt, &spec, deadline)).await;
            let error = suite::ended(drawn.unwrap_err());
            assert_eq!(error.class, ErrorClass::Auth, "{error}");
            assert!(error.details.ends_with(" is not set"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_and_not_repeated() {
        for entry in ENTRIES {
            let Settings::Keyed(access) = &entry.settings else {
                continue;
            };
            let base_url = url::Url::parse("https://x.invalid/?key=hunter3").unwrap();
            let faults = suite::settings(access, &base_url, "hunter1\nhunter2").faults();
            assert_eq!(faults.len(), 2, "{faults:?}");
            assert!(faults[0].starts_with(access.keys[0]), "{faults:?}");
            assert!(faults[1].starts_with(access.bases[0]), "{faults:?}");
            assert!(!faults.concat().contains("hunter"), "{faults:?}");
            let settings = suite::settings(access, &suite::nowhere(), "hunter1");
            assert!(!format!("{settings:?}").contains("hunter"), "{settings:?}");
        }
    }
}
