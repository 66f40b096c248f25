//! Which part of an address counts as one client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address, or a /64 of IPv6, which belongs to one customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(masked(address, 32, 64))
    }

    /// The neighbourhood of an address, a /24 or a /48. A client that gets another address from the
    /// same provider mostly stays within it.
    #[must_use]
    pub fn around(address: IpAddr) -> Self {
        Self(masked(address, 24, 48))
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn masked(address: IpAddr, v4: u32, v6: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX << (u32::BITS - v4);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - v6);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_of_ipv6_has_one_network_for_all_addresses() {
        let network = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn a_neighbourhood_has_the_addresses_that_a_provider_gives_in_turn() {
        let around = |text: &str| Network::around(text.parse().unwrap());
        assert_eq!(around("192.0.2.1"), around("::ffff:192.0.2.200"));
        assert_ne!(around("192.0.2.1"), around("192.0.3.1"));
        assert_eq!(around("2001:db8:1:2::1"), around("2001:db8:1:9::1"));
        assert_ne!(around("2001:db8:1::1"), around("2001:db8:2::1"));
    }
}
