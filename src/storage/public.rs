//! Whether the addresses that pictures get lead to them, and for whom.

use std::time::Duration;

use tokio::time::Instant;
use url::{Host, Url};

use super::location::Place;
use super::{ObjectKey, Storage};
use crate::findings::Findings;
use crate::http_client::{DownloadFault, Downloads};

/// A cache that takes longer is told of as one that could not be asked.
const PATIENCE: Duration = Duration::from_secs(3);
/// For this long an object may be missing behind a cache that looks for it elsewhere.
const LAG: Duration = Duration::from_secs(1);
/// Of the answer; more of it need not be read to see that it is something else.
const MAX_BYTES: usize = 4096;

/// Looks at the address of an object that is there with these bytes.
pub(super) async fn look(storage: &Storage, key: &ObjectKey, bytes: &[u8], findings: &mut Findings) {
    let url = storage.public_url(key);
    let Ok(parsed) = Url::parse(&url) else {
        findings.fail(format!(
            "PUBLIC_URL_BASE: pictures would have the address {url}, which is no URL"
        ));
        return;
    };
    if !matches!(parsed.scheme(), "http" | "https") || is_example(&parsed) {
        return;
    }
    let Ok(client) = Downloads::new(true) else {
        return;
    };
    let client = client.with_cap(MAX_BYTES).with_lag(LAG);
    let fetched = client.fetch(&url, Instant::now() + PATIENCE).await;
    let origin = origin(&parsed);
    let variable = variable(storage);
    match fetched {
        Ok(fetched) if fetched == bytes => findings.ok("the address of an object leads to it"),
        Ok(_) | Err(DownloadFault::TooLarge(_) | DownloadFault::Unreadable(_)) => findings.fail(format!(
            "{variable}: {url} answers with something else than the object that is there; what serves {origin} has to give what the \
             store has under the same key"
        )),
        Err(DownloadFault::Answered(status @ (404 | 410))) if !hides_behind_404(storage) => {
            findings.fail(format!(
                "{variable}: {url} answers {status}, and the object is there; what comes before {key} in that address has to be what \
                 serves this bucket, folders of STORAGE_URL included"
            ));
        }
        Err(DownloadFault::Answered(status)) => findings.warn(format!(
            "{variable}: {origin} answers {status} for an object that is there, so not everybody can open pictures; let it be read \
             by all, or set PUBLIC_URL_BASE to what stands in front of it"
        )),
        Err(DownloadFault::Refused(why) | DownloadFault::OutOfTime(why)) => findings.warn(format!(
            "{variable}: whether {origin} leads to pictures could not be seen from here: {why}"
        )),
    }
}

impl Storage {
    /// Who can open the addresses of pictures, as far as that can be told without asking anybody.
    #[must_use]
    pub fn advise(&self) -> Findings {
        let mut findings = Findings::about("storage");
        if let Ok(url) = Url::parse(&self.public_url(&ObjectKey::standing_probe())) {
            reach(&url, &mut findings);
        }
        findings
    }
}

/// What the addresses are made from.
fn variable(storage: &Storage) -> &'static str {
    if storage.settings.public_url_base.is_some() {
        "PUBLIC_URL_BASE"
    } else if storage.settings.cloudflare_image_proxy_domain.is_some() {
        "CLOUDFLARE_IMAGE_PROXY_DOMAIN"
    } else {
        "PUBLIC_URL_BASE is not set"
    }
}

/// Azure itself says of a container that is not public that it is not there.
fn hides_behind_404(storage: &Storage) -> bool {
    matches!(storage.location.place, Place::Azure { .. }) && variable(storage) == "PUBLIC_URL_BASE is not set"
}

/// Names that RFC 2606 keeps for examples: nobody is there to be asked.
fn is_example(url: &Url) -> bool {
    let Some(Host::Domain(name)) = url.host() else {
        return false;
    };
    ["example.org", "example.com", "example.net", "example", "invalid"]
        .iter()
        .any(|kept| name == *kept || name.ends_with(&format!(".{kept}")))
}

fn origin(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{}://{host}:{port}", url.scheme()),
        (Some(host), None) => format!("{}://{host}", url.scheme()),
        (None, _) => format!("{}:", url.scheme()),
    }
}

/// Whether other machines can open addresses like this one.
fn reach(url: &Url, findings: &mut Findings) {
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_private(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => true,
    };
    let begin = format!("addresses of pictures begin with {}", origin(url));
    if is_here {
        findings.warn(format!(
            "{begin}, which other machines cannot open; set PUBLIC_URL_BASE to one that they can"
        ));
    } else if url.scheme() != "https" {
        findings.warn(format!(
            "{begin}, which pages under https cannot show; set PUBLIC_URL_BASE"
        ));
    } else if is_example(url) {
        findings.warn(format!(
            "{begin}, a name that is kept for examples; set PUBLIC_URL_BASE to your own"
        ));
    } else {
        findings.ok(begin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_cannot_open_is_warned_of() {
        for (url, said) in [
            ("https://cdn.acme.dev/a.png", "ok "),
            ("http://cdn.acme.dev/a.png", "pages under https"),
            ("https://images.example.org/a.png", "kept for examples"),
            ("file:///a.png", "other machines"),
            ("memory:///a.png", "other machines"),
            ("http://127.0.0.1:9000/b/a.png", "other machines"),
            ("https://10.0.0.1/a.png", "other machines"),
        ] {
            let mut findings = Findings::about("storage");
            reach(&Url::parse(url).unwrap(), &mut findings);
            assert!(findings.tell().contains(said), "{url}: {}", findings.tell());
        }
    }
}
