//! `CALLBACK_HOSTS`: to whom ends of jobs may be posted.

use std::collections::BTreeMap;

use url::Url;

use crate::http_client::{lasting_refusal, literal_address, metadata_name, refused_host};

/// Each of them may have some posts open at once.
const MOST: usize = 64;

/// Origins, such as `https://hooks.example.org`, and of each whether it has to have a public address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receivers(BTreeMap<String, bool>);

impl Receivers {
    /// Reads a list such as `hooks.example.org,http://app.internal:3000`.
    ///
    /// # Errors
    /// What was found and what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut receivers, mut faults) = (BTreeMap::new(), Vec::new());
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match read(entry) {
                Ok((origin, is_public)) => {
                    if receivers.insert(origin, is_public).is_some() {
                        faults.push(format!("{entry} was found twice; each host is written once"));
                    }
                }
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults.join(". "));
        }
        match receivers.len() {
            0 => Err(format!("no host was found; {ACCEPTED}")),
            1..=MOST => Ok(Self(receivers)),
            found => Err(format!("{found} hosts were found; at most {MOST} are accepted")),
        }
    }

    /// Their origins.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether they are known, and this URL is none of theirs. Nothing is known where `CALLBACK_HOSTS` is not set, as it is for whoever
    /// looks from elsewhere.
    #[must_use]
    pub fn refuse(&self, url: &str) -> bool {
        !self.0.is_empty() && !Url::parse(url).is_ok_and(|url| self.is_public(&url).is_some())
    }

    /// Whether the host of this URL has to have a public address; `None`: nothing may be posted there.
    pub(super) fn is_public(&self, url: &Url) -> Option<bool> {
        self.0.get(&url.origin().ascii_serialization()).copied()
    }
}

const ACCEPTED: &str = "a list of hosts such as hooks.example.org (https, public addresses only), or of origins written out in full such as \
                        http://app.internal:3000, is accepted";

/// An origin, and whether it has to have a public address.
fn read(entry: &str) -> Result<(String, bool), String> {
    let is_full = entry.contains("://");
    let wrong = |what: &str| format!("{what} was found; {ACCEPTED}");
    if entry.contains('@') {
        return Err(wrong("a user or password"));
    }
    if entry.contains('*') {
        return Err(format!(
            "\"{entry}\" was found; each host is written out, as {ACCEPTED}"
        ));
    }
    let written = if is_full {
        entry.to_owned()
    } else {
        format!("https://{entry}")
    };
    let url = Url::parse(&written).map_err(|_| wrong(&format!("\"{entry}\"")))?;
    let is_origin = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    if !is_origin {
        return Err(wrong(&format!("\"{entry}\"")));
    }
    let never = literal_address(&url).and_then(lasting_refusal);
    if let Some(kind) = never.or_else(|| metadata_name(&url)) {
        return Err(format!("\"{entry}\" was found, {kind}, which is never asked"));
    }
    if !is_full && let Some(kind) = refused_host(&url) {
        return Err(format!(
            "\"{entry}\" was found, {kind}; write its origin out in full, such as http://{entry} or https://{entry}"
        ));
    }
    Ok((url.origin().ascii_serialization(), !is_full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, bool)> {
        Receivers::parse(text).unwrap().0.into_iter().collect()
    }

    #[test]
    fn a_host_is_public_and_https_and_an_origin_is_as_it_is_written() {
        let all = " hooks.example.org , Hooks.Example.NET:8443,http://app.internal:3000,https://10.0.0.7/,http://[::1]:80,8.8.8.8,";
        let expected = [
            ("http://[::1]", false),
            ("http://app.internal:3000", false),
            ("https://10.0.0.7", false),
            ("https://8.8.8.8", true),
            ("https://hooks.example.net:8443", true),
            ("https://hooks.example.org", true),
        ];
        assert_eq!(
            parsed(all),
            expected.map(|(origin, is_public)| (origin.to_owned(), is_public))
        );
    }

    #[test]
    fn what_is_no_host_or_leads_nowhere_public_is_refused() {
        for (text, said) in [
            ("", "no host was found; a list of hosts such as"),
            (" , ", "no host was found"),
            ("https://", "\"https://\" was found; a list"),
            (
                "ftp://hooks.example.org",
                "\"ftp://hooks.example.org\" was found; a list",
            ),
            (
                "hooks.example.org/path",
                "\"hooks.example.org/path\" was found; a list",
            ),
            (
                "https://hooks.example.org/?a=b",
                "\"https://hooks.example.org/?a=b\" was found",
            ),
            (
                "https://me:hunter2@hooks.example.org",
                "a user or password was found",
            ),
            (
                "*.example.org",
                "\"*.example.org\" was found; each host is written out",
            ),
            ("*", "\"*\" was found; each host is written out"),
            ("a.example,A.example:443", "A.example:443 was found twice"),
            (
                "localhost",
                "\"localhost\" was found, a name of this machine; write its origin out in full, such as http://localhost or",
            ),
            (
                "127.0.0.1:3000",
                "\"127.0.0.1:3000\" was found, a loopback address; write its origin out in full, such as http://127.0.0.1:3000",
            ),
            ("2130706433", "\"2130706433\" was found, a loopback address"),
            ("10.1.2.3", "\"10.1.2.3\" was found, a private address"),
            ("[::1]", "\"[::1]\" was found, a loopback address"),
            ("app.internal", "\"app.internal\" was found, a private name"),
            ("app", "\"app\" was found, a private name"),
            (
                "169.254.169.254",
                "\"169.254.169.254\" was found, the address of a cloud's metadata service, which is never asked",
            ),
            (
                "http://169.254.1.1",
                "\"http://169.254.1.1\" was found, a link-local address, which is never asked",
            ),
            (
                "http://0xa9fea9fe",
                "\"http://0xa9fea9fe\" was found, the address of a cloud's metadata service, which is never asked",
            ),
            (
                "http://metadata.google.internal",
                "\"http://metadata.google.internal\" was found, the name of a cloud's metadata service, which is never asked",
            ),
            (
                "a.example,http://[fe80::1],*.example.org",
                "\"http://[fe80::1]\" was found, a link-local address, which is never asked. \"*.example.org\" was found",
            ),
            (
                "http://[fe80::1]",
                "\"http://[fe80::1]\" was found, a link-local address, which is never asked",
            ),
            (
                "http://[::ffff:169.254.169.254]:80",
                "\"http://[::ffff:169.254.169.254]:80\" was found, an IPv4 address in IPv6 form, which is never asked",
            ),
        ] {
            let found = Receivers::parse(text).unwrap_err();
            assert!(found.starts_with(said), "{text}: {found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
        let many: Vec<String> = (0..65).map(|number| format!("h{number}.example.org")).collect();
        assert!(
            Receivers::parse(&many.join(","))
                .unwrap_err()
                .starts_with("65 hosts were found")
        );
    }
}
