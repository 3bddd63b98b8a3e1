//! The providers of a replica.

use std::sync::Arc;

use super::catalog;
use super::policy::allowed::Allowed;
use super::policy::fallback;
use super::{CheckedSpec, ImageProvider, ImageSpec, Unsupported};
use crate::failure::ErrorClass;

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
