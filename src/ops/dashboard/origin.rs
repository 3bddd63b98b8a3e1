//! Whether a request comes from this page, or from a page of somebody else that uses the browser of an operator.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use url::Url;

/// What the headers of a change say about where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This page, or no browser at all.
    Own,
    /// A browser that does not say: `Referrer-Policy: no-referrer` makes `null` of its origin, and over plain HTTP it may say no
    /// more. A form of this page has a word in it that no other page knows.
    Unsaid,
    /// Somebody else's page.
    Foreign,
}

impl Origin {
    /// Source: Fetch Standard, "append a request `Origin` header"; Fetch Metadata, "Sec-Fetch-Site".
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let is_own_site = match text("sec-fetch-site") {
            None => false,
            Some("same-origin" | "none") => true,
            Some(_) => return Self::Foreign,
        };
        match text(ORIGIN.as_str()) {
            None => Self::Own,
            Some(_) if is_own_site => Self::Own,
            Some("null") => Self::Unsaid,
            Some(origin) => {
                let hosts =
                    [HOST.as_str(), "x-forwarded-host"].map(|name| text(name).and_then(authority_of_host));
                match authority(origin) {
                    Some(origin) if hosts.into_iter().flatten().any(|host| host == origin) => Self::Own,
                    _ => Self::Foreign,
                }
            }
        }
    }
}

/// Host and port, without those that go without saying.
fn authority(url: &str) -> Option<(String, Option<u16>)> {
    let url = Url::parse(url).ok()?;
    Some((url.host_str()?.to_owned(), url.port()))
}

/// The same of a `Host`; of several that proxies have put there, the first.
fn authority_of_host(host: &str) -> Option<(String, Option<u16>)> {
    let host = host.split(',').next()?.trim();
    let (name, port) = authority(&format!("http://{host}"))?;
    Some((name, port.filter(|port| *port != 443)))
}

/// Whether the name by which the page was reached leads to this machine, whatever a resolver says: another name may be one of
/// somebody else's page that has moved here.
pub(super) fn is_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    let Some((name, _)) = host.to_str().ok().and_then(authority_of_host) else {
        return false;
    };
    let address: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
    name == "localhost" || address.is_some_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_change_is_of_this_page_or_of_no_browser() {
        let host = ("host", "127.0.0.1:9465");
        for (expected, more) in [
            (Origin::Own, &[][..]),
            (Origin::Own, &[("origin", "http://127.0.0.1:9465")]),
            (
                Origin::Own,
                &[("origin", "null"), ("sec-fetch-site", "same-origin")],
            ),
            (
                Origin::Own,
                &[
                    ("origin", "https://ops.example.org"),
                    ("x-forwarded-host", "ops.example.org"),
                ],
            ),
            (
                Origin::Own,
                &[
                    ("origin", "https://ops.example.org"),
                    ("x-forwarded-host", "ops.example.org:443"),
                ],
            ),
            (
                Origin::Own,
                &[
                    ("origin", "https://ops.example.org"),
                    ("sec-fetch-site", "same-origin"),
                ],
            ),
            (Origin::Unsaid, &[("origin", "null")]),
            (Origin::Foreign, &[("origin", "http://127.0.0.1:9466")]),
            (Origin::Foreign, &[("origin", "http://evil.example")]),
            (
                Origin::Foreign,
                &[("origin", "http://127.0.0.1:9465.evil.example")],
            ),
            (Origin::Foreign, &[("origin", "nonsense")]),
            (Origin::Foreign, &[("sec-fetch-site", "cross-site")]),
            (Origin::Foreign, &[("sec-fetch-site", "same-site")]),
            (
                Origin::Foreign,
                &[("origin", "null"), ("sec-fetch-site", "cross-site")],
            ),
        ] {
            let all: Vec<_> = [host].into_iter().chain(more.iter().copied()).collect();
            assert_eq!(Origin::of(&headers(&all)), expected, "{more:?}");
        }
    }

    #[test]
    fn only_names_of_this_machine_lead_to_it_for_certain() {
        for own in [
            "127.0.0.1:9465",
            "127.9.9.9",
            "localhost:1",
            "[::1]:9465",
            "LOCALHOST",
        ] {
            assert!(is_this_machine(&headers(&[("host", own)])), "{own}");
        }
        for other in [
            "evil.example:9465",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "localhost.evil.example",
            "a b",
        ] {
            assert!(!is_this_machine(&headers(&[("host", other)])), "{other}");
        }
    }
}
