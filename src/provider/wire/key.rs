//! Keys of services, and the header that carries each.

use anyhow::Context;
use reqwest::header::{HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::http_client::check_base_url;
use crate::provider::wire::header::header_value;

/// The key of a service, and the header that carries it.
#[derive(Debug)]
pub(in crate::provider) struct Key {
    /// To be taken out of whatever is repeated.
    secrets: Vec<SecretString>,
    headers: HeaderMap,
}

impl Key {
    /// `None` where the key is empty.
    ///
    /// # Errors
    /// Names the variable and repeats nothing of the key.
    pub(in crate::provider) fn new(
        variable: &str,
        secret: Option<SecretString>,
        header: HeaderName,
        scheme: &str,
    ) -> anyhow::Result<Option<Self>> {
        let Some(secret) = secret.filter(|key| !key.expose_secret().trim().is_empty()) else {
            return Ok(None);
        };
        let value = header_value(variable, &format!("{scheme}{}", secret.expose_secret().trim()))?;
        Ok(Some(Self {
            secrets: vec![secret],
            headers: HeaderMap::from_iter([(header, value)]),
        }))
    }

    /// The same, with another header beside it.
    ///
    /// # Errors
    /// Names the variable and repeats nothing of the value.
    pub(in crate::provider) fn with(
        mut self,
        variable: &str,
        header: HeaderName,
        value: &str,
    ) -> anyhow::Result<Self> {
        self.headers.insert(header, header_value(variable, value)?);
        Ok(self)
    }

    /// What is to be taken out of whatever is repeated.
    pub(in crate::provider) fn expose(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(ExposeSecret::expose_secret)
    }

    /// What a request that may have the key carries.
    pub(in crate::provider) fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }
}

/// What keeps a key and a base URL from being used, one sentence each. No secret is repeated.
pub(in crate::provider) fn faults(
    key: anyhow::Result<Option<Key>>,
    base_variable: &'static str,
    base_url: &Url,
) -> Vec<String> {
    let base = check_base_url(base_url).context(base_variable);
    let faults = [key.err(), base.err()].into_iter().flatten();
    faults.map(|error| format!("{error:#}")).collect()
}
