//! Keys of services: the header that carries each, or the signature that is made with it.

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequestBody;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::http_client::{HttpFault, check_base_url};
use crate::provider::wire::header::header_value;

/// What stands before a user and a password in the header that carries them.
pub(in crate::provider) const BASIC: &str = "Basic ";

/// The key of a service, and the header that carries it.
#[derive(Debug)]
pub(in crate::provider) struct Key {
    /// To be taken out of whatever is repeated.
    secrets: Vec<SecretString>,
    headers: HeaderMap,
    signer: Option<Signer>,
}

/// Signs requests to Amazon's services, which get no key (Signature Version 4).
#[derive(Debug)]
struct Signer {
    credential: AwsCredential,
    service: &'static str,
    region: String,
}

impl Key {
    /// `None` where the key is empty. Behind [`BASIC`] it is `user:password`.
    ///
    /// # Errors
    /// Names the variable and repeats nothing of the key.
    pub(in crate::provider) fn new(
        variable: &str,
        secret: Option<SecretString>,
        header: HeaderName,
        scheme: &str,
    ) -> anyhow::Result<Option<Self>> {
        let key = secret.as_ref().map(|key| key.expose_secret().trim());
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Ok(None);
        };
        let (sent, secrets) = if scheme == BASIC {
            let (_, password) = key
                .split_once(':')
                .with_context(|| format!("{variable}: user:password is accepted"))?;
            let encoded = BASE64_STANDARD.encode(key);
            (
                encoded.clone(),
                vec![key.to_owned(), password.to_owned(), encoded],
            )
        } else {
            (key.to_owned(), vec![key.to_owned()])
        };
        let value = header_value(variable, &format!("{scheme}{sent}"))?;
        Ok(Some(Self {
            secrets: secrets.into_iter().map(SecretString::from).collect(),
            headers: HeaderMap::from_iter([(header, value)]),
            signer: None,
        }))
    }

    /// A key that stands behind `Bearer`. `None` where it is empty.
    ///
    /// # Errors
    /// As [`Key::new`].
    pub(in crate::provider) fn bearer(
        variable: &str,
        secret: Option<SecretString>,
    ) -> anyhow::Result<Option<Self>> {
        Self::new(variable, secret, AUTHORIZATION, "Bearer ")
    }

    /// One that signs requests to `service` (`bedrock`) in `region`.
    pub(in crate::provider) fn signing(
        credential: AwsCredential,
        service: &'static str,
        region: &str,
    ) -> Self {
        let secrets = [Some(&credential.secret_key), credential.token.as_ref()];
        Self {
            secrets: secrets
                .into_iter()
                .flatten()
                .cloned()
                .map(SecretString::from)
                .collect(),
            headers: HeaderMap::new(),
            signer: Some(Signer {
                credential,
                service,
                region: region.to_owned(),
            }),
        }
    }

    /// Signs a request that is complete, where the key is one that signs.
    ///
    /// # Errors
    /// [`HttpFault::NotSent`].
    pub(in crate::provider) fn sign(&self, request: &mut reqwest::Request) -> Result<(), HttpFault> {
        match &self.signer {
            Some(signer) => signer.sign(request),
            None => Ok(()),
        }
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

impl Signer {
    fn sign(&self, request: &mut reqwest::Request) -> Result<(), HttpFault> {
        let unsigned = |_| HttpFault::NotSent("the request cannot be signed".into());
        let body = request
            .body()
            .and_then(reqwest::Body::as_bytes)
            .unwrap_or_default();
        let mut signed = http::Request::builder()
            .method(request.method().clone())
            .uri(request.url().as_str())
            .body(HttpRequestBody::from(body.to_vec()))
            .map_err(|_| unsigned(()))?;
        *signed.headers_mut() = request.headers().clone();
        AwsAuthorizer::new(&self.credential, self.service, &self.region)
            .try_authorize(&mut signed, None)
            .map_err(|_| unsigned(()))?;
        *request.headers_mut() = std::mem::take(signed.headers_mut());
        Ok(())
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
