//! Counts of what the visitors of a herd see, kept while they run.

use std::{
    collections::BTreeMap,
    ops::AddAssign,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::tally::Count;

/// Most kinds of failures that are counted apart.
const FAILURES_MAX: usize = 20;

/// Counts of one process, or of several together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub joined: u64,
    /// Sockets open at this moment.
    pub watching: u64,
    /// Position frames received.
    pub frames: u64,
    pub admitted: u64,
    pub left: u64,
    /// Connections given up on purpose and made again.
    pub reconnected: u64,
    /// Connections that the server ended.
    pub dropped: u64,
    /// Sockets that could not be opened, and were tried again.
    pub refused: u64,
    /// Numbers shown that were larger than one before them.
    pub rose: u64,
    /// Calls sent again after 429, 503 or no answer.
    pub repeats: u64,
    /// Visitors that could not go on, by reason.
    pub failed: BTreeMap<String, u64>,
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.joined += other.joined;
        self.watching += other.watching;
        self.frames += other.frames;
        self.admitted += other.admitted;
        self.left += other.left;
        self.reconnected += other.reconnected;
        self.dropped += other.dropped;
        self.refused += other.refused;
        self.rose += other.rose;
        self.repeats += other.repeats;
        for (what, n) in &other.failed {
            *self.failed.entry(what.clone()).or_default() += n;
        }
    }
}

/// The counters that all visitors of a process share.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) joined: Count,
    pub(super) watching: Count,
    pub(super) frames: Count,
    pub(super) admitted: Count,
    pub(super) left: Count,
    pub(super) reconnected: Count,
    pub(super) dropped: Count,
    pub(super) refused: Count,
    pub(super) rose: Count,
    /// Trails that are being kept.
    pub(super) trails: Count,
    failed: Mutex<BTreeMap<String, u64>>,
}

impl Counters {
    /// Counts a visitor that could not go on; the first of each kind is logged.
    pub(super) fn fails(&self, what: String) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = failed.get_mut(&what) {
            *known += 1;
        } else if failed.len() < FAILURES_MAX {
            eprintln!("{what}");
            failed.insert(what, 1);
        } else {
            *failed.entry("in other ways".into()).or_default() += 1;
        }
    }

    /// The counts so far.
    pub(super) fn read(&self, repeats: u64) -> Counts {
        Counts {
            joined: self.joined.get(),
            watching: self.watching.get(),
            frames: self.frames.get(),
            admitted: self.admitted.get(),
            left: self.left.get(),
            reconnected: self.reconnected.get(),
            dropped: self.dropped.get(),
            refused: self.refused.get(),
            rose: self.rose.get(),
            repeats,
            failed: self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_two_processes_are_those_of_both() {
        let counters = Counters::default();
        counters.frames.up();
        counters.rose.up();
        counters.fails("no socket".into());
        let one = counters.read(2);
        let mut both = one.clone();
        both += &one;
        assert_eq!((both.frames, both.rose, both.repeats), (2, 2, 4));
        assert_eq!(both.failed["no socket"], 2);
        assert_eq!(both.joined, 0);
    }

    #[test]
    fn failures_without_end_are_kept_apart_up_to_a_bound() {
        let counters = Counters::default();
        for n in 0..1000 {
            counters.fails(format!("failure {n}"));
        }
        let failed = counters.read(0).failed;
        assert_eq!(failed.len(), FAILURES_MAX + 1);
        assert_eq!(failed.values().sum::<u64>(), 1000);
    }
}
