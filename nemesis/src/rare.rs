//! Checking that the rare paths were really taken: services append the paths' names to one file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use testing::proxy::{CommitCut, Mode};

use crate::{
    arena::Backend,
    fault::{Fault, PAST_TAKEOVER, Schedule, Wire},
    fleet::{Node, Service},
};

/// Paths that a suite of runs must have taken at least once, named as in
/// `platform::faults::sometimes`.
pub const EXPECTED: [&str; 9] = [
    "redelivery deduplicated",
    "stale epoch refused",
    "ambiguous commit resolved",
    "unknown publish retried",
    "generation rebuilt",
    "deadlock retried",
    "poison parked",
    "decided without redis",
    "redelivered after takeover",
];

/// Length of the run with the faults below.
pub const ALL_TAKE: Duration = Duration::from_secs(24);

/// Faults that take every rare path within one run, each chosen for one of them.
pub fn faults() -> Schedule {
    let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
    let ingress = Node { service: Service::Ingress, n: 0 };
    let mute =
        Fault::Disturb { node: ingress, wire: Wire::Amqp, mode: Mode::Mute, lasts: seconds(3) };
    let other = Node { service: Service::Allocator, n: 1 };
    let mut faults = vec![
        // While the other is away, the one to be frozen has every partition, so a batch as well.
        (millis(900), Fault::Kill { node: other, down: seconds(3) }),
        (seconds(1), Fault::FreezeInHand { n: 0, lasts: PAST_TAKEOVER }),
        (seconds(2), mute),
        (seconds(3), Fault::Flush),
        (seconds(4), Fault::Poison { n: 0 }),
        (seconds(5), Fault::Deadlock { n: 0 }),
        (seconds(15), Fault::Deadlock { n: 0 }),
        (seconds(19), Fault::KillBackend { backend: Backend::Redis, down: seconds(2) }),
        (seconds(22), Fault::Kill { node: other, down: seconds(2) }),
    ];
    // Until about 15 s the other allocator has all partitions, then the two share them.
    for n in 0..12_u32 {
        let cut = Fault::CutCommit { n: 1, cut: CommitCut::Delivered };
        faults.push((seconds(8) + millis(900) * n, cut));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// The file that services write to.
pub struct RarePaths {
    path: PathBuf,
}

impl RarePaths {
    pub fn new(path: PathBuf) -> anyhow::Result<Self> {
        std::fs::write(&path, "")?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Expected paths that were not taken so far.
    pub fn missing(&self) -> Vec<&'static str> {
        let counts = self.counts();
        EXPECTED.into_iter().filter(|path| counts.get(*path) == Some(&0)).collect()
    }

    /// How often each path was taken so far.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts: BTreeMap<String, u64> =
            EXPECTED.iter().map(|path| ((*path).to_owned(), 0)).collect();
        for line in std::fs::read_to_string(&self.path).unwrap_or_default().lines() {
            *counts.entry(line.to_owned()).or_default() += 1;
        }
        counts
    }
}
