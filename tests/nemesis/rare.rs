//! Whether the rare paths were really taken: services append their names to one file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Paths that a suite of runs must have taken at least once. Names are those of
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

    /// Paths that a suite takes and that were not taken so far.
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
