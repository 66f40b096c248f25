//! The address in a URL such as `amqp://user:secret@127.0.0.1:5672/usher`.

use std::net::SocketAddr;

use anyhow::Context as _;

/// The socket address in a URL.
pub fn address_in(url: &str) -> anyhow::Result<SocketAddr> {
    let (_, rest) = url.split_once("://").context("the URL has no scheme")?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let address = authority.rsplit('@').next().unwrap_or(authority);
    address.parse().with_context(|| format!("{address} is not an address with a port"))
}

/// The same URL with another address.
pub fn at_address(url: &str, address: SocketAddr) -> anyhow::Result<String> {
    let old = address_in(url)?.to_string();
    Ok(url.replacen(&old, &address.to_string(), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_in_a_url_is_found_and_replaced() {
        let url = "amqp://usher:a1@127.0.0.1:26729/usher";
        assert_eq!(address_in(url).unwrap(), "127.0.0.1:26729".parse().unwrap());
        let moved = at_address(url, "127.0.0.1:9".parse().unwrap()).unwrap();
        assert_eq!(moved, "amqp://usher:a1@127.0.0.1:9/usher");
        assert!(address_in("redis://127.0.0.1:6379").is_ok());
    }
}
