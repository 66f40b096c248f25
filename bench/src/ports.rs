//! Free ports to listen on.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;

/// Below the ports that systems make connections from, which a hundred thousand visitors may take.
const FROM: u16 = 18_100;
const UNTIL: u16 = 30_000;
/// Distance from a service's port to the port of its metrics.
const ADMIN: u16 = 1_000;

/// `count` neighbouring free ports, whose ports for metrics are free, too.
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
