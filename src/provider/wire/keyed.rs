//! A service at one address, which is asked with a key or without: what an operator says of it, read and checked, and how it
//! is reached with that.

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use reqwest::header::HeaderName;
use secrecy::SecretString;
use url::Url;

use super::account::{AccountQuestion, ServiceSettings};
use super::header::header_value;
use super::key::Key;
use super::service::Service;
use crate::http_client::{Downloads, HttpClient, check_base_url};
use crate::provider::ImageProvider;
use crate::settings::{Reader, Variable, values};

/// What has to be known of a service to reach it.
#[derive(Debug)]
pub(crate) struct Access {
    /// As packages write it.
    pub(crate) name: &'static str,
    /// What an operator may set.
    pub(crate) variables: &'static [Variable],
    /// Variables of the key; the first one that is set wins.
    pub(crate) keys: &'static [&'static str],
    /// Variables of the address; the first one that is set wins, and the first may have a default.
    pub(crate) bases: &'static [&'static str],
    /// The header that carries the key, and what stands before the key in it.
    pub(crate) header: (&'static str, &'static str),
    /// What goes along in headers: the variable and the header of each.
    pub(crate) more: &'static [(&'static str, &'static str)],
    /// The path below the address that answers for free, and only to who has a key.
    pub(crate) question: Option<&'static str>,
    /// Whether nothing is sent without a key.
    pub(crate) needs_key: bool,
    /// The service's own address, where some write down a path below it.
    pub(in crate::provider) base: fn(&Url) -> Url,
    /// Reads what is said of the service besides, and keeps what is wrong with that.
    pub(in crate::provider) read: fn(&mut Reader<'_>) -> Make,
}

impl Access {
    /// As most services are reached: with a key behind `Bearer`, and nothing besides.
    pub(in crate::provider) const fn usual(read: fn(&mut Reader<'_>) -> Make) -> Self {
        Self {
            name: "",
            variables: &[],
            keys: &[],
            bases: &[],
            header: ("authorization", "Bearer "),
            more: &[],
            question: None,
            needs_key: true,
            base: Url::clone,
            read,
        }
    }
}

/// Makes the provider of a service that is reached so.
#[derive(Clone)]
pub(in crate::provider) struct Make(Arc<dyn Fn(Service) -> Arc<dyn ImageProvider> + Send + Sync>);

impl Make {
    pub(in crate::provider) fn new<P: ImageProvider + 'static>(
        make: impl Fn(Service) -> P + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |service| Arc::new(make(service))))
    }

    pub(in crate::provider) fn provider(&self, service: Service) -> Arc<dyn ImageProvider> {
        (self.0)(service)
    }
}

impl fmt::Debug for Make {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Make")
    }
}

/// What an operator has said of a service.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    pub(crate) access: &'static Access,
    /// `None` or empty = not configured, where the service needs one: every request is refused before it is sent.
    pub(crate) key: Option<SecretString>,
    /// `None` = not configured.
    pub(crate) base_url: Option<Url>,
    /// As [`Access::more`] lists them.
    pub(crate) more: Vec<Option<String>>,
    pub(in crate::provider) make: Make,
}

impl Keyed {
    /// Reads the variables of a service and keeps what is wrong with them.
    pub(crate) fn read(access: &'static Access, reader: &mut Reader<'_>) -> Self {
        let keyed = Self {
            access,
            key: access.keys.iter().find_map(|name| reader.secret(name)),
            base_url: access
                .bases
                .iter()
                .find_map(|name| reader.optional(name, values::http_url))
                .or_else(|| reader.or_any_default(access.bases[0], values::http_url)),
            more: access.more.iter().map(|(name, _)| reader.text(name)).collect(),
            make: (access.read)(reader),
        };
        reader.all_faults(keyed.faults());
        keyed
    }

    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub(crate) fn faults(&self) -> Vec<String> {
        let base = self.base_url.as_ref();
        let base = base.and_then(|base| check_base_url(base).context(self.access.bases[0]).err());
        let key = self.plain_key().err();
        let more = self
            .named()
            .filter_map(|(variable, _, value)| header_value(variable, value).err());
        let faults = key.into_iter().chain(more).chain(base);
        faults.map(|error| format!("{error:#}")).collect()
    }

    /// How the service is reached.
    ///
    /// # Errors
    /// When one of the settings cannot be used. No secret is repeated.
    pub(in crate::provider) fn service(&self, downloads: &Downloads) -> anyhow::Result<Service> {
        let access = self.access;
        let mut key = self.plain_key()?;
        let missing = match (&self.base_url, &key) {
            (None, _) => Some(access.bases[0]),
            (_, None) if access.needs_key => Some(access.keys[0]),
            _ => None,
        };
        for (variable, header, value) in self.named() {
            key = key.map(|key| key.with(variable, header, value)).transpose()?;
        }
        let base_url = self.base_url.as_ref().map(access.base);
        let client = base_url.as_ref().map(HttpClient::new).transpose();
        Service::new(
            access.name,
            client.context(access.bases[0])?,
            downloads.clone(),
            key,
            missing,
        )
    }

    fn plain_key(&self) -> anyhow::Result<Option<Key>> {
        let (header, scheme) = self.access.header;
        let header = HeaderName::from_static(header);
        Key::new(self.access.keys[0], self.key.clone(), header, scheme)
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, HeaderName, &str)> {
        let values = self.access.more.iter().zip(&self.more);
        values.filter_map(|((variable, header), value)| {
            let value = value.as_deref().filter(|value| !value.is_empty())?;
            Some((*variable, HeaderName::from_static(header), value))
        })
    }
}

impl ServiceSettings for Keyed {
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(self.make.provider(self.service(downloads)?))
    }

    fn question(&self) -> Option<AccountQuestion> {
        let (base_url, path) = (self.base_url.clone()?, self.access.question?);
        let key = self.plain_key().ok()?;
        let headers = key.as_ref().map(Key::headers).unwrap_or_default();
        Some(AccountQuestion::new(base_url, path, headers))
    }
}
