//! How often somebody may be wrong about a token: per address, and in all. Only wrong tries count.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);
const MOST_OF_AN_ADDRESS: u32 = 10;
const MOST_IN_ALL: u32 = 100;

/// Wrong tries of the last minute.
#[derive(Debug, Default)]
pub(super) struct Tries(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun_at: Option<Instant>,
    of_addresses: HashMap<IpAddr, u32>,
    in_all: u32,
}

impl Counts {
    fn of_now(&mut self) -> &mut Self {
        if self.begun_at.is_none_or(|begun_at| begun_at.elapsed() >= WINDOW) {
            *self = Self {
                begun_at: Some(Instant::now()),
                ..Self::default()
            };
        }
        self
    }
}

impl Tries {
    /// Whether whoever is at this address may try a token now.
    pub(super) fn may_try(&self, address: IpAddr) -> bool {
        let mut counts = self.0.lock().expect("nobody panics while counting");
        let counts = counts.of_now();
        let own = counts
            .of_addresses
            .get(&network(address))
            .copied()
            .unwrap_or_default();
        own < MOST_OF_AN_ADDRESS && counts.in_all < MOST_IN_ALL
    }

    /// Counts a wrong try.
    pub(super) fn was_wrong(&self, address: IpAddr) {
        let mut counts = self.0.lock().expect("nobody panics while counting");
        let counts = counts.of_now();
        *counts.of_addresses.entry(network(address)).or_default() += 1;
        counts.in_all += 1;
    }
}

/// Who has one IPv6 address has the 2^64 beside it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_wrong_too_often_waits_and_others_do_not() {
        let tries = Tries::default();
        for _ in 0..MOST_OF_AN_ADDRESS {
            assert!(tries.may_try(address(1)));
            tries.was_wrong(address(1));
        }
        assert!(!tries.may_try(address(1)));
        assert!(tries.may_try(address(2)));
        tokio::time::advance(WINDOW).await;
        assert!(tries.may_try(address(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_together_are_stopped_as_well() {
        let tries = Tries::default();
        for last in 0..u8::try_from(MOST_IN_ALL).unwrap() {
            tries.was_wrong(address(last));
        }
        assert!(!tries.may_try(address(200)));
        tokio::time::advance(WINDOW).await;
        assert!(tries.may_try(address(200)));
    }

    #[test]
    fn the_addresses_of_a_network_count_as_one() {
        let one: IpAddr = "2001:db8:1:2::1".parse().unwrap();
        let other: IpAddr = "2001:db8:1:2:ffff::9".parse().unwrap();
        assert_eq!(network(one), network(other));
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), address(1));
    }
}
