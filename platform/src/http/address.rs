//! Whose address a request came from. Only proxies that the operator named are trusted, and only as
//! far as their entries can be read.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

use crate::proxy::TrustedProxy;

const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a request from `peer` with these headers. Each proxy appends the address it saw,
/// so the chain is walked from its end as long as its addresses are trusted. An entry that cannot
/// be read ends the walk, because anybody may have written the entries before it; the proxy that
/// wrote it counts as the client.
#[must_use]
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[TrustedProxy]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|proxy| proxy.contains(address));
    let mut client = peer.to_canonical();
    // A value that is not text counts as one unreadable entry.
    let values = headers.get_all(FORWARDED).iter().map(|value| value.to_str().unwrap_or("?"));
    let values: Vec<&str> = values.collect();
    let mut entries = values.iter().rev().flat_map(|value| value.rsplit(','));
    while is_trusted(client) {
        let Some(before) = entries.next().and_then(read) else { break };
        client = before;
    }
    client
}

/// One entry: an address, alone or with a port, which some proxies append.
fn read(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let address = entry.parse::<IpAddr>().ok();
    let address = address.or_else(|| bracketed().map(IpAddr::V6));
    let address = address.or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn trusted(text: &str) -> Vec<TrustedProxy> {
        text.split_whitespace().map(|proxy| proxy.parse().unwrap()).collect()
    }

    fn seen(peer: &str, forwarded: &[&[u8]], by: &str) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED, HeaderValue::from_bytes(value).unwrap());
        }
        client(peer.parse().unwrap(), &headers, &trusted(by)).to_string()
    }

    #[test]
    fn a_proxy_is_trusted_by_address_and_by_network() {
        for by in ["10.0.0.5", "10.0.0.0/8", "::ffff:10.0.0.5", "::ffff:10.0.0.0/104"] {
            assert_eq!(seen("10.0.0.5", &[b"9.9.9.9"], by), "9.9.9.9", "{by}");
            assert_eq!(seen("::ffff:10.0.0.5", &[b"9.9.9.9"], by), "9.9.9.9", "{by}");
            assert_eq!(seen("11.0.0.5", &[b"9.9.9.9"], by), "11.0.0.5", "{by}");
        }
        assert_eq!(seen("2001:db8::7", &[b"9.9.9.9"], "2001:db8::/32"), "9.9.9.9");
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let by = "127.0.0.1 10.0.0.0/8";
        assert_eq!(seen("127.0.0.1", &[b"6.6.6.6, 9.9.9.9, 10.1.2.3"], by), "9.9.9.9");
        assert_eq!(seen("127.0.0.1", &[b"6.6.6.6", b"9.9.9.9", b"10.1.2.3"], by), "9.9.9.9");
        assert_eq!(seen("127.0.0.1", &[b"10.1.2.3"], by), "10.1.2.3");
        assert_eq!(seen("127.0.0.1", &[], by), "127.0.0.1");
    }

    #[test]
    fn a_port_is_no_part_of_an_address() {
        for (entry, address) in [
            (&b"1.2.3.4:5678"[..], "1.2.3.4"),
            (b"[2001:db8::1]:443", "2001:db8::1"),
            (b"[2001:db8::1]", "2001:db8::1"),
            (b" 2001:db8::1 ", "2001:db8::1"),
            (b"::ffff:1.2.3.4", "1.2.3.4"),
        ] {
            assert_eq!(seen("127.0.0.1", &[b"9.9.9.9", entry], "127.0.0.1"), address);
        }
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk_at_the_proxy_that_wrote_it() {
        let by = "127.0.0.1 10.0.0.0/8";
        for entry in [
            &b"unknown"[..],
            b"_hidden",
            b"",
            b"1.2.3.4:99999",
            b"1.2.3",
            b"\"1.2.3.4\"",
            b"\xff",
            b"fe80::1%eth0",
            b"[1.2.3.4]",
        ] {
            assert_eq!(seen("127.0.0.1", &[b"9.9.9.9", entry], by), "127.0.0.1", "{entry:?}");
            let further = [&b"9.9.9.9"[..], entry, b"10.7.7.7"];
            assert_eq!(seen("127.0.0.1", &further, by), "10.7.7.7", "{entry:?}");
        }
    }

    proptest! {
        #[test]
        fn nobody_is_believed_who_is_not_trusted(forwarded in "[ -~]{0,60}", peer: u32) {
            let peer = IpAddr::V4(peer.into());
            let headers = HeaderMap::from_iter([(FORWARDED, forwarded.parse().unwrap())]);
            let trusted = trusted("10.0.0.0/8");
            let client = client(peer, &headers, &trusted);
            prop_assert!(client == peer || trusted[0].contains(peer));
        }

        #[test]
        fn what_a_client_writes_never_hides_what_its_proxy_appends(
            forwarded in "[ -~]{0,60}", real: u32,
        ) {
            let real = IpAddr::V4((real | 0xC000_0000).into());
            let headers =
                HeaderMap::from_iter([(FORWARDED, format!("{forwarded}, {real}").parse().unwrap())]);
            prop_assert_eq!(client("10.0.0.1".parse().unwrap(), &headers, &trusted("10.0.0.0/8")), real);
        }
    }
}
