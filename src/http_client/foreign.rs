//! The way to addresses that somebody else wrote: which of them are asked at all, and by which client.
//!
//! A proxy from the environment is used as for services: it may be the only way out.

use std::error::Error as _;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::guard::{lasting_refusal, literal_address, private_name, refusal};
use super::{POOL_IDLE_PER_HOST, POOL_IDLE_TIMEOUT, is_loopback, trust};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence for longer than this is a broken connection.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Which addresses may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Addresses that are not public too, but for link-local ones and those of metadata services.
    pub(super) allow_private: bool,
    /// What allows them, as the end of a sentence.
    pub(super) cure: &'static str,
}

/// Clients for addresses that somebody else wrote. They follow no redirects and carry no credentials.
#[derive(Clone, Debug)]
pub(super) struct ForeignClients {
    reach: Reach,
    direct: reqwest::Client,
    /// For addresses that a proxy from the environment is for.
    proxied: reqwest::Client,
    proxies: Arc<Matcher>,
}

impl ForeignClients {
    /// [`super::install_tls`] must have been called.
    ///
    /// # Errors
    /// Never with the TLS that this program has.
    pub(super) fn new(reach: Reach) -> anyhow::Result<Self> {
        let builder = || {
            anyhow::Ok(
                reqwest::Client::builder()
                    .user_agent(concat!("generative-ai-worker/", env!("CARGO_PKG_VERSION")))
                    .tls_backend_preconfigured(trust::tls()?)
                    .referer(false)
                    .redirect(reqwest::redirect::Policy::none())
                    .connect_timeout(CONNECT_TIMEOUT)
                    // One that has brought a picture keeps a buffer of some hundred kilobytes.
                    .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
                    .pool_idle_timeout(POOL_IDLE_TIMEOUT)
                    .read_timeout(READ_TIMEOUT),
            )
        };
        let direct = builder()?.no_proxy().dns_resolver(Arc::new(GuardedNames(reach)));
        let made = "making the HTTP client for addresses of others";
        Ok(Self {
            reach,
            direct: direct.build().context(made)?,
            proxied: builder()?.build().context(made)?,
            // As the clients read it.
            proxies: Arc::new(Matcher::from_env()),
        })
    }

    /// The client for an address. A proxy resolves names out of our sight, and the rest is the proxy's to judge there.
    ///
    /// # Errors
    /// Why it is not asked. Names that say themselves that they are private are not resolved; others are looked at once they are.
    pub(super) fn client_for(&self, url: &Url) -> Result<&reqwest::Client, String> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds a user name or password".to_owned());
        }
        // The resolver is never asked for addresses.
        if !url.has_host() {
            return Err("it names no host".to_owned());
        }
        let of_address = literal_address(url).and_then(|address| Forbidden::of(address, self.reach));
        if let Some(forbidden) = of_address.or_else(|| Forbidden::of_name(url, self.reach)) {
            return Err(forbidden.to_string());
        }
        let is_proxied = !is_loopback(url)
            && url
                .as_str()
                .parse::<Uri>()
                .is_ok_and(|uri| self.proxies.intercept(&uri).is_some());
        Ok(if is_proxied { &self.proxied } else { &self.direct })
    }
}

/// Why a request was not sent, where its address is the reason.
pub(super) fn forbidden_by(error: &reqwest::Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
            return Some(forbidden.to_string());
        }
        cause = error.source();
    }
    None
}

/// An address to which a URL may not lead.
#[derive(Debug)]
struct Forbidden {
    kind: &'static str,
    /// What allows it; `None`: nothing does.
    cure: Option<&'static str>,
}

impl Forbidden {
    fn of_name(url: &Url, reach: Reach) -> Option<Self> {
        let kind = private_name(url).filter(|_| !reach.allow_private)?;
        let cure = Some(reach.cure);
        Some(Self { kind, cure })
    }

    fn of(address: IpAddr, reach: Reach) -> Option<Self> {
        let never = lasting_refusal(address).map(|kind| Self { kind, cure: None });
        never.or_else(|| {
            let kind = refusal(address).filter(|_| !reach.allow_private)?;
            let cure = Some(reach.cure);
            Some(Self { kind, cure })
        })
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its host has {}", self.kind)?;
        match self.cure {
            Some(cure) => write!(f, "; {cure}"),
            None => f.write_str(", which is never asked"),
        }
    }
}

impl std::error::Error for Forbidden {}

/// Asked at the moment of each connection, so that a name cannot be judged with one address and reached at another.
struct GuardedNames(Reach);

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<SocketAddr> = found.collect();
            // One such address among many is enough: which of them is taken is not ours to choose.
            let forbidden = addresses
                .iter()
                .find_map(|address| Forbidden::of(address.ip(), reach));
            match forbidden {
                Some(forbidden) => Err(forbidden.into()),
                None => Ok(Box::new(addresses.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(allow_private: bool) -> Reach {
        let cure = "nothing here";
        Reach { allow_private, cure }
    }

    /// The one name that every machine resolves by itself.
    #[tokio::test]
    async fn a_name_is_judged_by_the_addresses_that_it_has() {
        let resolve = |allow_private| {
            let name = "localhost".parse().unwrap();
            GuardedNames(reach(allow_private)).resolve(name)
        };
        let refused = resolve(false).await.err().unwrap().to_string();
        assert_eq!(refused, "its host has a loopback address; nothing here");
        assert!(resolve(true).await.is_ok());
    }

    #[test]
    fn a_name_that_says_itself_that_it_is_private_is_not_resolved() {
        crate::http_client::install_tls();
        for url in [
            "http://localhost/",
            "http://metadata.google.internal/computeMetadata/v1/",
            "https://db.internal/",
            "https://intranet/",
        ] {
            let url = Url::parse(url).unwrap();
            let refused = ForeignClients::new(reach(false))
                .unwrap()
                .client_for(&url)
                .map(drop);
            assert!(refused.unwrap_err().ends_with("; nothing here"), "{url}");
            assert!(ForeignClients::new(reach(true)).unwrap().client_for(&url).is_ok());
        }
    }
}
