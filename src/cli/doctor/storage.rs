//! The store: whether pictures can be stored, read back and removed, and who can open their addresses.

use url::{Host, Url};

use crate::findings::Findings;
use crate::storage::Storage;

pub(super) async fn advise(storage: &Storage) -> Findings {
    let mut findings = Findings::about("storage");
    let rehearsal = match storage.rehearse().await {
        Ok(rehearsal) => rehearsal,
        Err(error) => {
            findings.fail(format!("{error}; mend STORAGE_URL or the rights of its account"));
            return findings;
        }
    };
    if rehearsal.is_true {
        findings.ok(format!("{} takes an object and gives it back", rehearsal.store));
    } else {
        findings.fail(format!(
            "{} gives back other bytes than it was given",
            rehearsal.store
        ));
    }
    match &rehearsal.not_removed {
        None => findings.ok("an object can be removed"),
        Some(error) => findings.warn(format!("an object cannot be removed, and stays: {error}")),
    }
    public_url(&mut findings, &rehearsal.url);
    findings
}

fn public_url(findings: &mut Findings, url: &str) {
    let Ok(parsed) = Url::parse(url) else {
        findings.fail(format!(
            "pictures would have the address {url}, which is no URL; set PUBLIC_URL_BASE"
        ));
        return;
    };
    let origin = match parsed.host_str() {
        Some(host) => format!("{}://{host}", parsed.scheme()),
        None => format!("{}:", parsed.scheme()),
    };
    let is_here = match parsed.host() {
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_private(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => true,
    };
    if is_here {
        findings.warn(format!(
            "addresses of pictures begin with {origin}, which other machines cannot open; set PUBLIC_URL_BASE"
        ));
    } else if parsed.scheme() == "https" {
        findings.ok(format!("addresses of pictures begin with {origin}"));
    } else {
        findings.warn(format!(
            "addresses of pictures begin with {origin}, which pages under https cannot show; set PUBLIC_URL_BASE"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_cannot_open_is_warned_of() {
        for (url, said) in [
            ("https://cdn.example.org/a.png", "ok "),
            ("http://cdn.example.org/a.png", "pages under https"),
            ("file:///a.png", "other machines"),
            ("memory:///a.png", "other machines"),
            ("http://127.0.0.1:9000/b/a.png", "other machines"),
            ("https://10.0.0.1/a.png", "other machines"),
            ("a.png", "no URL"),
        ] {
            let mut findings = Findings::about("storage");
            public_url(&mut findings, url);
            assert!(findings.tell().contains(said), "{url}: {}", findings.tell());
        }
    }
}
