//! Which addresses are not public, and which of them nobody may be led to. Pure functions: exemptions are made by who asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// What is wrong with an address that a URL of somebody else's may not lead to; `None` where it is public.
///
/// Source: IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 6598 (shared address space), RFC 6052 (NAT64);
/// cloud vendors' pages on their metadata services.
#[must_use]
pub(super) fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => refusal_v6(address),
    }
}

/// The address that a URL names as its host, in whatever way it is written; `None`: a name.
#[must_use]
pub fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// What is wrong with the host of a URL that may lead to public addresses alone, as far as that can be told without asking anybody:
/// the address that it is, or a name that says so itself.
#[must_use]
pub fn refused_host(url: &Url) -> Option<&'static str> {
    literal_address(url)
        .and_then(refusal)
        .or_else(|| private_name(url))
}

/// What is wrong with a name that says itself that it leads to nowhere public.
///
/// Source: RFC 6761 (localhost), RFC 6762 (local), RFC 9476 (internal); cloud vendors' pages on their metadata services.
#[must_use]
pub(super) fn private_name(url: &Url) -> Option<&'static str> {
    let Some(Host::Domain(name)) = url.host() else {
        return None;
    };
    let name = name.trim_end_matches('.');
    match name.rsplit('.').next().unwrap_or(name) {
        "localhost" => Some("a name of this machine"),
        "local" | "internal" | "intranet" | "lan" | "home" | "corp" => Some("a private name"),
        _ if !name.contains('.') => Some("a private name"),
        _ => name.ends_with(".home.arpa").then_some("a private name"),
    }
}

/// A name under which clouds' metadata services are asked, which give keys to whoever asks.
///
/// Source: the pages of Google Cloud, Amazon EC2 and Azure on their metadata services.
#[must_use]
pub fn metadata_name(url: &Url) -> Option<&'static str> {
    let Some(Host::Domain(name)) = url.host() else {
        return None;
    };
    let names = [
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.internal",
        "instance-data",
        "instance-data.ec2.internal",
    ];
    names
        .contains(&name.trim_end_matches('.'))
        .then_some("the name of a cloud's metadata service")
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        // Azure's platform address is the one metadata service in public space.
        [169, 254, 169, 254] | [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => {
            "the address of a cloud's metadata service"
        }
        [0, ..] => "an unspecified address",
        [127, ..] => "a loopback address",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "a private address",
        [100, 64..=127, ..] => "an address of a carrier's network",
        [169, 254, ..] => "a link-local address",
        [192, 0, 0, _] | [192, 88, 99, _] => "an address with a special purpose",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "an address for documentation",
        [198, 18..=19, ..] => "an address for benchmarks",
        [224..=239, ..] => "a multicast address",
        [240..=255, ..] => "a reserved address",
        _ => return None,
    })
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "an unspecified address",
        [0, 0, 0, 0, 0, 0, 0, 1] => "a loopback address",
        // Both would lead to an IPv4 address that nobody has judged.
        [0, 0, 0, 0, 0, 0xffff, ..] => "an IPv4 address in IPv6 form",
        [0x64, 0xff9b, ..] => "an IPv4 address behind NAT64",
        [0xfc00..=0xfdff, ..] => "a private address",
        [0xfe80..=0xfebf, ..] => "a link-local address",
        [0xff00..=0xffff, ..] => "a multicast address",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => "an address for documentation",
        [0x2001, 0..=0x01ff, ..] | [0x2002, ..] => "an address with a special purpose",
        // Of all the rest only this eighth is given out.
        [0x2000..=0x3fff, ..] => return None,
        _ => "a reserved address",
    })
}

