//! Ports to listen on that nobody uses and that no connection is made from.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;

/// Below the ports from which systems make connections: of those, a hundred thousand visitors
/// take any.
const FROM: u16 = 18_100;
const UNTIL: u16 = 30_000;
/// A service's metrics are so many ports up.
const ADMIN: u16 = 1_000;

/// So many neighbouring ports that are free, as are those of their metrics.
pub(crate) fn free(count: u16) -> anyhow::Result<Vec<u16>> {
    let mut blocks = (FROM..UNTIL).step_by(usize::from(count.max(1)));
    let first = blocks.find(|first| (*first..first + count).all(is_free)).with_context(|| {
        format!("no {count} free ports between {FROM} and {UNTIL}: stop what uses them")
    })?;
    Ok((first..first + count).collect())
}

fn is_free(port: u16) -> bool {
    let listens = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    listens(port).is_ok() && listens(port + ADMIN).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_use_are_left_alone() {
        let ports = free(3).unwrap();
        let _used = TcpListener::bind((Ipv4Addr::LOCALHOST, ports[1])).unwrap();
        let others = free(3).unwrap();
        assert!(others.iter().all(|port| !ports.contains(port)), "{ports:?} {others:?}");
    }
}
