//! Whether a request comes from this page, or from a page of somebody else that uses the browser of an operator.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use url::Url;

use crate::plain_text::one_line;

const FORWARDED_HOST: &str = "x-forwarded-host";
const SHOWN_CHARS: usize = 100;

/// Whether a change comes from this page, or from no browser at all: every browser sends one of both headers with a form. Pages
/// have the policy `same-origin` for their referrer, without which the origin of their own forms would be `null`.
///
/// Source: Fetch Standard, "append a request `Origin` header"; Fetch Metadata, "Sec-Fetch-Site".
///
/// # Errors
/// It comes from somebody else's page, as far as these headers say; what they say, and what a proxy has to add.
pub(super) fn check(headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match text("sec-fetch-site") {
        Some("same-origin" | "none") => return Ok(()),
        Some(site) => {
            let site = one_line(site, SHOWN_CHARS);
            return Err(format!(
                "this change comes from another page: its Sec-Fetch-Site is {site}"
            ));
        }
        None => {}
    }
    let Some(origin) = text(ORIGIN.as_str()) else {
        return Ok(());
    };
    let (host, forwarded) = (text(HOST.as_str()), text(FORWARDED_HOST));
    let hosts = [host, forwarded].map(|host| host.and_then(authority_of_host));
    match authority(origin) {
        Some(origin) if hosts.into_iter().flatten().any(|host| host == origin) => Ok(()),
        _ => Err(foreign(origin, host, forwarded)),
    }
}

/// What was found, and what is to be done where it is no foreign page but a proxy that keeps what it was asked for to itself.
fn foreign(origin: &str, host: Option<&str>, forwarded: Option<&str>) -> String {
    let [origin, host] = [origin, host.unwrap_or("no host")].map(|text| one_line(text, SHOWN_CHARS));
    let found = format!(
        "this change comes from another page: its Origin is {origin}, and this page was asked for at {host}"
    );
    match forwarded {
        None => format!(
            "{found}. If that is this page behind a proxy, the header X-Forwarded-Host is missing: have the proxy send the host that \
             browsers ask it for, such as proxy_set_header X-Forwarded-Host $http_host in nginx"
        ),
        Some(forwarded) => format!(
            "{found}, with X-Forwarded-Host: {}. If that is this page behind a proxy, have it send there the host, and the port if \
             there is one, that browsers ask it for",
            one_line(forwarded, SHOWN_CHARS)
        ),
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
            (true, &[][..]),
            (true, &[("origin", "http://127.0.0.1:9465")]),
            (true, &[("origin", "null"), ("sec-fetch-site", "same-origin")]),
            (
                true,
                &[
                    ("origin", "https://ops.example.org"),
                    ("x-forwarded-host", "ops.example.org"),
                ],
            ),
            (
                true,
                &[
                    ("origin", "https://ops.example.org"),
                    ("x-forwarded-host", "ops.example.org:443"),
                ],
            ),
            (
                true,
                &[
                    ("origin", "https://ops.example.org"),
                    ("sec-fetch-site", "same-origin"),
                ],
            ),
            (false, &[("origin", "null")]),
            (false, &[("origin", "http://127.0.0.1:9466")]),
            (false, &[("origin", "http://evil.example")]),
            (false, &[("origin", "http://127.0.0.1:9465.evil.example")]),
            (false, &[("origin", "nonsense")]),
            (false, &[("sec-fetch-site", "cross-site")]),
            (false, &[("sec-fetch-site", "same-site")]),
            (false, &[("origin", "null"), ("sec-fetch-site", "cross-site")]),
        ] {
            let all: Vec<_> = [host].into_iter().chain(more.iter().copied()).collect();
            assert_eq!(check(&headers(&all)).is_ok(), expected, "{more:?}");
        }
    }

    #[test]
    fn a_proxy_that_does_not_say_what_it_was_asked_for_is_named() {
        let all = [("host", "127.0.0.1:9465"), ("origin", "https://ops.example.org")];
        let said = check(&headers(&all)).unwrap_err();
        assert!(
            said.contains("its Origin is https://ops.example.org")
                && said.contains("X-Forwarded-Host is missing"),
            "{said}"
        );
        let other = [all[0], all[1], ("x-forwarded-host", "other.example.org")];
        let said = check(&headers(&other)).unwrap_err();
        assert!(
            said.contains("with X-Forwarded-Host: other.example.org"),
            "{said}"
        );
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