/// What is wrong with an address to which a URL may not lead even where private ones are allowed: link-local ones, and those
/// of metadata services, which give keys to whoever asks. Also where it stands in an IPv6 address that leads to it.
///
/// Source: as `refusal`; RFC 4291 (mapped and compatible addresses), RFC 3056 (6to4).
#[must_use]
pub fn lasting_refusal(address: IpAddr) -> Option<&'static str> {
    let is_lasting = match address {
        IpAddr::V4(address) => is_metadata_or_local(address),
        IpAddr::V6(address) => match address.segments() {
            // Amazon's and Google's metadata services.
            [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0x0ce, 0, 0, 0, 0, 0, 0x254] => {
                return Some("the address of a cloud's metadata service");
            }
            [0xfe80..=0xfebf, ..] => true,
            [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
            | [0, 0, 0, 0, 0xffff, 0, high, low]
            | [0x64, 0xff9b, _, _, _, _, high, low]
            | [0x2002, high, low, ..] => {
                is_metadata_or_local(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
            }
            _ => false,
        },
    };
    refusal(address).filter(|_| is_lasting)
}

fn is_metadata_or_local(address: Ipv4Addr) -> bool {
    address.is_link_local() || refusal_v4(address) == Some("the address of a cloud's metadata service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_a_metadata_service_in_whatever_way_it_is_written() {
        for address in [
            "169.254.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fe80::1",
            "fe80::a9fe:a9fe",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::ffff:0:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(lasting_refusal(address).is_some(), "{address}");
            assert!(refusal(address).is_some(), "{address}");
        }
        for address in [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "::1",
            "fd12::1",
            "::ffff:127.0.0.1",
            "8.8.8.8",
        ] {
            assert_eq!(lasting_refusal(address.parse().unwrap()), None, "{address}");
        }
    }

    /// As many ways of writing an address that is not public as parsers of URLs know.
    const NOTATIONS: [&str; 44] = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0177.0.0.01",
        "0x7f000001",
        "0x7F.0x0.0x0.0x1",
        "0x7f.1",
        "127.0x0.0.1",
        "%31%32%37.0.0.1",
        "127%2e0.0.1",
        "１２７.０.０.１",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "0",
        "0.0.0.0",
        "0x0",
        "10.1",
        "167772161",
        "172.16.1",
        "192.168.257",
        "3232235777",
        "0300.0250.1.1",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[fc00::1]",
        "[::ffff:169.254.169.254]",
        "[ff02::1]",
    ];

    #[test]
    fn a_private_address_is_refused_however_it_is_written() {
        for host in NOTATIONS {
            for written in [format!("http://{host}/a.png"), format!("HTTPS://{host}:8443")] {
                let url = Url::parse(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
                assert!(literal_address(&url).is_some(), "{written} is a name: {url}");
                assert!(refused_host(&url).is_some(), "{written} leads to {url}");
            }
        }
    }

    #[test]
    fn a_name_that_says_itself_that_it_is_private_is_refused_without_asking_anybody() {
        for host in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "metadata.google.internal",
            "db.internal.",
            "printer.local",
            "nas.lan",
            "wiki.corp",
            "router.home",
            "router.home.arpa",
            "intranet",
            "ｌｏｃａｌｈｏｓｔ",
            "local%68ost",
        ] {
            let url = Url::parse(&format!("https://{host}/a.png")).unwrap();
            assert_eq!(literal_address(&url), None, "{host}");
            assert!(refused_host(&url).is_some(), "{host}");
        }
        for host in [
            "example.org",
            "8.8.8.8",
            "localhost.example.org",
            "internal.example.org",
        ] {
            let url = Url::parse(&format!("https://{host}/a.png")).unwrap();
            assert_eq!(refused_host(&url), None, "{host}");
        }
    }

    fn is_refused(address: &str) -> bool {
        refusal(address.parse().unwrap()).is_some()
    }

    #[test]
    fn public_addresses_are_allowed() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2000::",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2001:db7:ffff::1",
            "2001:db9::1",
            "2003::1",
            "2606:4700::1111",
            "2a00:1450::1",
            "3ffe::1",
            "3fff:1000::",
        ] {
            assert!(!is_refused(address), "{address}");
        }
    }

    #[test]
    fn every_address_that_is_not_public_is_refused() {
        for address in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.192",
            "192.0.0.255",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::8.8.8.8",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "1fff:ffff::1",
            "2001::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "3fff:fff:ffff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff:ffff::1",
            "fe80::1",
            "febf:ffff::1",
            "fec0::1",
            "ff02::1",
            "ffff:ffff::1",
        ] {
            assert!(is_refused(address), "{address}");
        }
    }

    #[test]
    fn a_name_that_says_it_is_private_is_refused() {
        let kind = |host: &str| private_name(&format!("https://{host}/a.png").parse().unwrap());
        for host in [
            "localhost",
            "LOCALHOST.",
            "db.localhost",
            "printer.local",
            "metadata.google.internal",
            "intranet",
            "nas.home.arpa",
        ] {
            assert!(kind(host).is_some(), "{host}");
        }
        for host in ["example.org", "local.example.org", "8.8.8.8", "[2606:4700::1111]"] {
            assert_eq!(kind(host), None, "{host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_the_standard_library_calls_local_is_refused(bits in proptest::num::u32::ANY) {
            let address = Ipv4Addr::from(bits);
            let is_local = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_multicast()
                || address.is_unspecified();
            proptest::prop_assert!(!is_local || refusal(address.into()).is_some());
        }

        #[test]
        fn an_ipv4_address_in_ipv6_form_is_refused_whatever_it_is(bits in proptest::num::u32::ANY) {
            let mapped = Ipv4Addr::from(bits).to_ipv6_mapped();
            proptest::prop_assert!(refusal(mapped.into()).is_some());
        }
    }
}
