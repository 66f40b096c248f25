//! A proxy before the services, as an operator names it.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Net};

/// A proxy whose `X-Forwarded-For` is trusted, or a network of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

impl TrustedProxy {
    /// Whether the address is this proxy's, or one of this network.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => {
                text.parse().map_err(|_| format!("`{text}` is neither an address nor a network"))?
            }
        };
        Ok(Self(canonical_network(network)))
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            return self.0.addr().fmt(f);
        }
        self.0.fmt(f)
    }
}

/// A listener on `[::]` sees IPv4 peers as `::ffff:a.b.c.d`; a network may be written so, too.
fn canonical_network(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network.trunc() };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    let v4 = mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    v4.map_or(network, IpNet::V4).trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_and_shown_as_it_is_meant() {
        let shown = |text: &str| text.parse::<TrustedProxy>().map(|proxy| proxy.to_string());
        assert_eq!(shown("10.0.0.1").unwrap(), "10.0.0.1");
        assert_eq!(shown("10.0.0.7/8").unwrap(), "10.0.0.0/8");
        assert_eq!(shown("2001:db8::/32").unwrap(), "2001:db8::/32");
        for bad in ["", "gateway", "10.0.0.0/33", "10.0.0", "10.0.0.0/-1"] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }
}
